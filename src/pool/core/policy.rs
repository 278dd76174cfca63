//! Pure decisions: what to start, retire, evict, restart and give up on.
//!
//! The supervisor tells the policy what happened (`demand`, `saturated`, `ready`, `exited`, …) and
//! then asks [`Policy::decide`] what to do about the state as a whole. Deciding is level-triggered:
//! whatever an earlier decision could not do yet is found again by the next one, so no wake-up can
//! be lost. There is no clock here and no actor; `now` and a [`View`] of the world are arguments.

mod action;
mod backoff;
mod budget;
mod model;
mod plan;
mod view;

pub use action::{Action, Decision, Exit, RetireReason, StartReason};
pub use plan::{ModelPlan, PolicyConfig};
pub use view::{QueueView, View, WorkerView};

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::error::PoolError;
use super::ids::{ModelId, WorkerId};
use backoff::{forget_old, jittered_backoff};
use budget::Budget;
use model::{Breaker, Model, Phase, Saturation, Worker};

/// The state that decisions are made from.
#[derive(Debug)]
pub struct Policy {
    config: PolicyConfig,
    rng: fastrand::Rng,
    models: BTreeMap<ModelId, Model>,
    workers: BTreeMap<WorkerId, Worker>,
    /// Models that have work, workers or failures; all others cost a decision nothing.
    active: BTreeSet<ModelId>,
    next_worker: u64,
    closing: bool,
}

impl Policy {
    /// A policy that knows no model yet.
    pub fn new(config: PolicyConfig) -> Self {
        let rng = fastrand::Rng::with_seed(config.seed);
        Self {
            config,
            rng,
            models: BTreeMap::new(),
            workers: BTreeMap::new(),
            active: BTreeSet::new(),
            next_worker: 0,
            closing: false,
        }
    }

    /// A model was registered.
    pub fn register(&mut self, id: ModelId, plan: ModelPlan) {
        self.models.insert(id, Model::new(plan));
    }

    /// Work waits for a model.
    pub fn demand(&mut self, id: ModelId) {
        self.active.insert(id);
    }

    /// Workers are wanted though no work waits.
    pub fn warm(&mut self, id: ModelId) {
        self.active.insert(id);
        if let Some(model) = self.models.get_mut(&id) {
            model.warm = true;
        }
    }

    /// Pins a model, or takes the pin away.
    pub fn pin(&mut self, id: ModelId, pinned: bool) {
        if let Some(model) = self.models.get_mut(&id) {
            model.plan.pinned = pinned;
        }
    }

    /// All workers of a model are busy and work waits.
    pub fn saturated(&mut self, id: ModelId, idle_epoch: u64, now: Instant) {
        self.active.insert(id);
        if let Some(model) = self.models.get_mut(&id) {
            let since = now;
            model.saturated = Some(Saturation { since, idle_epoch });
        }
    }

    /// A worker has loaded its model and serves.
    pub fn ready(&mut self, id: WorkerId, now: Instant) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        if worker.phase == Phase::Loading {
            worker.phase = Phase::Ready;
            worker.load_time = now.saturating_duration_since(worker.loading_since);
        }
        if let Some(model) = self.models.get_mut(&worker.model) {
            model.warm = false;
            model.load_error = None;
            // Whether one more is needed shows only now that this one serves.
            if let Some(saturation) = &mut model.saturated {
                saturation.since = now;
            }
        }
    }

    /// A worker is gone, its memory released.
    pub fn exited(&mut self, id: WorkerId, exit: Exit, now: Instant) {
        let Some(worker) = self.workers.remove(&id) else {
            return;
        };
        let Some(model) = self.models.get_mut(&worker.model) else {
            return;
        };
        model.workers.remove(&id);
        self.active.insert(worker.model);
        match exit {
            Exit::Retired => return,
            Exit::LoadFailed(error) => {
                model.load_error = Some(error);
                // A model that loads for nobody is not tried again until somebody asks.
                model.cold_target = 0;
            }
            // One that was on its way out anyway is not missed. One that crashed before its
            // report of being ready was read is.
            Exit::Crashed if worker.phase == Phase::Retiring => {}
            Exit::Crashed => model.to_replace += 1,
        }

        let restart = self.config.restart;
        model.failures.push_back(now);
        forget_old(&mut model.failures, restart.window, now);
        let failures = model.failures.len();
        let backoff = jittered_backoff(&mut self.rng, &restart, failures);
        model.not_before = Some(now + backoff);

        let failed_trial =
            matches!(model.breaker, Breaker::HalfOpen { trial } if trial == Some(id));
        if failed_trial || failures >= restart.max_failures {
            model.breaker = Breaker::Open {
                until: now + restart.cooldown,
            };
            model.to_replace = 0;
        }
    }

    /// No more starts; every worker is to end.
    pub fn close(&mut self) -> Vec<Action> {
        self.closing = true;
        let mut actions = Vec::new();
        for (&worker, state) in &mut self.workers {
            if state.phase != Phase::Retiring {
                state.phase = Phase::Retiring;
                actions.push(Action::Retire {
                    worker,
                    reason: RetireReason::Shutdown,
                });
            }
        }
        actions
    }

    /// How long a caller is to wait while the model's breaker is open.
    pub fn retry_after(&self, id: ModelId, now: Instant) -> Option<Duration> {
        match self.models.get(&id)?.breaker {
            Breaker::Open { until } if until > now => Some(until - now),
            _ => None,
        }
    }

    /// How long until the model may be started again after a failure; `None` if nothing waits for
    /// that.
    pub fn restart_after(&self, id: ModelId, now: Instant) -> Option<Duration> {
        let not_before = self.models.get(&id)?.not_before?;
        Some(not_before.saturating_duration_since(now))
    }

    /// How many workers live: loading, ready or retiring.
    pub fn live_workers(&self) -> usize {
        self.workers.len()
    }

    /// What to do now.
    pub fn decide(&mut self, now: Instant, view: &impl View) -> Decision {
        let mut decision = Decision::default();
        if self.closing {
            return decision;
        }
        let mut budget = Budget::new(self, view);
        for id in self.by_waiting_time() {
            self.settle_breaker(id, now, view);
            self.decide_starts(id, now, view, &mut budget, &mut decision);
            self.decide_idle(id, now, view, &mut decision);
            self.drop_if_quiet(id, view);
        }
        decision
    }

    /// Active models, those first that have waited for memory longest.
    fn by_waiting_time(&self) -> Vec<ModelId> {
        let mut ids: Vec<ModelId> = self.active.iter().copied().collect();
        ids.sort_by_key(|id| {
            let short_since = self.models.get(id).and_then(|model| model.short_since);
            (short_since.is_none(), short_since, *id)
        });
        ids
    }

    /// Closes a half-open breaker whose trial worker has proved itself.
    fn settle_breaker(&mut self, id: ModelId, now: Instant, view: &impl View) {
        let window = self.config.restart.window;
        let Some(model) = self.models.get_mut(&id) else {
            return;
        };
        forget_old(&mut model.failures, window, now);
        let Breaker::HalfOpen { trial: Some(trial) } = model.breaker else {
            return;
        };
        match self.workers.get(&trial) {
            Some(worker) if worker.phase == Phase::Loading => {}
            Some(_) if view.worker(trial).answered == 0 => {}
            Some(_) => {
                model.breaker = Breaker::Closed;
                model.failures.clear();
            }
            None => model.breaker = Breaker::HalfOpen { trial: None },
        }
    }

    fn decide_starts(
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
        let target = target.min(model.plan.max_workers);
        if target <= live {
            model.short_since = None;
            if live > 0 && loading == 0 {
                model.cold_target = 0;
            }
            return;
        }
        if let Some(not_before) = model.not_before.filter(|&at| now < at) {
            decision.wake(not_before);
            return;
        }
        model.not_before = None;

        let bytes = model.plan.worker_bytes;
        if bytes > view.limit_bytes() {
            model.warm = false;
            decision.actions.push(Action::FailQueued {
                model: id,
                error: view.never_fits(id),
            });
            return;
        }
        let cold = model.cold_target > 0;
        for nth in live..target {
            // The second worker of a cold start is a convenience, and so is one that nobody waits
            // for: they take free memory only.
            let may_evict = wanted && (nth == 0 || !cold);
            if !budget.take(bytes) {
                if may_evict {
                    self.make_room(id, bytes, view, budget, decision, now);
                } else if let Some(model) = self.models.get_mut(&id) {
                    model.cold_target = nth;
                    model.to_replace = 0;
                }
                return;
            }
            self.start(id, reason, now, decision);
        }
    }

    fn start(&mut self, id: ModelId, reason: StartReason, now: Instant, decision: &mut Decision) {
        let Some(model) = self.models.get_mut(&id) else {
            return;
        };
        self.next_worker += 1;
        let worker = WorkerId(self.next_worker);
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
                load_time: Duration::ZERO,
            },
        );
        decision.actions.push(Action::Start {
            model: id,
            worker,
            reason,
        });
    }

    /// Retires idle workers of other models, least valuable first, until `bytes` will be free. If
    /// that cannot be had now, the model waits, and nothing is retired in vain.
    fn make_room(
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
    fn evictable(&self, id: ModelId, now: Instant, view: &impl View) -> Vec<(WorkerId, u64)> {
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

    fn decide_idle(
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

    fn retire(&mut self, worker: WorkerId, reason: RetireReason, decision: &mut Decision) {
        if let Some(state) = self.workers.get_mut(&worker) {
            state.phase = Phase::Retiring;
            decision.actions.push(Action::Retire { worker, reason });
        }
    }

    /// A model without workers, work or wishes needs no more decisions until something happens.
    fn drop_if_quiet(&mut self, id: ModelId, view: &impl View) {
        let quiet = self.models.get(&id).is_none_or(|model| {
            model.workers.is_empty()
                && !model.warm
                && model.to_replace == 0
                && view.queue(id).queued == 0
        });
        if quiet {
            self.active.remove(&id);
        }
    }

    fn count(&self, id: ModelId) -> (usize, usize) {
        let Some(model) = self.models.get(&id) else {
            return (0, 0);
        };
        let phases = model
            .workers
            .iter()
            .filter_map(|worker| self.workers.get(worker))
            .map(|worker| worker.phase);
        phases.fold((0, 0), |(serving, loading), phase| match phase {
            Phase::Ready => (serving + 1, loading),
            Phase::Loading => (serving, loading + 1),
            Phase::Retiring => (serving, loading),
        })
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
