//! What the policy remembers of a model and of a worker.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::plan::ModelPlan;
use crate::pool::core::error::PoolError;
use crate::pool::core::ids::{ModelId, WorkerId};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Loading,
    Ready,
    Retiring,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) model: ModelId,
    pub(super) phase: Phase,
    pub(super) loading_since: Instant,
    pub(super) loaded: bool,
    pub(super) load_time: Duration,
    /// What it has reserved for itself.
    pub(super) own_bytes: u64,
    /// It loaded the weights for all.
    pub(super) brought_weights: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breaker {
    Closed,
    Open { until: Instant },
    HalfOpen { trial: Option<WorkerId> },
}

/// Since when work has waited for workers that were all busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Saturation {
    pub(super) since: Instant,
    /// The queue's idle epoch then: once it moves on, a worker has been free in between.
    pub(super) idle_epoch: u64,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) plan: ModelPlan,
    pub(super) workers: BTreeSet<WorkerId>,
    /// Someone asked for workers without sending work.
    pub(super) warm: bool,
    /// A cold start is under way and wants this many workers.
    pub(super) cold_target: usize,
    /// A report that work waits for busy workers, until it is acted upon or has passed.
    pub(super) saturated: Option<Saturation>,
    /// Workers that crashed and have not been replaced.
    pub(super) to_replace: usize,
    /// No start before this: the backoff after failures.
    pub(super) not_before: Option<Instant>,
    /// Workers that were given up and whose threads have not returned: they keep their memory.
    pub(super) stalled: BTreeSet<WorkerId>,
    pub(super) failures: VecDeque<Instant>,
    pub(super) breaker: Breaker,
    /// Since when the model has waited for memory.
    pub(super) short_since: Option<Instant>,
    pub(super) last_retired: Option<Instant>,
    /// How long it took to load the weights when that was last done.
    pub(super) weights_load_time: Duration,
    /// What the callers that wait are to be told, once no worker lives.
    pub(super) load_error: Option<PoolError>,
}

impl Model {
    pub(super) fn new(plan: ModelPlan) -> Self {
        Self {
            plan,
            workers: BTreeSet::new(),
            warm: false,
            cold_target: 0,
            saturated: None,
            to_replace: 0,
            not_before: None,
            stalled: BTreeSet::new(),
            failures: VecDeque::new(),
            breaker: Breaker::Closed,
            short_since: None,
            last_retired: None,
            weights_load_time: Duration::ZERO,
            load_error: None,
        }
    }
}
