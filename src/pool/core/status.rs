//! What can be seen of a pool from outside, as plain data.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::board::{WorkerBoard, WorkerState};
use super::ids::WorkerId;
use super::memory::{Device, Footprint, Ledger, MIB, Measured, PressureGauge};
use super::metrics::PoolMetrics;
use super::report::CacheStatus;

/// A pool at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PoolStatus {
    /// The CPU's ledger.
    pub memory: MemoryStatus,
    /// The ledgers of the other devices that have one.
    pub devices: BTreeMap<Device, MemoryStatus>,
    /// The models, in the order of their registration.
    pub models: Vec<ModelStatus>,
    /// Worker threads that have not ended.
    pub threads: usize,
    /// The pool accepts no more work.
    pub shutting_down: bool,
}

/// A ledger at one moment, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MemoryStatus {
    /// What the process may use in all; of a device beside the CPU, its budget.
    pub total_mb: u64,
    /// What may be reserved.
    pub limit_mb: u64,
    /// What is reserved.
    pub reserved_mb: u64,
    /// The most that was ever reserved at once.
    pub peak_mb: u64,
    /// What could be taken before the kernel would have to act, when the pool last looked; it looks
    /// while workers live, and only at the CPU's memory.
    pub available_mb: Option<u64>,
    /// Less is available than the pool's `pressure` allows: nothing grows, and who is idle goes.
    pub under_pressure: bool,
}

impl MemoryStatus {
    pub(crate) fn of(ledger: &Ledger) -> Self {
        let limit = ledger.limit();
        Self {
            total_mb: limit.total_mb,
            limit_mb: limit.limit_mb,
            reserved_mb: ledger.reserved_mb(),
            peak_mb: ledger.peak_bytes().div_ceil(MIB),
            available_mb: None,
            under_pressure: false,
        }
    }

    pub(crate) fn with_pressure(self, gauge: &PressureGauge) -> Self {
        Self {
            available_mb: gauge.available().map(|bytes| bytes / MIB),
            under_pressure: gauge.shortage().is_some(),
            ..self
        }
    }
}

/// A model at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ModelStatus {
    /// Its name.
    pub name: String,
    /// Its capability's name.
    pub capability: String,
    /// What one worker takes when it is the only one, in MiB.
    pub est_memory_allocation_mb: u64,
    /// Where its memory lies.
    pub device: Device,
    /// What is reserved for the weights that its workers share, in MiB; 0 while there are none.
    pub shared_weights_mb: u64,
    /// What its next worker is counted with: the estimate, or more where more was measured.
    pub footprint: Footprint,
    /// What loading and freeing it did to the process's resident set, when it was last measured.
    pub measured: Measured,
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
    /// What it has reserved for itself, in MiB: not counting weights that it shares with others.
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
            reserved_mb: board.bytes.div_ceil(MIB),
            cache: board.cache(),
        }
    }
}
