//! What the policy decides, and what it is told of how that went.

use std::time::{Duration, Instant};

use crate::pool::core::error::PoolError;
use crate::pool::core::ids::{ModelId, WorkerId};

/// What the supervisor is to do.
#[derive(Debug, Clone)]
pub enum Action {
    /// Reserve memory and start this worker.
    Start {
        /// Of which model.
        model: ModelId,
        /// The new worker's id.
        worker: WorkerId,
        /// Why.
        reason: StartReason,
    },
    /// Tell this worker to finish what it has in hand and end.
    Retire {
        /// Which one.
        worker: WorkerId,
        /// Why.
        reason: RetireReason,
    },
    /// Answer what this worker has in hand, and wait for its thread no longer: it exceeded a limit.
    Abandon {
        /// Of which model.
        model: ModelId,
        /// Which one.
        worker: WorkerId,
        /// The limit.
        after: Duration,
        /// Its load took too long, and not a step.
        while_loading: bool,
    },
    /// Answer everything that waits for this model with the error.
    FailQueued {
        /// The model.
        model: ModelId,
        /// What the callers are told.
        error: PoolError,
    },
}

/// Why a worker is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub enum StartReason {
    /// The model has work and no worker, or is being warmed.
    ColdStart,
    /// All workers are busy and work has waited.
    Expand,
    /// A worker failed.
    Restart,
    /// The breaker lets one worker try whether the model works again.
    Trial,
}

/// Why a worker is retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub enum RetireReason {
    /// It had nothing to do for `idle_after`.
    Idle,
    /// Another model needs its memory.
    Evicted,
    /// The model's workers were to be given up.
    Requested,
    /// Memory is short outside of the pool.
    Pressure,
    /// The pool shuts down.
    Shutdown,
}

/// How a worker ended.
#[derive(Debug, Clone)]
pub enum Exit {
    /// As it was told to.
    Retired,
    /// Loading failed, or its thread could not be started: what waiting callers are told.
    LoadFailed(PoolError),
    /// It was serving, and panicked or gave up.
    Crashed,
    /// The same, with nothing in hand but a request that had killed a worker before.
    Killed,
}

/// The outcome of one [`Policy::decide`](super::Policy::decide).
#[derive(Debug, Default)]
pub struct Decision {
    /// What to do, in this order.
    pub actions: Vec<Action>,
    /// When to decide again if nothing happens before.
    pub wake_at: Option<Instant>,
    /// Models that are not, or not any more, short of workers: their proxies are to report anew.
    pub relaxed: Vec<ModelId>,
    /// A model waits for memory that an idle worker could give up: tell the policy when a worker
    /// becomes idle.
    pub wants_idle: bool,
}

impl Decision {
    pub(super) fn wake(&mut self, at: Instant) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}
