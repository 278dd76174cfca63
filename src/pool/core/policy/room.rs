//! Who gives way when memory is short, and who is idle too long.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Policy;
use super::action::{Action, Decision, RetireReason};
use super::budget::Budget;
use super::model::{Model, Phase};
use super::view::View;
use crate::pool::core::ids::{ModelId, WorkerId};
use crate::pool::core::memory::Device;

/// An idle worker that may go.
pub(super) struct Candidate {
    pub(super) worker: WorkerId,
    pub(super) model: ModelId,
    /// What it costs to have it back, per byte that it holds and second that it has been idle.
    value: f64,
}

impl Policy {
    /// Retires idle workers of other models on the same device, least valuable first, until
    /// `bytes` will be free. If that cannot be had now, the model waits, and nothing is retired in
    /// vain.
    pub(super) fn make_room(
        &mut self,
        id: ModelId,
        bytes: u64,
        view: &impl View,
        budget: &mut Budget,
        decision: &mut Decision,
        now: Instant,
    ) {
        let Some(model) = self.models.get_mut(&id) else {
            return;
        };
        model.short_since.get_or_insert(now);
        let device = model.plan.device;
        let room = budget.room(device, view);
        let missing = bytes.saturating_sub(room.free + room.coming);
        if missing > 0 {
            let replaces = model.plan.replaces;
            let mut candidates = self.evictable(device, Some(id), now, view);
            candidates.retain(|candidate| Some(candidate.model) != replaces);
            let Some((victims, found)) = self.choose(&candidates, missing, view) else {
                if replaces.is_some() {
                    self.refuse_newcomer(id, view, decision);
                    return;
                }
                // Smaller models may use what is free meanwhile: one that cannot start must not
                // hold up those that can.
                decision.wants_idle = true;
                return;
            };
            budget.room(device, view).coming += found;
            for worker in victims {
                self.retire(worker, RetireReason::Evicted, decision);
            }
        }
        budget.hold(device, bytes, view);
    }

    /// The model that a newcomer is to replace goes on serving, so there is nothing to wait for.
    fn refuse_newcomer(&mut self, id: ModelId, view: &impl View, decision: &mut Decision) {
        if let Some(model) = self.models.get_mut(&id) {
            model.warm = false;
            model.short_since = None;
        }
        let error = view.no_room(id);
        decision
            .actions
            .push(Action::FailQueued { model: id, error });
    }

    /// The least valuable of `candidates` (which are in that order) that free `missing` bytes
    /// together, and what they do free. None of them could be spared: weights are freed with the
    /// last worker that holds them, so a set may have to be whole.
    pub(super) fn choose(
        &self,
        candidates: &[Candidate],
        missing: u64,
        view: &impl View,
    ) -> Option<(BTreeSet<WorkerId>, u64)> {
        let models: BTreeSet<ModelId> = candidates.iter().map(|found| found.model).collect();
        let none = BTreeSet::new();
        let freed = |victims: &BTreeSet<WorkerId>| -> u64 {
            models
                .iter()
                .map(|&id| self.freed(id, victims, view) - self.freed(id, &none, view))
                .sum()
        };
        let mut victims = BTreeSet::new();
        let mut taken = 0;
        while freed(&victims) < missing {
            victims.insert(candidates.get(taken)?.worker);
            taken += 1;
        }
        for candidate in candidates.iter().take(taken).rev() {
            victims.remove(&candidate.worker);
            if freed(&victims) < missing {
                victims.insert(candidate.worker);
            }
        }
        let found = freed(&victims);
        Some((victims, found))
    }

    /// Idle workers on `device` that may give way, least valuable first; none of the model
    /// `except`.
    pub(super) fn evictable(
        &self,
        device: Device,
        except: Option<ModelId>,
        now: Instant,
        view: &impl View,
    ) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for &id in &self.active {
            let Some(model) = self.models.get(&id) else {
                continue;
            };
            let other = Some(id) != except && model.plan.device == device;
            if other && !model.plan.pinned && view.queue(id).queued == 0 {
                candidates.extend(self.idle_workers(id, model, now, view));
            }
        }
        candidates.sort_by(|a, b| a.value.total_cmp(&b.value));
        candidates
    }

    /// Those of a model's idle workers that it can spare, least valuable first.
    fn idle_workers(
        &self,
        id: ModelId,
        model: &Model,
        now: Instant,
        view: &impl View,
    ) -> Vec<Candidate> {
        let mut live = 0;
        let mut idle: Vec<(Duration, WorkerId, Duration, u64)> = Vec::new();
        for &worker in &model.workers {
            let Some(state) = self.workers.get(&worker) else {
                continue;
            };
            live += usize::from(state.phase != Phase::Retiring);
            if state.phase == Phase::Ready
                && let Some(idle_since) = view.worker(worker).idle_since
            {
                let idle_for = now.saturating_duration_since(idle_since);
                idle.push((idle_for, worker, state.load_time, state.own_bytes));
            }
        }
        // The longest idle first; of equals the one that was quickest to load.
        idle.sort_by(|a, b| b.0.cmp(&a.0).then(a.2.cmp(&b.2)));
        let spare = live.saturating_sub(model.plan.min_workers);
        let weights = model.plan.footprint.weights_bytes;
        let mut left = live;
        let mut candidates: Vec<Candidate> = idle
            .into_iter()
            .take(spare)
            .map(|(idle_for, worker, load_time, own_bytes)| {
                left -= 1;
                let (reload, bytes) = match (weights, left) {
                    (0, _) => (load_time, own_bytes),
                    // With the last one the weights go, and have to be loaded again.
                    (_, 0) => (model.weights_load_time, weights + own_bytes),
                    (_, _) => (Duration::ZERO, own_bytes),
                };
                let bytes_seconds = bytes.max(1) as f64 * (idle_for.as_secs_f64() + 0.001);
                Candidate {
                    worker,
                    model: id,
                    value: (reload.as_secs_f64() + 0.001) / bytes_seconds,
                }
            })
            .collect();
        // The last one frees most, but only if the others have gone before it.
        let mut next = f64::INFINITY;
        for candidate in candidates.iter_mut().rev() {
            candidate.value = candidate.value.min(next);
            next = candidate.value;
        }
        candidates
    }

    pub(super) fn decide_idle(
        &mut self,
        id: ModelId,
        now: Instant,
        view: &impl View,
        decision: &mut Decision,
    ) {
        let idle_after = self.config.idle_after;
        let (serving, loading) = self.count(id);
        let Some(model) = self.models.get(&id) else {
            return;
        };
        let floor = if model.plan.pinned {
            model.plan.min_workers.max(1)
        } else {
            model.plan.min_workers
        };
        if serving + loading <= floor {
            return;
        }
        let least_recently_used = model
            .workers
            .iter()
            .filter(|worker| {
                self.workers
                    .get(worker)
                    .is_some_and(|state| state.phase == Phase::Ready)
            })
            .filter_map(|&worker| Some((view.worker(worker).idle_since?, worker)))
            .min();
        let Some((idle_since, worker)) = least_recently_used else {
            // All are busy: look again when the first of them could have been idle long enough.
            if serving > 0 {
                decision.wake(now + idle_after);
            }
            return;
        };
        let counted_from = model
            .last_retired
            .map_or(idle_since, |at| at.max(idle_since));
        let due = counted_from + idle_after;
        if now < due {
            decision.wake(due);
            return;
        }
        if let Some(model) = self.models.get_mut(&id) {
            model.last_retired = Some(now);
        }
        self.retire(worker, RetireReason::Idle, decision);
        decision.wake(now + idle_after);
    }
}
