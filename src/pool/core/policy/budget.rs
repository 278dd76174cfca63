//! Memory as one decision spends it.

use std::collections::{BTreeMap, BTreeSet};

use super::Policy;
use super::model::{Model, Phase};
use super::view::View;
use crate::pool::core::ids::{ModelId, WorkerId};
use crate::pool::core::memory::Device;

/// Memory as one decision spends it, device by device.
pub(super) struct Budget {
    rooms: BTreeMap<Device, Room>,
    /// Models whose weights a worker brings that is started by this very decision.
    bringing: BTreeSet<ModelId>,
}

/// What is left of a device.
pub(super) struct Room {
    /// Unreserved, and not promised to a model that waits.
    pub(super) free: u64,
    /// Held by workers that are on their way out, and not promised.
    pub(super) coming: u64,
}

impl Budget {
    pub(super) fn new(policy: &Policy, view: &impl View) -> Self {
        let mut budget = Self {
            rooms: BTreeMap::new(),
            bringing: BTreeSet::new(),
        };
        for &id in &policy.active {
            if let Some(model) = policy.models.get(&id) {
                // Weights that are coming may be needed by a worker that this decision starts; that
                // they will not come after all shows in the next one.
                budget.room(model.plan.device, view).coming +=
                    policy.freed(id, &BTreeSet::new(), view);
            }
        }
        budget
    }

    pub(super) fn room(&mut self, device: Device, view: &impl View) -> &mut Room {
        self.rooms.entry(device).or_insert_with(|| Room {
            free: view
                .limit_bytes(device)
                .saturating_sub(view.reserved_bytes(device)),
            coming: 0,
        })
    }

    /// What one more worker of a model adds to the ledger.
    pub(super) fn needed(&self, id: ModelId, model: &Model, view: &impl View) -> u64 {
        let footprint = model.plan.footprint;
        let shares = footprint.weights_bytes > 0
            && (self.bringing.contains(&id) || view.weights(id).is_some());
        if shares {
            footprint.worker_bytes
        } else {
            footprint.alone()
        }
    }

    /// Spends `bytes` on a worker of a model, if there are so many.
    pub(super) fn take(
        &mut self,
        id: ModelId,
        device: Device,
        bytes: u64,
        view: &impl View,
    ) -> bool {
        let room = self.room(device, view);
        let fits = bytes <= room.free;
        if fits {
            room.free -= bytes;
            self.bringing.insert(id);
        }
        fits
    }

    /// Keeps `bytes` for a model that waits: first what is free, then what is coming.
    pub(super) fn hold(&mut self, device: Device, bytes: u64, view: &impl View) {
        let room = self.room(device, view);
        let from_free = bytes.min(room.free);
        room.free -= from_free;
        room.coming = room.coming.saturating_sub(bytes - from_free);
    }
}

impl Policy {
    /// What is freed when the workers of a model that are on their way out end, and these with
    /// them: what each has of its own, and the weights if nobody is left who holds them.
    pub(super) fn freed(&self, id: ModelId, also: &BTreeSet<WorkerId>, view: &impl View) -> u64 {
        let Some(model) = self.models.get(&id) else {
            return 0;
        };
        let mut bytes = 0;
        let mut stay = 0;
        for worker in &model.workers {
            match self.workers.get(worker) {
                Some(state) if state.phase == Phase::Retiring || also.contains(worker) => {
                    bytes += state.own_bytes;
                }
                Some(_) => stay += 1,
                None => {}
            }
        }
        if stay == 0
            && model.plan.footprint.weights_bytes > 0
            && let Some(weights) = view.weights(id)
            // Workers that were given up on hold theirs until their threads return.
            && weights.holders <= model.workers.len()
        {
            bytes += weights.bytes;
        }
        bytes
    }
}
