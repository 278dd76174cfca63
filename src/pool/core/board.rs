//! What a worker shows of itself.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::ids::WorkerId;
use super::report::CacheStatus;

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum WorkerState {
    /// Its memory is set aside and its thread starts.
    Reserved,
    /// It loads the model.
    Loading,
    /// It waits for work.
    Idle,
    /// It has work in hand.
    Busy,
    /// It was told to end.
    Draining,
    /// Its thread has ended.
    Released,
    /// It was given up: its step or load exceeded a limit, or it outlived a grace. Its memory
    /// stays reserved until its thread returns.
    Abandoned,
}

impl WorkerState {
    const ALL: [Self; 7] = [
        Self::Reserved,
        Self::Loading,
        Self::Idle,
        Self::Busy,
        Self::Draining,
        Self::Released,
        Self::Abandoned,
    ];
}

/// What a worker shows of itself, to be read by anyone at any time.
pub(crate) struct WorkerBoard {
    pub(crate) id: WorkerId,
    pub(crate) name: String,
    pub(crate) bytes: u64,
    epoch: Instant,
    state: AtomicU8,
    /// Since when it has been idle, in nanoseconds from `epoch`.
    idle_since: AtomicU64,
    answered: AtomicU64,
    /// Blocks of its cache: how many there are (0 where there is no cache), used and kept.
    cache: [AtomicU64; 3],
    /// Since when it has been at its present step, in nanoseconds from `epoch`; 0 while it is not.
    working_since: AtomicU64,
    abandoned: AtomicBool,
    /// It died with nothing in hand but requests that had killed before.
    killed: AtomicBool,
}

impl WorkerBoard {
    pub(crate) fn new(id: WorkerId, name: String, bytes: u64, epoch: Instant) -> Self {
        Self {
            id,
            name,
            bytes,
            epoch,
            state: AtomicU8::new(WorkerState::Reserved as u8),
            idle_since: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            cache: Default::default(),
            working_since: AtomicU64::new(0),
            abandoned: AtomicBool::new(false),
            killed: AtomicBool::new(false),
        }
    }

    pub(crate) fn state(&self) -> WorkerState {
        let state = WorkerState::ALL[usize::from(self.state.load(Ordering::SeqCst))];
        if state != WorkerState::Released && self.abandoned.load(Ordering::Acquire) {
            return WorkerState::Abandoned;
        }
        state
    }

    /// The worker is given up; what its thread still says of itself is of no interest.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    pub(crate) fn set_killed(&self, killed: bool) {
        self.killed.store(killed, Ordering::Release);
    }

    pub(crate) fn was_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// The worker begins something that has a time limit.
    pub(crate) fn begin_work(&self, now: Instant) {
        let since = self.nanos(now).max(1);
        self.working_since.store(since, Ordering::Release);
    }

    pub(crate) fn end_work(&self) {
        self.working_since.store(0, Ordering::Release);
    }

    pub(crate) fn working_since(&self) -> Option<Instant> {
        match self.working_since.load(Ordering::Acquire) {
            0 => None,
            since => Some(self.epoch + Duration::from_nanos(since)),
        }
    }

    fn nanos(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn set_state(&self, state: WorkerState) {
        if state == WorkerState::Idle {
            let since = self.nanos(Instant::now());
            self.idle_since.store(since, Ordering::Release);
        }
        self.state.store(state as u8, Ordering::SeqCst);
    }

    pub(crate) fn idle_since(&self) -> Option<Instant> {
        (self.state() == WorkerState::Idle)
            .then(|| self.epoch + Duration::from_nanos(self.idle_since.load(Ordering::Acquire)))
    }

    pub(crate) fn set_answered(&self, answered: u64) {
        self.answered.store(answered, Ordering::Release);
    }

    pub(crate) fn set_cache(&self, cache: CacheStatus) {
        let values = [cache.blocks, cache.used, cache.kept];
        for (place, value) in self.cache.iter().zip(values) {
            place.store(value, Ordering::Release);
        }
    }

    /// Its cache, once it has told of one.
    pub(crate) fn cache(&self) -> Option<CacheStatus> {
        let [blocks, used, kept] = self
            .cache
            .each_ref()
            .map(|value| value.load(Ordering::Acquire));
        (blocks > 0).then_some(CacheStatus { blocks, used, kept })
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }
}
