//! What the policy may do, as rules that look at one action at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use modelpool::pool::core::{ModelId, RetireReason, StartReason, WorkerId};
use modelpool::testing::policy::{Exit, ModelPlan, PolicyConfig};

use crate::world::{Did, World};

struct Watched {
    plan: ModelPlan,
    warm: bool,
    failures: Vec<Instant>,
    /// No start before this.
    open_until: Option<Instant>,
    trial: Option<WorkerId>,
    load_failed: bool,
}

/// The reference: it remembers what happened, and says of an action whether it is allowed.
pub struct Rules {
    limit: u64,
    config: PolicyConfig,
    models: BTreeMap<ModelId, Watched>,
    started: BTreeSet<WorkerId>,
}

impl Rules {
    pub fn new(limit: u64, config: PolicyConfig) -> Self {
        Self {
            limit,
            config,
            models: BTreeMap::new(),
            started: BTreeSet::new(),
        }
    }

    pub fn registered(&mut self, id: ModelId, plan: ModelPlan) {
        let watched = Watched {
            plan,
            warm: false,
            failures: Vec::new(),
            open_until: None,
            trial: None,
            load_failed: false,
        };
        self.models.insert(id, watched);
    }

    fn model(&mut self, id: ModelId) -> &mut Watched {
        self.models.get_mut(&id).expect("a registered model")
    }

    pub fn warmed(&mut self, id: ModelId) {
        self.model(id).warm = true;
    }

    pub fn pinned(&mut self, id: ModelId, pinned: bool) {
        self.model(id).plan.pinned = pinned;
    }

    /// A worker is about to leave the world.
    pub fn exited(&mut self, world: &World, worker: WorkerId, exit: &Exit) {
        let restart = self.config.restart;
        let now = world.now;
        let model = self.model(world.workers()[&worker].model);
        let failed_trial = model.trial == Some(worker);
        if failed_trial {
            model.trial = None;
        }
        if matches!(exit, Exit::Retired) {
            return;
        }
        model.load_failed |= matches!(exit, Exit::LoadFailed(_));
        model.failures.push(now);
        model
            .failures
            .retain(|&at| now.duration_since(at) < restart.window);
        if failed_trial || model.failures.len() >= restart.max_failures {
            model.open_until = Some(now + restart.cooldown);
            model.trial = None;
        }
    }

    /// Breakers close by themselves: when a trial worker has answered, and when workers outlived
    /// the failures.
    pub fn before_decision(&mut self, world: &World) {
        for (id, model) in &mut self.models {
            let workers = world.workers().iter();
            let serving = workers
                .filter(|(_, worker)| worker.model == *id && worker.ready && !worker.retiring)
                .count();
            if let Some(trial) = model.trial
                && world.workers()[&trial].ready
                && world.workers()[&trial].view.answered > 0
            {
                model.trial = None;
                model.failures.clear();
            }
            if model.open_until.is_some_and(|until| until <= world.now) && serving > 0 {
                model.open_until = None;
            }
        }
    }

    /// Fails unless the policy may do what it did.
    pub fn allow(&mut self, world: &World, did: &Did, ids: &[ModelId], asked: &[usize]) {
        let queued_before = |id: ModelId| {
            let place = ids.iter().position(|known| *known == id);
            place.map_or(0, |place| asked[place])
        };
        match *did {
            Did::Start(id, worker, reason) => {
                assert!(self.started.insert(worker), "a worker's id is used once");
                let wanted = queued_before(id) > 0 || self.model(id).warm;
                self.allow_start(world, id, worker, reason, wanted);
            }
            Did::Retire(worker, reason) => self.allow_retire(world, worker, reason),
            Did::Abandon(worker) => panic!("nothing hangs here, and {worker} was given up"),
            Did::Fail(id, what) => {
                let limit = self.limit;
                let model = self.model(id);
                assert!(queued_before(id) > 0 || model.warm, "somebody waits");
                model.warm = false;
                match what {
                    "load failed" => {
                        assert!(model.load_failed, "a load has failed");
                        model.load_failed = false;
                    }
                    "unavailable" => {
                        assert!(model.open_until.is_some_and(|until| world.now < until));
                    }
                    "never fits" => assert!(model.plan.footprint.worker_bytes > limit),
                    other => panic!("refused because of {other}"),
                }
            }
        }
    }

    fn allow_start(
        &mut self,
        world: &World,
        id: ModelId,
        worker: WorkerId,
        reason: StartReason,
        wanted: bool,
    ) {
        let model = self.model(id);
        if let Some(until) = model.open_until {
            assert!(world.now >= until, "the breaker is open");
            assert_eq!(reason, StartReason::Trial, "and half-open then");
        }
        match reason {
            StartReason::ColdStart => assert!(wanted || live(world, id) > 1, "nobody asked"),
            StartReason::Trial => {
                assert!(wanted, "nobody asked for a trial");
                assert_eq!(live(world, id), 1, "one worker tries");
                model.trial = Some(worker);
                model.open_until = None;
            }
            StartReason::Restart => assert!(!model.failures.is_empty(), "nothing has failed"),
            StartReason::Expand => assert!(live(world, id) > 1, "there was one to be busy"),
            other => panic!("started because of {other:?}"),
        }
    }

    fn allow_retire(&mut self, world: &World, worker: WorkerId, reason: RetireReason) {
        let idle_after = self.config.idle_after;
        let state = &world.workers()[&worker];
        let left = live(world, state.model);
        let plan = &self.model(state.model).plan;
        let idle_since = state.view.idle_since.expect("never a busy one");
        match reason {
            RetireReason::Idle => {
                assert!(world.now >= idle_since + idle_after, "idle long enough");
                assert!(left >= plan.min_workers.max(usize::from(plan.pinned)));
            }
            RetireReason::Evicted => {
                assert!(!plan.pinned, "pinned");
                assert!(left >= plan.min_workers, "below min_workers");
            }
            other => panic!("retired because of {other:?}"),
        }
    }
}

/// How many workers of a model load or serve.
fn live(world: &World, model: ModelId) -> usize {
    let workers = world.workers().values();
    workers
        .filter(|worker| worker.model == model && !worker.retiring)
        .count()
}
