//! The policy and the ledger against a reference model: what may be started, retired and refused is
//! written down a second time, by rules rather than by decisions, and every action is held against
//! it. What fails is shrunk to the shortest schedule.

use std::time::Duration;

use modelpool::pool::core::{MIB, ModelId, WorkerId};
use modelpool::testing::policy::{Exit, ModelPlan};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use crate::rules::Rules;
use crate::world::{FakeWorker, World, config, plan};

const LIMIT_MB: u64 = 800;
const MODELS: usize = 4;

/// What the outside world does. Which worker is meant is told by an index among those that can do
/// it: a schedule stays meaningful when it is shrunk.
#[derive(Debug, Clone)]
enum Transition {
    Asks(usize, usize),
    GivesUp(usize),
    Saturates(usize),
    Warms(usize),
    Pins(usize, bool),
    Loads(Index),
    FailsToLoad(Index),
    TakesWork(Index),
    HasNothingToDo(Index),
    Crashes(Index),
    Ends(Index),
    Passes(Duration),
}

/// What the reference knows by itself: the models and the callers.
#[derive(Debug, Clone)]
struct Reference {
    plans: Vec<ModelPlan>,
    queued: Vec<usize>,
}

impl ReferenceStateMachine for Reference {
    type State = Self;
    type Transition = Transition;

    fn init_state() -> BoxedStrategy<Self> {
        let model = (1u64..1000, 0usize..3, 1usize..5, any::<bool>());
        let models = proptest::collection::vec(model, MODELS);
        let plans = models.prop_map(|models| {
            let plans = models
                .into_iter()
                .map(|(mb, min_workers, max_workers, pinned)| ModelPlan {
                    min_workers: min_workers.min(max_workers),
                    max_workers,
                    pinned,
                    ..plan(mb)
                });
            Self {
                plans: plans.collect(),
                queued: vec![0; MODELS],
            }
        });
        plans.boxed()
    }

    fn transitions(_state: &Self) -> BoxedStrategy<Transition> {
        let index = any::<Index>;
        prop_oneof![
            4 => (0..MODELS, 1usize..9).prop_map(|(model, jobs)| Transition::Asks(model, jobs)),
            1 => (0..MODELS).prop_map(Transition::GivesUp),
            3 => (0..MODELS).prop_map(Transition::Saturates),
            1 => (0..MODELS).prop_map(Transition::Warms),
            1 => (0..MODELS, any::<bool>()).prop_map(|(model, pin)| Transition::Pins(model, pin)),
            6 => index().prop_map(Transition::Loads),
            1 => index().prop_map(Transition::FailsToLoad),
            3 => index().prop_map(Transition::TakesWork),
            4 => index().prop_map(Transition::HasNothingToDo),
            2 => index().prop_map(Transition::Crashes),
            4 => index().prop_map(Transition::Ends),
            4 => (1u64..90_000).prop_map(|ms| Transition::Passes(Duration::from_millis(ms))),
        ]
        .boxed()
    }

    fn apply(mut state: Self, transition: &Transition) -> Self {
        match transition {
            Transition::Asks(model, jobs) => state.queued[*model] = *jobs,
            Transition::GivesUp(model) => state.queued[*model] = 0,
            Transition::Pins(model, pinned) => state.plans[*model].pinned = *pinned,
            _ => {}
        }
        state
    }
}

/// The policy with its world, and the rules that watch it.
struct Watched {
    world: World,
    rules: Rules,
    ids: Vec<ModelId>,
}

impl Watched {
    fn pick(&self, index: Index, fits: impl Fn(&FakeWorker) -> bool) -> Option<WorkerId> {
        let workers = self.world.workers().iter();
        let fitting: Vec<WorkerId> = workers
            .filter(|(_, worker)| fits(worker))
            .map(|(&id, _)| id)
            .collect();
        (!fitting.is_empty()).then(|| fitting[index.index(fitting.len())])
    }

    fn exit(&mut self, worker: Option<WorkerId>, exit: Exit) {
        let Some(worker) = worker else {
            return;
        };
        self.rules.exited(&self.world, worker, &exit);
        self.world.exit(worker, exit);
    }

    /// Only work that waits can wait for busy workers, and only if all of them are.
    fn relax(&mut self) {
        for &id in &self.ids {
            let mut workers = self.world.workers().values();
            let idle = workers.any(|worker| worker.model == id && worker.view.idle_since.is_some());
            if idle || self.world.queued(id) == 0 {
                self.world.saturate(id, false);
            }
        }
    }

    fn happens(&mut self, transition: &Transition) {
        self.relax();
        match *transition {
            Transition::Asks(model, jobs) => self.world.queue(self.ids[model], jobs),
            Transition::GivesUp(model) => self.world.queue(self.ids[model], 0),
            Transition::Saturates(model) => {
                let id = self.ids[model];
                self.world.saturate(id, true);
                self.relax();
            }
            Transition::Warms(model) => {
                self.world.policy.warm(self.ids[model]);
                self.rules.warmed(self.ids[model]);
            }
            Transition::Pins(model, pinned) => {
                self.world.pin(self.ids[model], pinned);
                self.rules.pinned(self.ids[model], pinned);
            }
            Transition::Loads(index) => {
                if let Some(worker) = self.pick(index, |worker| !worker.ready) {
                    self.world.ready(worker);
                }
            }
            Transition::FailsToLoad(index) => {
                let worker = self.pick(index, |worker| !worker.ready);
                self.exit(worker, World::load_failed());
            }
            Transition::TakesWork(index) => {
                if let Some(worker) = self.pick(index, |worker| worker.ready) {
                    self.world.busy(worker);
                }
            }
            Transition::HasNothingToDo(index) => {
                if let Some(worker) = self.pick(index, |worker| worker.ready) {
                    self.world.idle(worker);
                }
            }
            Transition::Crashes(index) => {
                let worker = self.pick(index, |worker| worker.ready);
                self.exit(worker, Exit::Crashed);
            }
            Transition::Ends(index) => {
                let worker = self.pick(index, |worker| worker.retiring);
                self.exit(worker, Exit::Retired);
            }
            Transition::Passes(time) => self.world.now += time,
        }
    }
}

struct PolicyAndLedger;

impl StateMachineTest for PolicyAndLedger {
    type SystemUnderTest = Watched;
    type Reference = Reference;

    fn init_test(reference: &Reference) -> Watched {
        let mut world = World::new(LIMIT_MB, config());
        let mut rules = Rules::new(LIMIT_MB * MIB, config());
        let plans = reference.plans.iter().zip(1..);
        let ids = plans
            .map(|(plan, number)| {
                let id = world.model(number, plan.clone());
                rules.registered(id, plan.clone());
                id
            })
            .collect();
        Watched { world, rules, ids }
    }

    fn apply(mut watched: Watched, _reference: &Reference, transition: Transition) -> Watched {
        watched.happens(&transition);
        watched.relax();
        watched.rules.before_decision(&watched.world);
        let queued = |world: &World, ids: &[ModelId]| -> Vec<usize> {
            ids.iter().map(|&id| world.queued(id)).collect()
        };
        let asked = queued(&watched.world, &watched.ids);
        let done = watched.world.decide();
        for did in &done {
            watched
                .rules
                .allow(&watched.world, did, &watched.ids, &asked);
        }
        watched
    }

    fn check_invariants(watched: &Watched, reference: &Reference) {
        for (device, ledger) in watched.world.ledgers() {
            assert_eq!(ledger.reserved_bytes(), watched.world.held(device));
            assert!(ledger.peak_bytes() <= ledger.limit_bytes());
        }
        for (id, plan) in watched.ids.iter().zip(&reference.plans) {
            let workers = watched.world.workers().values();
            let live = workers.filter(|worker| worker.model == *id && !worker.retiring);
            assert!(live.count() <= plan.max_workers, "more than max_workers");
        }
        for (id, queued) in watched.ids.iter().zip(&reference.queued) {
            // The policy answers callers; it brings none.
            assert!(watched.world.queued(*id) <= *queued);
        }
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig {
        cases: 5_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_action_is_one_that_the_rules_allow(sequential 1..80 => PolicyAndLedger);
}
