//! The gates that steered models pass, and what is known of their passing.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::act::{Act, Point};
use crate::models::ModelError;

/// A visit that waits longer than this has been forgotten by its test.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// The size of a page where pages are smallest: memory is taken once each of them was written to.
const PAGE: usize = 4096;

#[derive(Default)]
pub(super) struct Gate {
    pub(super) script: VecDeque<Act>,
    pub(super) always: Option<Act>,
    /// How many waiting visits may go on.
    pub(super) released: usize,
    pub(super) open: bool,
}

pub(super) struct State {
    pub(super) gates: HashMap<Point, Gate>,
    pub(super) on_text: HashMap<String, Act>,
    /// The texts of every step, unless nobody wants to know.
    pub(super) steps: Option<Vec<Vec<String>>>,
    pub(super) threads: Vec<usize>,
    leaked: Hoard,
}

/// Memory that a model was told to take.
#[derive(Default)]
pub(super) struct Hoard(Vec<Vec<u8>>);

impl Hoard {
    fn take(&mut self, bytes: usize) {
        let mut taken = vec![0u8; bytes];
        taken.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
        self.0.push(taken);
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }
}

/// What all models of one [`Steering`](super::Steering) share with it.
pub(super) struct Controls {
    state: Mutex<State>,
    released: Condvar,
    visits: HashMap<Point, watch::Sender<usize>>,
}

impl Controls {
    pub(super) fn new(recorded: bool) -> Self {
        Self {
            state: Mutex::new(State {
                gates: Point::ALL.map(|point| (point, Gate::default())).into(),
                on_text: HashMap::new(),
                steps: recorded.then(Vec::new),
                threads: Vec::new(),
                leaked: Hoard::default(),
            }),
            released: Condvar::new(),
            visits: Point::ALL
                .map(|point| (point, watch::Sender::new(0)))
                .into(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A steered panic happens outside the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn with_gate(&self, point: Point, change: impl FnOnce(&mut Gate)) {
        if let Some(gate) = self.lock().gates.get_mut(&point) {
            change(gate);
        }
        self.released.notify_all();
    }

    /// Lets everything go on that waits or hangs, and frees what was leaked.
    pub(super) fn let_go(&self) {
        let leaked = {
            let mut state = self.lock();
            for gate in state.gates.values_mut() {
                gate.open = true;
            }
            std::mem::take(&mut state.leaked)
        };
        self.released.notify_all();
        drop(leaked);
    }

    pub(super) fn leaked_bytes(&self) -> usize {
        self.lock().leaked.bytes()
    }

    pub(super) fn visits(&self, point: Point) -> usize {
        self.visits.get(&point).map_or(0, |count| *count.borrow())
    }

    pub(super) async fn visited(&self, point: Point, visits: usize) {
        if let Some(count) = self.visits.get(&point) {
            // The sender lives in `self`, so the wait ends only when the count is reached.
            drop(count.subscribe().wait_for(|&count| count >= visits).await);
        }
    }

    fn act_at(&self, point: Point) -> Act {
        let mut state = self.lock();
        let Some(gate) = state.gates.get_mut(&point) else {
            return Act::Go;
        };
        gate.script.pop_front().or(gate.always).unwrap_or(Act::Go)
    }

    fn announce(&self, point: Point) {
        if let Some(visits) = self.visits.get(&point) {
            visits.send_modify(|count| *count += 1);
        }
    }

    /// A model comes to a point. What it takes there goes into its hoard.
    pub(super) fn visit(&self, point: Point, hoard: &mut Hoard) -> Result<(), ModelError> {
        let act = self.act_at(point);
        self.announce(point);
        self.perform(point, act, hoard)
    }

    /// A model is freed, perhaps while its thread unwinds.
    pub(super) fn freed(&self, hoard: &mut Hoard) {
        let act = self.act_at(Point::Free);
        self.announce(Point::Free);
        // A second panic while unwinding would end the process.
        if act != Act::Panic || !std::thread::panicking() {
            drop(self.perform(Point::Free, act, hoard));
        }
    }

    #[allow(clippy::panic, reason = "to panic is what this model is for")]
    pub(super) fn perform(
        &self,
        point: Point,
        act: Act,
        hoard: &mut Hoard,
    ) -> Result<(), ModelError> {
        match act {
            Act::Go => {}
            Act::Fail => {
                return Err(ModelError::Other(format!("told to fail at {point:?}")));
            }
            // Reached only in tests that ask for a panic, to see that the pool contains it. Nothing else is one.
            Act::Panic => panic!("told to panic at {point:?}"),
            Act::Wait => self.wait(point, Some(FORGOTTEN))?,
            Act::Hang => self.wait(point, None)?,
            Act::Take(bytes) => hoard.take(bytes),
            Act::Leak(bytes) => self.lock().leaked.take(bytes),
        }
        Ok(())
    }

    /// Waits to be let through.
    ///
    /// # Errors
    /// Nobody has done so in time: the test has a mistake in it, and must not hang.
    fn wait(&self, point: Point, limit: Option<Duration>) -> Result<(), ModelError> {
        let state = self.lock();
        let may_not_go = |state: &mut State| {
            state
                .gates
                .get(&point)
                .is_some_and(|gate| !gate.open && gate.released == 0)
        };
        let (mut state, forgotten) = match limit {
            Some(limit) => {
                let (state, waited) = self
                    .released
                    .wait_timeout_while(state, limit, may_not_go)
                    .unwrap_or_else(PoisonError::into_inner);
                (state, waited.timed_out())
            }
            None => {
                let state = self
                    .released
                    .wait_while(state, may_not_go)
                    .unwrap_or_else(PoisonError::into_inner);
                (state, false)
            }
        };
        if forgotten {
            return Err(ModelError::Other(format!(
                "nobody released {point:?} within {FORGOTTEN:?}"
            )));
        }
        if let Some(gate) = state.gates.get_mut(&point) {
            gate.released = gate.released.saturating_sub(1);
        }
        Ok(())
    }
}

/// Lets everything go when the last [`Steering`](super::Steering) is dropped.
pub(super) struct Opener(pub(super) Arc<Controls>);

impl Drop for Opener {
    fn drop(&mut self) {
        self.0.let_go();
    }
}
