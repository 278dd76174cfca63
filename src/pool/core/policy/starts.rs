//! How many workers a model should have, and what is to start.

use std::time::{Duration, Instant};

use super::Policy;
use super::action::{Action, Decision, StartReason};
use super::budget::Budget;
use super::model::{Breaker, Model, Phase, Saturation, Worker};
use super::view::{QueueView, View};
use crate::pool::core::error::PoolError;
use crate::pool::core::ids::{ModelId, WorkerId};
use crate::pool::core::memory::Device;

impl Policy {
    pub(super) fn decide_starts(
        &mut self,
        id: ModelId,
        now: Instant,
        view: &impl View,
        budget: &mut Budget,
        decision: &mut Decision,
    ) {
        let queue = view.queue(id);
        let (serving, loading) = self.count(id);
        let expand_after = self.config.expand_after;
        let cold_start_workers = self.config.cold_start_workers;
        let Some(model) = self.models.get_mut(&id) else {
            return;
        };
        let wanted = queue.queued > 0 || model.warm;
        let live = serving + loading;

        if live == 0
            && let Some(error) = model.load_error.take()
            && wanted
        {
            // The load that these callers waited for has failed.
            model.warm = false;
            model.short_since = None;
            decision
                .actions
                .push(Action::FailQueued { model: id, error });
            return;
        }
        if let Breaker::Open { until } = model.breaker {
            if now < until {
                if live == 0 && wanted {
                    model.warm = false;
                    let error = PoolError::Unavailable {
                        model: model.plan.name.clone(),
                        retry_after: until - now,
                    };
                    decision
                        .actions
                        .push(Action::FailQueued { model: id, error });
                }
                return;
            }
            model.breaker = if serving > 0 {
                // Workers that outlived the failures have shown that the model works.
                Breaker::Closed
            } else {
                Breaker::HalfOpen { trial: None }
            };
        }

        // How many workers the model should have, and why.
        let trial_only = matches!(model.breaker, Breaker::HalfOpen { .. });
        let (target, reason) = if trial_only {
            (usize::from(wanted).max(live.min(1)), StartReason::Trial)
        } else if live == 0 && wanted {
            let reason = if model.failures.is_empty() {
                StartReason::ColdStart
            } else {
                StartReason::Restart
            };
            model.cold_target = cold_start_workers.min(model.plan.max_workers);
            (model.cold_target, reason)
        } else if model.to_replace > 0 {
            (live + model.to_replace, StartReason::Restart)
        } else if loading > 0 && live < model.cold_target {
            (model.cold_target, StartReason::ColdStart)
        } else {
            let more = expand(model, &queue, live, loading, expand_after, now);
            match more {
                Expansion::Now => (live + 1, StartReason::Expand),
                Expansion::NotYet(due) => {
                    decision.wake(due);
                    (live, StartReason::Expand)
                }
                Expansion::NoNeed => {
                    if model.saturated.take().is_some() {
                        decision.relaxed.push(id);
                    }
                    (live, StartReason::Expand)
                }
                Expansion::Loading => (live, StartReason::Expand),
            }
        };
        let mut target = target.min(model.plan.max_workers);
        if model.plan.device == Device::Cpu && view.shortage().is_some() {
            // Who waits is served, by one worker.
            target = target.min(live.max(1));
        }
        if target <= live {
            model.short_since = None;
            if live > 0 && loading == 0 {
                model.cold_target = 0;
            }
            return;
        }
        let stalled = model.stalled.len();
        if stalled >= self.config.max_stalled_workers {
            // Each keeps its memory, and another would most likely join them.
            if live == 0 && wanted {
                model.warm = false;
                let error = PoolError::TooManyStalled {
                    model: model.plan.name.clone(),
                    threads: stalled,
                };
                decision
                    .actions
                    .push(Action::FailQueued { model: id, error });
            }
            model.to_replace = 0;
            return;
        }
        if let Some(not_before) = model.not_before.filter(|&at| now < at) {
            decision.wake(not_before);
            return;
        }
        model.not_before = None;

        let device = model.plan.device;
        if budget.needed(id, model, view) > view.limit_bytes(device) {
            model.warm = false;
            decision.actions.push(Action::FailQueued {
                model: id,
                error: view.never_fits(id),
            });
            return;
        }
        let cold = model.cold_target > 0;
        for nth in live..target {
            let Some(model) = self.models.get_mut(&id) else {
                return;
            };
            // The second worker of a cold start is a convenience, and so is one that nobody waits
            // for: they take free memory only.
            let may_evict = wanted && (nth == 0 || !cold);
            let bytes = budget.needed(id, model, view);
            if !budget.take(id, device, bytes, view) {
                if may_evict {
                    self.make_room(id, bytes, view, budget, decision, now);
                } else {
                    model.cold_target = nth;
                    model.to_replace = 0;
                }
                return;
            }
            self.start(id, reason, bytes, now, decision);
        }
    }

    pub(super) fn start(
        &mut self,
        id: ModelId,
        reason: StartReason,
        bytes: u64,
        now: Instant,
        decision: &mut Decision,
    ) {
        let Some(model) = self.models.get_mut(&id) else {
            return;
        };
        self.next_worker += 1;
        let worker = WorkerId(self.next_worker);
        let own_bytes = model.plan.footprint.worker_bytes;
        model.workers.insert(worker);
        model.short_since = None;
        match reason {
            StartReason::Restart => model.to_replace = model.to_replace.saturating_sub(1),
            StartReason::Trial => {
                model.breaker = Breaker::HalfOpen {
                    trial: Some(worker),
                };
            }
            StartReason::ColdStart | StartReason::Expand => {}
        }
        self.workers.insert(
            worker,
            Worker {
                model: id,
                phase: Phase::Loading,
                loading_since: now,
                loaded: false,
                load_time: Duration::ZERO,
                own_bytes,
                brought_weights: bytes > own_bytes,
            },
        );
        decision.actions.push(Action::Start {
            model: id,
            worker,
            reason,
        });
    }
}

/// Whether a model needs one worker more.
enum Expansion {
    NoNeed,
    /// One is on its way; when it serves, one will see.
    Loading,
    NotYet(Instant),
    Now,
}

fn expand(
    model: &mut Model,
    queue: &QueueView,
    live: usize,
    loading: usize,
    expand_after: Duration,
    now: Instant,
) -> Expansion {
    let Some(saturation) = &mut model.saturated else {
        return Expansion::NoNeed;
    };
    let due = saturation.since + expand_after;
    if loading > 0 {
        Expansion::Loading
    } else if now < due {
        Expansion::NotYet(due)
    } else if !queue.saturated || live >= model.plan.max_workers {
        Expansion::NoNeed
    } else if saturation.idle_epoch != queue.idle_epoch {
        // A worker was free in between: this is another bout.
        *saturation = Saturation {
            since: now,
            idle_epoch: queue.idle_epoch,
        };
        Expansion::NotYet(now + expand_after)
    } else {
        Expansion::Now
    }
}
