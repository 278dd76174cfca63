//! How the cores are divided among the workers that are busy, and what loads with.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::step::StepContext;
use crate::kernels::{Core, Team};

/// A place keeps its teams of this many sizes, the latest ones: the number of busy workers goes up
/// and down more often than threads should be started.
const KEPT_TEAMS: usize = 3;

/// A load gets no more threads than this, on however many cores.
const MOST_LOADING: usize = 8;

/// Where the heavy part of a load is done.
///
/// Threads that load are none of the division's. They wait for files as much as they compute, and a
/// worker that serves meanwhile would have less of the cores for nothing.
#[derive(Debug)]
pub(crate) struct LoadContext {
    threads: usize,
}

impl LoadContext {
    /// In a pool that computes with `threads` threads.
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            threads: threads.min(MOST_LOADING),
        }
    }

    /// Runs `load` on threads that are there for it, and end with it. A panic surfaces here.
    pub(crate) fn run<R: Send>(&self, load: impl FnOnce() -> R + Send) -> R {
        Team::new(self.threads).confine(load)
    }
}

/// The threads that a pool's models compute with, divided among the workers that are busy now.
///
/// Busy workers take places, the lowest first, and at each place there are threads. Those outlive
/// the step and the worker: the next one who takes the place computes with them.
#[derive(Debug)]
pub(crate) struct ComputeBudget {
    threads: usize,
    /// Where threads are pinned to; empty where they are not.
    cores: Vec<Core>,
    /// Locked for a look, never while a step runs.
    places: Mutex<Vec<Place>>,
}

#[derive(Debug, Default)]
struct Place {
    is_taken: bool,
    /// The one that was used last comes first.
    teams: Vec<Arc<Team>>,
}

impl ComputeBudget {
    /// A budget of `threads`, pinned to `cores`, or wherever the system puts them if those are none.
    pub(crate) fn new(threads: usize, cores: Vec<Core>) -> Self {
        Self {
            threads,
            cores,
            places: Mutex::new(Vec::new()),
        }
    }

    /// Takes part in the division until the share is dropped: at the `wanted` place, which was this
    /// worker's last, if that is free and not beyond the number of those who are busy.
    pub(crate) fn share(&self, wanted: usize) -> ComputeShare<'_> {
        let mut places = self.places();
        let others = places.iter().filter(|place| place.is_taken).count();
        let busy = others + 1;
        if places.len() < busy {
            places.resize_with(busy, Place::default);
        }
        // Of as many places as there are busy workers, the others hold one less at most.
        let is_free = |number: &usize| !places[*number].is_taken;
        let number = Some(wanted)
            .filter(|wanted| *wanted < busy && is_free(wanted))
            .or_else(|| (0..busy).find(is_free))
            .unwrap_or(others);
        let threads = (self.threads / busy).max(1);
        let place = &mut places[number];
        place.is_taken = true;
        ComputeShare {
            context: StepContext::of(place.team(threads, || self.assemble(number, threads))),
            budget: self,
            place: number,
        }
    }

    /// A team for a place: `threads` neighbouring cores, those of the places before it left out.
    fn assemble(&self, place: usize, threads: usize) -> Team {
        if self.cores.is_empty() {
            return Team::new(threads);
        }
        let from = place * threads;
        let core = |thread: usize| self.cores[thread % self.cores.len()];
        Team::pinned((from..from + threads).map(core).collect())
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        // Nothing panics while it is held.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn team(&mut self, threads: usize, assemble: impl FnOnce() -> Team) -> Arc<Team> {
        match self.teams.iter().position(|team| team.size() == threads) {
            Some(0) => {}
            Some(known) => self.teams[..=known].rotate_right(1),
            None => {
                self.teams.truncate(KEPT_TEAMS - 1);
                self.teams.insert(0, Arc::new(assemble()));
            }
        }
        Arc::clone(&self.teams[0])
    }
}

/// One busy worker's part of the budget.
#[derive(Debug)]
pub(crate) struct ComputeShare<'a> {
    budget: &'a ComputeBudget,
    place: usize,
    context: StepContext,
}

impl ComputeShare<'_> {
    /// What the step is told.
    pub(crate) fn context(&self) -> &StepContext {
        &self.context
    }

    /// The place that was taken: the one to ask for next time.
    pub(crate) fn place(&self) -> usize {
        self.place
    }
}

impl Drop for ComputeShare<'_> {
    fn drop(&mut self) {
        self.budget.places()[self.place].is_taken = false;
    }
}
