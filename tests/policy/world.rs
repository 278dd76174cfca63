//! A world for the policy to decide about: queues, workers and a real ledger, and no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use modelpool::pool::core::{
    Account, Device, Footprint, Ledger, MIB, MemoryBudget, MemoryLimit, ModelId, PoolError,
    Reservation, RestartConfig, RetireReason, Shortage, StartReason, WorkerId,
};
use modelpool::testing::policy::{
    Action, Exit, ModelPlan, Policy, PolicyConfig, QueueView, View, WeightsView, WorkerView,
};

pub struct FakeWorker {
    pub model: ModelId,
    pub ready: bool,
    pub retiring: bool,
    pub view: WorkerView,
    _reservation: Reservation,
}

pub struct World {
    pub policy: Policy,
    pub now: Instant,
    pub start: Instant,
    pub wake_at: Option<Instant>,
    pub wants_idle: bool,
    state: State,
    pinned: BTreeSet<ModelId>,
    looks: u64,
}

struct State {
    /// Every device has the same limit.
    ledgers: BTreeMap<Device, Arc<Ledger>>,
    models: BTreeMap<ModelId, (Account, ModelPlan)>,
    shortage: Option<Shortage>,
    queues: BTreeMap<ModelId, QueueView>,
    workers: BTreeMap<WorkerId, FakeWorker>,
    /// Given up: their threads have not returned, and hold their memory.
    abandoned: BTreeMap<WorkerId, FakeWorker>,
}

/// What the policy did, in words that a table can hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Did {
    Start(ModelId, WorkerId, StartReason),
    Retire(WorkerId, RetireReason),
    Abandon(WorkerId),
    Fail(ModelId, &'static str),
}

impl View for State {
    fn limit_bytes(&self, device: Device) -> u64 {
        self.ledgers[&device].limit_bytes()
    }

    fn reserved_bytes(&self, device: Device) -> u64 {
        self.ledgers[&device].reserved_bytes()
    }

    fn weights(&self, model: ModelId) -> Option<WeightsView> {
        let weights = self.models[&model].0.weights()?;
        Some(WeightsView {
            bytes: weights.bytes(),
            holders: weights.holders(),
        })
    }

    fn shortage(&self) -> Option<Shortage> {
        self.shortage
    }

    fn queue(&self, model: ModelId) -> QueueView {
        self.queues.get(&model).copied().unwrap_or_default()
    }

    fn worker(&self, worker: WorkerId) -> WorkerView {
        self.workers
            .get(&worker)
            .map_or(WorkerView::default(), |worker| worker.view)
    }

    fn no_room(&self, _model: ModelId) -> PoolError {
        PoolError::Internal("no room".to_owned())
    }

    fn never_fits(&self, _model: ModelId) -> PoolError {
        PoolError::Internal("never fits".to_owned())
    }
}

pub fn config() -> PolicyConfig {
    PolicyConfig {
        cold_start_workers: 2,
        expand_after: Duration::from_millis(100),
        idle_after: Duration::from_secs(60),
        restart: RestartConfig {
            initial_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(10),
            max_failures: 3,
            window: Duration::from_secs(60),
            cooldown: Duration::from_secs(15),
        },
        max_stalled_workers: 2,
        seed: 1,
    }
}

pub fn plan(mb: u64) -> ModelPlan {
    ModelPlan {
        name: "m".to_owned(),
        device: Device::Cpu,
        footprint: Footprint {
            weights_bytes: 0,
            worker_bytes: mb * MIB,
        },
        min_workers: 0,
        max_workers: 4,
        pinned: false,
        replaces: None,
        step_timeout: Duration::MAX,
        load_timeout: Duration::MAX,
    }
}

/// A model whose workers share `weights_mb`, and have `own_mb` each.
pub fn sharing(weights_mb: u64, own_mb: u64) -> ModelPlan {
    ModelPlan {
        footprint: Footprint {
            weights_bytes: weights_mb * MIB,
            worker_bytes: own_mb * MIB,
        },
        ..plan(0)
    }
}

impl World {
    pub fn new(limit_mb: u64, config: PolicyConfig) -> Self {
        let limit = MemoryLimit::new(MemoryBudget::Megabytes(limit_mb), limit_mb);
        let start = Instant::now();
        Self {
            policy: Policy::new(config),
            now: start,
            start,
            wake_at: None,
            wants_idle: false,
            pinned: BTreeSet::new(),
            looks: 0,
            state: State {
                ledgers: [Device::Cpu, Device::Cuda(0)]
                    .map(|device| (device, Ledger::new(limit, || {})))
                    .into(),
                models: BTreeMap::new(),
                shortage: None,
                queues: BTreeMap::new(),
                workers: BTreeMap::new(),
                abandoned: BTreeMap::new(),
            },
        }
    }

    pub fn model(&mut self, id: u64, plan: ModelPlan) -> ModelId {
        let id = ModelId(id);
        self.policy.register(id, plan.clone());
        let ledger = Arc::clone(&self.state.ledgers[&plan.device]);
        let account = Account::new(ledger);
        self.state.models.insert(id, (account, plan));
        id
    }

    /// Sets the time, from the world's beginning.
    pub fn at(&mut self, since_start: Duration) {
        self.now = self.start + since_start;
    }

    pub fn queue(&mut self, model: ModelId, queued: usize) {
        self.state.queues.entry(model).or_default().queued = queued;
        if queued > 0 {
            self.policy.demand(model);
        }
    }

    pub fn saturate(&mut self, model: ModelId, saturated: bool) {
        self.state.queues.entry(model).or_default().saturated = saturated;
        if saturated {
            let idle_epoch = self.state.queue(model).idle_epoch;
            self.policy.saturated(model, idle_epoch, self.now);
        }
    }

    pub fn queued(&self, model: ModelId) -> usize {
        self.state.queue(model).queued
    }

    pub fn pin(&mut self, model: ModelId, pinned: bool) {
        self.policy.pin(model, pinned);
        if pinned {
            self.pinned.insert(model);
        }
    }

    /// Whether the model was pinned at any time.
    pub fn was_pinned(&self, model: ModelId) -> bool {
        self.pinned.contains(&model)
    }

    /// A look at the machine: so much is missing outside of the pool.
    pub fn short(&mut self, missing_mb: Option<u64>) {
        self.looks += 1;
        let sample = self.looks;
        self.state.shortage = missing_mb.map(|mb| Shortage {
            missing_bytes: mb * MIB,
            sample,
        });
    }

    /// A worker of the model is free for a moment.
    pub fn breathe(&mut self, model: ModelId) {
        self.state.queues.entry(model).or_default().idle_epoch += 1;
    }

    pub fn workers(&self) -> &BTreeMap<WorkerId, FakeWorker> {
        &self.state.workers
    }

    pub fn abandoned(&self) -> &BTreeMap<WorkerId, FakeWorker> {
        &self.state.abandoned
    }

    pub fn ledgers(&self) -> impl Iterator<Item = (Device, &Ledger)> {
        let ledgers = self.state.ledgers.iter();
        ledgers.map(|(&device, ledger)| (device, &**ledger))
    }

    /// What is reserved on all devices together.
    pub fn reserved(&self) -> u64 {
        self.ledgers()
            .map(|(_, ledger)| ledger.reserved_bytes())
            .sum()
    }

    /// What should be reserved on a device: each worker's own bytes, and the weights of each model
    /// that has one, once.
    pub fn held(&self, device: Device) -> u64 {
        let threads = self.workers().values().chain(self.abandoned().values());
        let holders: Vec<ModelId> = threads.map(|worker| worker.model).collect();
        let models = self.state.models.iter();
        let of_models =
            models
                .filter(|(_, (_, plan))| plan.device == device)
                .map(|(id, (_, plan))| {
                    let holders = holders.iter().filter(|&model| model == id).count() as u64;
                    let Footprint {
                        weights_bytes,
                        worker_bytes,
                    } = plan.footprint;
                    holders * worker_bytes + if holders > 0 { weights_bytes } else { 0 }
                });
        of_models.sum()
    }

    pub fn ready(&mut self, worker: WorkerId) {
        let now = self.now;
        if let Some(state) = self.state.workers.get_mut(&worker) {
            state.ready = true;
            state.view.idle_since = Some(now);
        }
        self.policy.ready(worker, now);
    }

    pub fn busy(&mut self, worker: WorkerId) {
        let now = self.now;
        if let Some(state) = self.state.workers.get_mut(&worker) {
            state.view.idle_since = None;
            state.view.working_since = Some(now);
        }
    }

    pub fn idle(&mut self, worker: WorkerId) {
        let now = self.now;
        if let Some(state) = self.state.workers.get_mut(&worker) {
            state.view.idle_since = Some(now);
            state.view.working_since = None;
            state.view.answered += 1;
        }
    }

    pub fn exit(&mut self, worker: WorkerId, exit: Exit) {
        // The thread gives its memory back before anybody hears of its end.
        self.state.workers.remove(&worker);
        self.state.abandoned.remove(&worker);
        self.policy.exited(worker, exit, self.now);
    }

    pub fn load_failed() -> Exit {
        Exit::LoadFailed(PoolError::LoadFailed {
            model: "m".to_owned(),
            source: modelpool::ModelError::Other("no".to_owned()),
        })
    }

    /// Decides, carries out what was decided, and says what that was.
    pub fn decide(&mut self) -> Vec<Did> {
        let decision = self.policy.decide(self.now, &self.state);
        self.wake_at = decision.wake_at;
        self.wants_idle = decision.wants_idle;
        let mut done = Vec::new();
        for action in decision.actions {
            done.push(self.carry_out(action));
        }
        done
    }

    fn carry_out(&mut self, action: Action) -> Did {
        match action {
            Action::Start {
                model,
                worker,
                reason,
            } => {
                let (account, plan) = &self.state.models[&model];
                let reservation = account
                    .try_reserve(plan.footprint)
                    .expect("the policy starts only what fits");
                self.state.workers.insert(
                    worker,
                    FakeWorker {
                        model,
                        ready: false,
                        retiring: false,
                        view: WorkerView::default(),
                        _reservation: reservation,
                    },
                );
                Did::Start(model, worker, reason)
            }
            Action::Retire { worker, reason } => {
                let state = self.state.workers.get_mut(&worker).expect("a live worker");
                assert!(state.ready, "only a ready worker is retired");
                assert!(!state.retiring, "nobody is retired twice");
                if reason != RetireReason::Shutdown {
                    assert!(state.view.idle_since.is_some(), "never a busy one");
                }
                state.retiring = true;
                Did::Retire(worker, reason)
            }
            Action::Abandon { worker, .. } => {
                let state = self.state.workers.remove(&worker).expect("a live worker");
                self.state.abandoned.insert(worker, state);
                Did::Abandon(worker)
            }
            Action::FailQueued { model, error } => {
                self.queue(model, 0);
                let what = match error {
                    PoolError::LoadFailed { .. } => "load failed",
                    PoolError::Unavailable { .. } => "unavailable",
                    PoolError::Stalled { .. } => "stalled",
                    PoolError::TooManyStalled { .. } => "too many stalled",
                    PoolError::Internal(why) if why == "no room" => "no room",
                    PoolError::Internal(_) => "never fits",
                    _ => "something else",
                };
                Did::Fail(model, what)
            }
        }
    }
}
