//! The jobs that one worker has in hand.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::capability::{Capability, Slot};
use super::error::PoolError;
use super::job::Job;
use super::sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering};
use crate::models::ModelError;

struct Places<C: Capability> {
    jobs: Vec<Option<Job<C>>>,
    free: Vec<usize>,
    /// The worker was given up: it takes nothing up any more.
    closed: bool,
}

impl<C: Capability> Default for Places<C> {
    fn default() -> Self {
        Self {
            jobs: Vec::new(),
            free: Vec::new(),
            closed: false,
        }
    }
}

/// The jobs that a worker's engine is busy with.
///
/// Shared with the worker's proxy, so that the callers of a thread that never comes back can be
/// answered without it. The lock is held for a look or a move, never across a step.
pub(crate) struct Hand<C: Capability> {
    places: Mutex<Places<C>>,
    model: String,
    answered: AtomicU64,
    /// How many jobs the places hold, to be read without the lock.
    held: AtomicUsize,
    closed: AtomicBool,
}

impl<C: Capability> Hand<C> {
    pub(crate) fn new(model: String) -> Self {
        Self {
            places: Mutex::default(),
            model,
            answered: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Places<C>> {
        // Nothing that can panic runs under the lock, and every state of it is a valid one.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a job up; a hand that is closed gives it back.
    pub(crate) fn put(&self, mut job: Job<C>) -> Result<Slot, Job<C>> {
        let mut places = self.lock();
        if places.closed {
            drop(places);
            return Err(job);
        }
        job.take_in_hand();
        self.held.fetch_add(1, Ordering::AcqRel);
        if let Some(free) = places.free.pop() {
            places.jobs[free] = Some(job);
            return Ok(Slot(free));
        }
        places.jobs.push(Some(job));
        Ok(Slot(places.jobs.len() - 1))
    }

    fn take(&self, slot: Slot) -> Option<Job<C>> {
        let mut places = self.lock();
        let job = places.jobs.get_mut(slot.0)?.take()?;
        places.free.push(slot.0);
        self.held.fetch_sub(1, Ordering::AcqRel);
        Some(job)
    }

    pub(crate) fn is_stream(&self, slot: Slot) -> bool {
        let places = self.lock();
        let job = places.jobs.get(slot.0).and_then(Option::as_ref);
        job.is_some_and(Job::is_stream)
    }

    pub(crate) fn has_room(&self, slot: Slot) -> bool {
        let places = self.lock();
        places
            .jobs
            .get(slot.0)
            .and_then(Option::as_ref)
            .is_some_and(Job::has_room)
    }

    /// How long ago the job was accepted.
    pub(crate) fn age(&self, slot: Slot, now: Instant) -> Duration {
        let places = self.lock();
        let job = places.jobs.get(slot.0).and_then(Option::as_ref);
        job.map_or(Duration::ZERO, |job| job.waited(now))
    }

    pub(crate) fn emit(&self, slot: Slot, item: C::Item) -> bool {
        let mut places = self.lock();
        places
            .jobs
            .get_mut(slot.0)
            .and_then(Option::as_mut)
            .is_some_and(|job| job.emit(item))
    }

    pub(crate) fn tell(&self, slot: Slot, item: C::Item) -> bool {
        let mut places = self.lock();
        places
            .jobs
            .get_mut(slot.0)
            .and_then(Option::as_mut)
            .is_some_and(|job| job.tell(item))
    }

    pub(crate) fn finish(&self, slot: Slot, item: C::Item) {
        if let Some(job) = self.take(slot) {
            self.answered.fetch_add(1, Ordering::AcqRel);
            job.answer(item);
        }
    }

    pub(crate) fn fail(&self, slot: Slot, source: ModelError) {
        if let Some(job) = self.take(slot) {
            // The model works: it was the request that it could not serve.
            self.answered.fetch_add(1, Ordering::AcqRel);
            job.fail(PoolError::Model {
                model: self.model.clone(),
                source,
            });
        }
    }

    /// How many jobs have been answered from here.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }

    pub(crate) fn len(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    /// Ends the jobs whose callers have gone or whose time is up, and tells which they were.
    pub(crate) fn discard_dead(&self, now: Instant) -> Vec<Slot> {
        if self.len() == 0 {
            return Vec::new();
        }
        let mut dead = Vec::new();
        let mut places = self.lock();
        for (index, place) in places.jobs.iter_mut().enumerate() {
            if let Some(job) = place.take_if(|job| job.is_dead(now)) {
                dead.push((Slot(index), job));
            }
        }
        places.free.extend(dead.iter().map(|(slot, _)| slot.0));
        self.held.fetch_sub(dead.len(), Ordering::AcqRel);
        drop(places);
        dead.into_iter()
            .map(|(slot, job)| {
                job.discard(now);
                slot
            })
            .collect()
    }

    fn take_all(&self, close: bool) -> Vec<Option<Job<C>>> {
        let mut places = self.lock();
        self.held.store(0, Ordering::Release);
        places.free.clear();
        if close {
            places.closed = true;
            self.closed.store(true, Ordering::SeqCst);
        }
        std::mem::take(&mut places.jobs)
    }

    /// Answers everything in hand with `error`, and takes nothing up any more; what the worker
    /// still computes goes nowhere.
    pub(crate) fn close(&self, error: &PoolError) -> usize {
        let mut failed = 0;
        for job in self.take_all(true).into_iter().flatten() {
            job.fail(error.clone());
            failed += 1;
        }
        failed
    }

    /// All that is in hand has seen another worker die: who dies with it now is not at fault.
    pub(crate) fn holds_only_suspects(&self) -> bool {
        let places = self.lock();
        let mut jobs = places.jobs.iter().flatten().peekable();
        jobs.peek().is_some() && jobs.all(Job::is_suspect)
    }

    /// Puts everything in hand back in line, and takes nothing up any more. A stream that has begun
    /// ends.
    pub(crate) fn put_back(&self) {
        for mut job in self.take_all(true).into_iter().flatten() {
            job.put_down();
        }
    }

    /// The worker was given up, and its thread is to end without touching anything.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Drops everything in hand: each job goes back to its lane or ends, as its history has it.
    pub(crate) fn drop_all(&self) {
        drop(self.take_all(false));
    }

    /// Visits the jobs in hand.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&Job<C>)) {
        self.lock().jobs.iter().flatten().for_each(&mut visit);
    }
}
