//! Random schedules: whatever happens in whatever order, the ledger holds and nobody is forgotten.

use std::time::Duration;

use modelpool::pool::core::{Device, ModelId, WorkerId};
use modelpool::testing::policy::{Exit, ModelPlan};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::world::{Did, World, config, sharing};

#[derive(Debug, Clone)]
enum Event {
    Demand(Index, u8),
    Gone(Index),
    Saturate(Index),
    Relax(Index),
    Warm(Index),
    Pin(Index, bool),
    Ready(Index),
    Busy(Index),
    Idle(Index),
    Crash(Index),
    LoadFails(Index),
    Returns(Index),
    ComesBack(Index),
    Short(Option<u16>),
    Pass(u32),
}

fn event() -> impl Strategy<Value = Event> {
    let index = any::<Index>;
    prop_oneof![
        4 => (index(), 1u8..20).prop_map(|(model, jobs)| Event::Demand(model, jobs)),
        1 => index().prop_map(Event::Gone),
        3 => index().prop_map(Event::Saturate),
        1 => index().prop_map(Event::Relax),
        1 => index().prop_map(Event::Warm),
        1 => (index(), any::<bool>()).prop_map(|(model, pinned)| Event::Pin(model, pinned)),
        6 => index().prop_map(Event::Ready),
        3 => index().prop_map(Event::Busy),
        4 => index().prop_map(Event::Idle),
        1 => index().prop_map(Event::Crash),
        1 => index().prop_map(Event::LoadFails),
        4 => index().prop_map(Event::Returns),
        2 => index().prop_map(Event::ComesBack),
        1 => proptest::option::of(0u16..900).prop_map(Event::Short),
        4 => (1u32..90_000).prop_map(Event::Pass),
    ]
}

#[derive(Debug, Clone)]
struct Sketch {
    weights_mb: u64,
    own_mb: u64,
    min_workers: usize,
    max_workers: usize,
    pinned: bool,
    on_gpu: bool,
    /// Whether steps and loads have limits.
    watched: bool,
}

fn models() -> impl Strategy<Value = Vec<Sketch>> {
    let one = (
        prop_oneof![Just(0), 1u64..900],
        prop_oneof![4 => 1u64..400, 1 => 1u64..1200, 1 => Just(0)],
        0usize..3,
        1usize..6,
        proptest::bool::weighted(0.1),
        proptest::bool::weighted(0.2),
        any::<bool>(),
    )
        .prop_map(
            |(weights_mb, own_mb, min_workers, max_workers, pinned, on_gpu, watched)| Sketch {
                weights_mb,
                own_mb,
                min_workers: min_workers.min(max_workers),
                max_workers,
                pinned,
                on_gpu,
                watched,
            },
        );
    proptest::collection::vec(one, 1..6)
}

/// The worker that an index means, among those that `wanted` lets through.
fn pick(
    world: &World,
    index: Index,
    wanted: impl Fn(&crate::world::FakeWorker) -> bool,
) -> Option<WorkerId> {
    let fitting: Vec<WorkerId> = world
        .workers()
        .iter()
        .filter(|(_, worker)| wanted(worker))
        .map(|(&id, _)| id)
        .collect();
    (!fitting.is_empty()).then(|| fitting[index.index(fitting.len())])
}

fn check(world: &World, plans: &[(ModelId, ModelPlan)]) {
    for (device, ledger) in world.ledgers() {
        let reserved = ledger.reserved_bytes();
        assert_eq!(reserved, world.held(device), "what is live, once");
        assert!(ledger.peak_bytes() <= ledger.limit_bytes(), "never above");
    }
    for (id, plan) in plans {
        let workers = world
            .workers()
            .values()
            .filter(|worker| worker.model == *id && !worker.retiring);
        assert!(workers.count() <= plan.max_workers);
    }
}

proptest! {
    // 12,000 schedules of up to 60 events each.
    #![proptest_config(ProptestConfig {
        cases: 12_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_ledger_holds_at_every_event(
        seed in any::<u64>(),
        models in models(),
        events in proptest::collection::vec(event(), 1..60),
    ) {
        let mut settings = config();
        settings.seed = seed;
        let mut world = World::new(800, settings);
        let plans: Vec<(ModelId, ModelPlan)> = models
            .iter()
            .enumerate()
            .map(|(number, sketch)| {
                let plan = ModelPlan {
                    min_workers: sketch.min_workers,
                    max_workers: sketch.max_workers,
                    pinned: sketch.pinned,
                    device: if sketch.on_gpu { Device::Cuda(0) } else { Device::Cpu },
                    step_timeout: if sketch.watched { Duration::from_secs(30) } else { Duration::MAX },
                    load_timeout: if sketch.watched { Duration::from_secs(90) } else { Duration::MAX },
                    ..sharing(sketch.weights_mb, sketch.own_mb)
                };
                (world.model(number as u64 + 1, plan.clone()), plan)
            })
            .collect();
        let model = |index: Index| plans[index.index(plans.len())].0;

        for event in events {
            match event {
                Event::Demand(index, jobs) => world.queue(model(index), jobs.into()),
                Event::Gone(index) => world.queue(model(index), 0),
                Event::Saturate(index) => world.saturate(model(index), true),
                Event::Relax(index) => world.saturate(model(index), false),
                Event::Warm(index) => world.policy.warm(model(index)),
                Event::Pin(index, pinned) => world.pin(model(index), pinned),
                Event::Ready(index) => {
                    if let Some(worker) = pick(&world, index, |worker| !worker.ready) {
                        world.ready(worker);
                    }
                }
                Event::Busy(index) => {
                    if let Some(worker) = pick(&world, index, |worker| worker.ready) {
                        world.busy(worker);
                    }
                }
                Event::Idle(index) => {
                    if let Some(worker) = pick(&world, index, |worker| worker.ready) {
                        world.idle(worker);
                    }
                }
                Event::Crash(index) => {
                    if let Some(worker) = pick(&world, index, |worker| worker.ready) {
                        world.exit(worker, Exit::Crashed);
                    }
                }
                Event::LoadFails(index) => {
                    if let Some(worker) = pick(&world, index, |worker| !worker.ready) {
                        world.exit(worker, World::load_failed());
                    }
                }
                Event::Returns(index) => {
                    if let Some(worker) = pick(&world, index, |worker| worker.retiring) {
                        world.exit(worker, Exit::Retired);
                    }
                }
                Event::ComesBack(index) => {
                    let away: Vec<WorkerId> = world.abandoned().keys().copied().collect();
                    if !away.is_empty() {
                        world.exit(away[index.index(away.len())], Exit::Retired);
                    }
                }
                Event::Short(missing_mb) => world.short(missing_mb.map(u64::from)),
                Event::Pass(milliseconds) => {
                    world.now += Duration::from_millis(milliseconds.into());
                }
            }
            world.decide();
            check(&world, &plans);
        }

        // Left alone, with every load succeeding and every worker doing its work, whoever waits
        // is served or told why not.
        world.short(None);
        for _ in 0..200 {
            let loading: Vec<WorkerId> = world
                .workers()
                .iter()
                .filter(|(_, worker)| !worker.ready)
                .map(|(&id, _)| id)
                .collect();
            for worker in loading {
                world.ready(worker);
            }
            let away: Vec<WorkerId> = world.abandoned().keys().copied().collect();
            for worker in away {
                world.exit(worker, Exit::Retired);
            }
            let returning: Vec<WorkerId> = world
                .workers()
                .iter()
                .filter(|(_, worker)| worker.retiring)
                .map(|(&id, _)| id)
                .collect();
            for worker in returning {
                world.exit(worker, Exit::Retired);
            }
            let serving: Vec<(WorkerId, ModelId)> = world
                .workers()
                .iter()
                .map(|(&id, worker)| (id, worker.model))
                .collect();
            for (worker, model) in serving {
                world.saturate(model, false);
                world.queue(model, 0);
                world.idle(worker);
            }
            let done = world.decide();
            check(&world, &plans);
            let waits = plans.iter().any(|(id, _)| world.queued(*id) > 0);
            if done.is_empty() && !waits {
                break;
            }
            if done.is_empty() {
                world.now = world.wake_at.unwrap_or(world.now + Duration::from_secs(1));
            }
        }
        for (id, plan) in &plans {
            let blocked = plans.iter().any(|(other, plan)| {
                other != id && (plan.pinned || plan.min_workers > 0 || world.was_pinned(*other))
            });
            prop_assert!(
                world.queued(*id) == 0 || blocked,
                "{id} still waits: {plan:?}"
            );
        }

        // And at the end nothing is left.
        world.policy.close();
        let away = world.abandoned().keys();
        let all: Vec<WorkerId> = world.workers().keys().chain(away).copied().collect();
        for worker in all {
            world.exit(worker, Exit::Retired);
        }
        prop_assert_eq!(world.reserved(), 0);
        prop_assert_eq!(world.policy.live_workers(), 0);
        prop_assert_eq!(world.decide(), Vec::<Did>::new());
    }
}
