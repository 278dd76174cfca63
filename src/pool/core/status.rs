//! What can be seen of a pool from outside, as plain data.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::board::{WorkerBoard, WorkerState};
use super::ids::WorkerId;
use super::metrics::PoolMetrics;
use super::report::CacheStatus;

/// A pool at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PoolStatus {
    /// The ledger.
    pub memory: MemoryStatus,
    /// The models, in the order of their registration.
    pub models: Vec<ModelStatus>,
    /// Worker threads that have not ended.
    pub threads: usize,
    /// The pool accepts no more work.
    pub shutting_down: bool,
}

/// A pool's ledger at one moment, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MemoryStatus {
    /// What the process may use in all.
    pub total_mb: u64,
    /// What may be reserved.
    pub limit_mb: u64,
    /// What is reserved.
    pub reserved_mb: u64,
    /// The most that was ever reserved at once.
    pub peak_mb: u64,
}

/// A model at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ModelStatus {
    /// Its name.
    pub name: String,
    /// Its capability's name.
    pub capability: String,
    /// What one worker reserves, in MiB.
    pub est_memory_allocation_mb: u64,
    /// Its queue.
    pub queue: QueueStatus,
    /// Its workers.
    pub workers: Vec<WorkerStatus>,
    /// How long its breaker stays open; `None` while it is closed.
    pub unavailable_for: Option<Duration>,
    /// Its counters.
    pub metrics: PoolMetrics,
}

/// A model's queue at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QueueStatus {
    /// Requests that wait in the interactive lane, or in front of both lanes after a failure.
    pub interactive: usize,
    /// Requests that wait in the batch lane.
    pub batch: usize,
    /// Requests accepted and not ended, those in workers' hands among them.
    pub under_way: usize,
    /// How many may be under way at once.
    pub capacity: usize,
}

/// A worker at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// Its id.
    pub id: WorkerId,
    /// Its thread's name.
    pub name: String,
    /// What it is doing.
    pub state: WorkerState,
    /// How long it has been idle, if it is.
    pub idle_for: Option<Duration>,
    /// How many requests it has answered.
    pub answered: u64,
    /// What it has reserved, in MiB.
    pub reserved_mb: u64,
    /// Its key-value cache, of models that have one, from the first step on.
    pub cache: Option<CacheStatus>,
}

impl WorkerStatus {
    pub(crate) fn of(board: &WorkerBoard, now: Instant) -> Self {
        Self {
            id: board.id,
            name: board.name.clone(),
            state: board.state(),
            idle_for: board
                .idle_since()
                .map(|since| now.saturating_duration_since(since)),
            answered: board.answered(),
            reserved_mb: board.bytes.div_ceil(super::memory::MIB),
            cache: board.cache(),
        }
    }
}
