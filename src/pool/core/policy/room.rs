//! Who gives way when memory is short, and who is idle too long.

use std::time::Instant;

use super::Policy;
use super::action::{Decision, RetireReason};
use super::budget::Budget;
use super::model::Phase;
use super::view::View;
use crate::pool::core::ids::{ModelId, WorkerId};

impl Policy {
    /// Retires idle workers of other models, least valuable first, until `bytes` will be free. If
    /// that cannot be had now, the model waits, and nothing is retired in vain.
    pub(super) fn make_room(
        &mut self,
        id: ModelId,
        bytes: u64,
        view: &impl View,
        budget: &mut Budget,
        decision: &mut Decision,
        now: Instant,
    ) {
        if let Some(model) = self.models.get_mut(&id) {
            model.short_since.get_or_insert(now);
        }
        let missing = bytes.saturating_sub(budget.free + budget.coming);
        if missing > 0 {
            let mut victims = Vec::new();
            let mut found = 0;
            for (worker, worker_bytes) in self.evictable(id, now, view) {
                if found >= missing {
                    break;
                }
                found += worker_bytes;
                victims.push(worker);
            }
            if found < missing {
                // Smaller models may use what is free meanwhile: one that cannot start must not
                // hold up those that can.
                decision.wants_idle = true;
                return;
            }
            budget.coming += found;
            for worker in victims {
                self.retire(worker, RetireReason::Evicted, decision);
            }
        }
        budget.hold(bytes);
    }

    /// Idle workers that may give way to `id`, least valuable first: a worker is worth its reload
    /// time, per byte that it holds and second that it has been idle.
    pub(super) fn evictable(
        &self,
        id: ModelId,
        now: Instant,
        view: &impl View,
    ) -> Vec<(WorkerId, u64)> {
        let mut candidates = Vec::new();
        for (&other, model) in &self.models {
            if other == id || model.plan.pinned || view.queue(other).queued > 0 {
                continue;
            }
            let mut idle: Vec<(f64, WorkerId)> = Vec::new();
            let mut live = 0;
            for &worker in &model.workers {
                let Some(state) = self.workers.get(&worker) else {
                    continue;
                };
                live += usize::from(state.phase != Phase::Retiring);
                if state.phase != Phase::Ready {
                    continue;
                }
                let Some(idle_since) = view.worker(worker).idle_since else {
                    continue;
                };
                let idle_seconds = now.saturating_duration_since(idle_since).as_secs_f64();
                let reload_seconds = state.load_time.as_secs_f64();
                let bytes = model.plan.worker_bytes.max(1) as f64;
                let value = (reload_seconds + 0.001) / (bytes * (idle_seconds + 0.001));
                idle.push((value, worker));
            }
            idle.sort_by(|a, b| a.0.total_cmp(&b.0));
            let spare = live.saturating_sub(model.plan.min_workers);
            let bytes = model.plan.worker_bytes;
            candidates.extend(
                idle.into_iter()
                    .take(spare)
                    .map(|(value, worker)| (value, worker, bytes)),
            );
        }
        candidates.sort_by(|a, b| a.0.total_cmp(&b.0));
        candidates
            .into_iter()
            .map(|(_, worker, bytes)| (worker, bytes))
            .collect()
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
