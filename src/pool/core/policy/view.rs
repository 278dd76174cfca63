//! What the policy may look at.

use std::time::Instant;

use crate::pool::core::error::PoolError;
use crate::pool::core::ids::{ModelId, WorkerId};
use crate::pool::core::memory::{Device, Shortage};

/// What the policy may look at.
pub trait View {
    /// What may be reserved on a device in all, in bytes.
    fn limit_bytes(&self, device: Device) -> u64;
    /// What is reserved on a device now, in bytes.
    fn reserved_bytes(&self, device: Device) -> u64;
    /// A model's weights, if they are reserved now. They must stay so until what was decided is
    /// carried out.
    fn weights(&self, model: ModelId) -> Option<WeightsView>;
    /// What is missing of the CPU's memory, while it is short for reasons outside of the pool.
    fn shortage(&self) -> Option<Shortage> {
        None
    }
    /// A model's queue.
    fn queue(&self, model: ModelId) -> QueueView;
    /// A worker that has reported ready.
    fn worker(&self, worker: WorkerId) -> WorkerView;
    /// The error for a model of which one worker can never fit.
    fn never_fits(&self, model: ModelId) -> PoolError;
    /// The error for a model of which no worker fits now.
    fn no_room(&self, model: ModelId) -> PoolError;
}

/// Weights that a model's workers share, at this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WeightsView {
    /// What is reserved for them.
    pub bytes: u64,
    /// How many workers hold them, those among them that the policy does not know any more.
    pub holders: usize,
}

/// A model's queue at this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueView {
    /// How many jobs wait in the lanes.
    pub queued: usize,
    /// Work waits and no worker is free.
    pub saturated: bool,
    /// How often a worker has begun to wait for work: unchanged, no worker has been free since.
    pub idle_epoch: u64,
}

/// A ready worker at this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkerView {
    /// Since when it has had nothing to do; `None` while it is busy.
    pub idle_since: Option<Instant>,
    /// Since when it has been at its present step, or at freeing its model.
    pub working_since: Option<Instant>,
    /// How many jobs it has answered.
    pub answered: u64,
}
