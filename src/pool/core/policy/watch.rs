//! Who has been at one thing for too long.

use std::time::{Duration, Instant};

use super::Policy;
use super::action::{Action, Decision};
use super::model::Phase;
use super::view::View;
use crate::pool::core::error::PoolError;
use crate::pool::core::ids::{ModelId, WorkerId};

/// What a worker is at that has a time limit.
struct Watched {
    worker: WorkerId,
    /// When the limit is exceeded. Of a worker that does nothing: if it began now.
    due: Instant,
    limit: Duration,
    loading: bool,
}

impl Policy {
    /// The model's workers whose present step or load has a limit.
    fn watched(&self, id: ModelId, now: Instant, view: &impl View) -> Vec<Watched> {
        let Some(model) = self.models.get(&id) else {
            return Vec::new();
        };
        let watched = |&worker: &WorkerId| {
            let state = self.workers.get(&worker)?;
            let (since, limit) = if state.loaded {
                let since = view.worker(worker).working_since.unwrap_or(now);
                (since, model.plan.step_timeout)
            } else {
                (state.loading_since, model.plan.load_timeout)
            };
            Some(Watched {
                worker,
                // What is due past the end of time is never due.
                due: since.checked_add(limit)?,
                limit,
                loading: !state.loaded,
            })
        };
        model.workers.iter().filter_map(watched).collect()
    }

    /// When to look again.
    pub(super) fn watch_next(
        &self,
        id: ModelId,
        now: Instant,
        view: &impl View,
        decision: &mut Decision,
    ) {
        for watched in self.watched(id, now, view) {
            decision.wake(watched.due);
        }
    }

    /// Gives up the model's workers that exceed a limit.
    pub(super) fn watch(
        &mut self,
        id: ModelId,
        now: Instant,
        view: &impl View,
        decision: &mut Decision,
    ) {
        let mut stalled = self.watched(id, now, view);
        stalled.retain(|watched| watched.due <= now);
        for Watched {
            worker,
            limit: after,
            loading: while_loading,
            ..
        } in stalled
        {
            self.give_up(worker, now);
            if while_loading && let Some(model) = self.models.get_mut(&id) {
                model.load_error = Some(PoolError::Stalled {
                    model: model.plan.name.clone(),
                    after,
                });
            }
            decision.actions.push(Action::Abandon {
                model: id,
                worker,
                after,
                while_loading,
            });
        }
    }

    /// A worker is given up that has outlived its grace: no failure, but its memory is not free
    /// before it returns.
    pub fn abandon(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.remove(&id) else {
            return;
        };
        self.abandoned.insert(id, worker.model);
        if let Some(model) = self.models.get_mut(&worker.model) {
            model.workers.remove(&id);
            model.stalled.insert(id);
        }
    }

    /// The worker counts as failed and serves no more; its memory is not free before it returns.
    fn give_up(&mut self, id: WorkerId, now: Instant) {
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let id_of_model = worker.model;
        let Some(model) = self.models.get_mut(&id_of_model) else {
            return;
        };
        if !worker.loaded {
            model.cold_target = 0;
        } else if worker.phase != Phase::Retiring {
            model.to_replace += 1;
        }
        self.abandon(id);
        self.count_failure(id_of_model, id, now);
    }
}
