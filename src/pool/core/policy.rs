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
mod relief;
mod room;
mod starts;
mod view;
mod watch;

pub use action::{Action, Decision, Exit, RetireReason, StartReason};
pub use plan::{ModelPlan, PolicyConfig};
pub use view::{QueueView, View, WeightsView, WorkerView};

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::ids::{ModelId, WorkerId};
use super::memory::Footprint;
use backoff::{forget_old, jittered_backoff};
use budget::Budget;
use model::{Breaker, Model, Phase, Saturation, Worker};

/// The state that decisions are made from.
#[derive(Debug)]
pub struct Policy {
    config: PolicyConfig,
    rng: fastrand::Rng,
    models: BTreeMap<ModelId, Box<Model>>,
    workers: BTreeMap<WorkerId, Worker>,
    /// Workers that were given up and whose threads have not returned.
    abandoned: BTreeMap<WorkerId, ModelId>,
    /// Models that have work, workers or failures; all others cost a decision nothing.
    active: BTreeSet<ModelId>,
    next_worker: u64,
    /// The look at the machine that idle workers were last retired for.
    relieved: u64,
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
            abandoned: BTreeMap::new(),
            active: BTreeSet::new(),
            next_worker: 0,
            relieved: 0,
            closing: false,
        }
    }

    /// A model was registered.
    pub fn register(&mut self, id: ModelId, plan: ModelPlan) {
        self.models.insert(id, Box::new(Model::new(plan)));
    }

    /// A model is gone, and all its workers with it, but for those that were given up.
    pub fn unregister(&mut self, id: ModelId) {
        self.models.remove(&id);
        self.active.remove(&id);
    }

    /// A model is about to go: it is kept loaded for nobody, and who replaces it has replaced it.
    pub fn let_go(&mut self, id: ModelId) {
        if let Some(model) = self.models.get_mut(&id) {
            model.plan.pinned = false;
            model.plan.min_workers = 0;
            model.warm = false;
        }
        for model in self.models.values_mut() {
            model.plan.replaces.take_if(|replaced| *replaced == id);
        }
    }

    /// All workers of a model are to end; work that waits, or comes, starts others.
    pub fn retire_all(&mut self, id: ModelId) -> Vec<Action> {
        let Some(model) = self.models.get_mut(&id) else {
            return Vec::new();
        };
        model.warm = false;
        model.cold_target = 0;
        model.to_replace = 0;
        let mut actions = Vec::new();
        for &worker in &model.workers {
            let Some(state) = self.workers.get_mut(&worker) else {
                continue;
            };
            if state.phase != Phase::Retiring {
                state.phase = Phase::Retiring;
                let reason = RetireReason::Requested;
                actions.push(Action::Retire { worker, reason });
            }
        }
        actions
    }

    /// Work waits for a model.
    pub fn demand(&mut self, id: ModelId) {
        self.active.insert(id);
    }

    /// Later workers of a model take more, or less, than those before.
    pub fn resize(&mut self, id: ModelId, footprint: Footprint) {
        if let Some(model) = self.models.get_mut(&id) {
            model.plan.footprint = footprint;
        }
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
        worker.loaded = true;
        if worker.phase == Phase::Loading {
            worker.phase = Phase::Ready;
            worker.load_time = now.saturating_duration_since(worker.loading_since);
        }
        if let Some(model) = self.models.get_mut(&worker.model) {
            if worker.brought_weights {
                model.weights_load_time = worker.load_time;
            }
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
        if let Some(model) = self.abandoned.remove(&id) {
            // It was counted as failed when it was given up.
            if let Some(model) = self.models.get_mut(&model) {
                model.stalled.remove(&id);
            }
            return;
        }
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
            Exit::Crashed | Exit::Killed if worker.phase == Phase::Retiring => {}
            Exit::Killed if model.breaker != (Breaker::HalfOpen { trial: Some(id) }) => {
                // The request is at fault, and is not tried again: no reason to doubt the model.
                model.to_replace += 1;
                return;
            }
            Exit::Crashed | Exit::Killed => model.to_replace += 1,
        }
        self.count_failure(worker.model, id, now);
    }

    /// Sets the backoff, and opens the breaker if that was one failure too many.
    fn count_failure(&mut self, id: ModelId, worker: WorkerId, now: Instant) {
        let Some(model) = self.models.get_mut(&id) else {
            return;
        };
        let restart = self.config.restart;
        model.failures.push_back(now);
        forget_old(&mut model.failures, restart.window, now);
        let failures = model.failures.len();
        let backoff = jittered_backoff(&mut self.rng, &restart, failures);
        model.not_before = Some(now + backoff);

        let failed_trial =
            matches!(model.breaker, Breaker::HalfOpen { trial } if trial == Some(worker));
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
        let ids = self.by_waiting_time();
        // First, so that nobody counts on memory that will not come.
        for &id in &ids {
            self.watch(id, now, view, &mut decision);
        }
        self.relieve(now, view, &mut decision);
        let mut budget = Budget::new(self, view);
        for &id in &ids {
            self.settle_breaker(id, now, view);
            self.decide_starts(id, now, view, &mut budget, &mut decision);
            self.decide_idle(id, now, view, &mut decision);
            self.drop_if_quiet(id, view);
        }
        for &id in &ids {
            self.watch_next(id, now, view, &mut decision);
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
                // The trial stands in for one that crashed while the breaker was half open.
                model.to_replace = 0;
            }
            None => model.breaker = Breaker::HalfOpen { trial: None },
        }
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
