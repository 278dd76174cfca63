//! The world as the policy sees it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::workers::Worker;
use crate::pool::core::error::PoolError;
use crate::pool::core::ids::{ModelId, WorkerId};
use crate::pool::core::memory::{
    Device, HeldWeights, MemoryDemand, Shortage, check_memory_available,
};
use crate::pool::core::policy::{QueueView, View, WeightsView, WorkerView};
use crate::pool::core::registration::{AnyModel, PoolShared, RegisteredDemand};

/// The world as the policy sees it.
pub(super) struct Snapshot<'a> {
    pub(super) pool: &'a PoolShared,
    pub(super) models: &'a BTreeMap<ModelId, Arc<dyn AnyModel>>,
    pub(super) workers: &'a BTreeMap<WorkerId, Worker>,
    pub(super) now: Instant,
    /// The weights that were looked at.
    pub(super) held: RefCell<BTreeMap<ModelId, HeldWeights>>,
}

impl Snapshot<'_> {
    fn is_served(&self, model: ModelId) -> bool {
        self.workers
            .values()
            .any(|worker| worker.handle.model() == model && worker.serves())
    }
}

impl View for Snapshot<'_> {
    fn limit_bytes(&self, device: Device) -> u64 {
        let ledger = self.pool.ledgers.of(device);
        ledger.map_or(0, |ledger| ledger.limit_bytes())
    }

    fn reserved_bytes(&self, device: Device) -> u64 {
        let ledger = self.pool.ledgers.of(device);
        ledger.map_or(0, |ledger| ledger.reserved_bytes())
    }

    fn weights(&self, id: ModelId) -> Option<WeightsView> {
        let weights = self.models.get(&id)?.memory().account().weights()?;
        let view = WeightsView {
            bytes: weights.bytes(),
            holders: weights.holders(),
        };
        self.held.borrow_mut().insert(id, weights);
        Some(view)
    }

    fn shortage(&self) -> Option<Shortage> {
        self.pool.pressure().shortage()
    }

    fn queue(&self, id: ModelId) -> QueueView {
        let Some(model) = self.models.get(&id) else {
            return QueueView::default();
        };
        let queue = model.queue();
        if queue.queued == 0 || self.is_served(id) {
            return queue;
        }
        // Nobody takes out what is dead, and nothing is started or evicted for callers that have
        // gone.
        model.sweep(self.now);
        model.queue()
    }

    fn worker(&self, worker: WorkerId) -> WorkerView {
        self.workers
            .get(&worker)
            .map_or(WorkerView::default(), |worker| WorkerView {
                idle_since: worker.board.idle_since(),
                working_since: worker.board.working_since(),
                answered: worker.board.answered(),
            })
    }

    fn never_fits(&self, id: ModelId) -> PoolError {
        let Some(model) = self.models.get(&id) else {
            return PoolError::Internal(format!("no model {id}"));
        };
        exhausted(&**model, 0)
    }

    fn no_room(&self, id: ModelId) -> PoolError {
        let Some(model) = self.models.get(&id) else {
            return PoolError::Internal(format!("no model {id}"));
        };
        exhausted(&**model, model.memory().account().ledger().reserved_mb())
    }
}

/// That one worker of a model does not fit beside `current_mb` MiB.
fn exhausted(model: &dyn AnyModel, current_mb: u64) -> PoolError {
    let demand = RegisteredDemand(model);
    check_memory_available(&demand, current_mb, 1)
        .err()
        // Some of what is free is held for others who have waited longer.
        .unwrap_or_else(|| PoolError::MemoryExhausted {
            model: model.info().name.clone(),
            workers: 1,
            need_mb: demand.need_mb(1),
            current_mb,
            limit_mb: demand.memory_limit().limit_mb,
            total_mb: demand.memory_limit().total_mb,
        })
}
