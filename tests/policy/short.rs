//! Memory that is short outside of the pool: nobody grows, and who is idle goes.

use std::time::Duration;

use modelpool::pool::core::{Device, ModelId, RetireReason, StartReason, WorkerId};
use modelpool::testing::policy::ModelPlan;

use crate::world::{Did, World, config, plan, sharing};

const A: ModelId = ModelId(1);
const B: ModelId = ModelId(2);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn w(id: u64) -> WorkerId {
    WorkerId(id)
}

fn gone(id: u64) -> Did {
    Did::Retire(w(id), RetireReason::Pressure)
}

/// A has two idle workers of 100 MiB each, B one of 300, idle since a second later.
fn three_idle(a: ModelPlan) -> World {
    let mut world = World::new(1000, config());
    world.model(A.0, a);
    world.model(
        B.0,
        ModelPlan {
            max_workers: 1,
            ..plan(300)
        },
    );
    for (at, model) in [(0, A), (1000, B)] {
        world.at(ms(at));
        world.queue(model, 1);
        for did in world.decide() {
            if let Did::Start(_, worker, _) = did {
                world.ready(worker);
            }
        }
        world.queue(model, 0);
    }
    world.at(ms(1500));
    world
}

#[test]
fn what_is_missing_is_freed_once_for_each_look() {
    let mut world = three_idle(plan(100));
    world.short(Some(250));
    // B's worker is large and quick to load again: least valuable, and enough.
    assert_eq!(world.decide(), [gone(3)]);
    assert_eq!(world.decide(), [], "once");
    world.short(Some(250));
    assert_eq!(world.decide(), [], "300 are coming");
    world.exit(w(3), modelpool::testing::policy::Exit::Retired);
    world.short(Some(50));
    assert_eq!(world.decide().len(), 1);
    world.short(Some(1000));
    assert_eq!(world.decide().len(), 1, "all there are");
    world.short(None);
    assert_eq!(world.decide(), []);
}

#[test]
fn pins_least_workers_and_busy_ones_are_left_alone() {
    let mut world = three_idle(ModelPlan {
        min_workers: 1,
        ..plan(100)
    });
    world.pin(B, true);
    world.busy(w(2));
    world.short(Some(1000));
    assert_eq!(world.decide(), [gone(1)]);
    world.idle(w(2));
    world.short(Some(1000));
    assert_eq!(world.decide(), [], "the last one is A's least");
}

#[test]
fn weights_go_when_all_who_hold_them_can_go() {
    let mut world = three_idle(sharing(400, 10));
    world.short(Some(350));
    assert_eq!(world.decide(), [gone(1), gone(2)]);
}

#[test]
fn only_a_first_worker_is_started() {
    let mut world = World::new(1000, config());
    world.model(A.0, plan(100));
    world.short(Some(10));
    world.queue(A, 5);
    let cold = Did::Start(A, w(1), StartReason::ColdStart);
    assert_eq!(world.decide(), [cold]);
    world.ready(w(1));
    world.busy(w(1));
    world.saturate(A, true);
    world.decide();
    world.at(ms(200));
    assert_eq!(world.decide(), []);

    world.short(None);
    assert_eq!(world.decide(), [Did::Start(A, w(2), StartReason::Expand)]);
}

#[test]
fn models_elsewhere_are_not_concerned() {
    let mut world = World::new(1000, config());
    let on_gpu = ModelPlan {
        device: Device::Cuda(0),
        ..plan(100)
    };
    world.model(A.0, on_gpu);
    world.short(Some(10));
    world.queue(A, 1);
    assert_eq!(world.decide().len(), 2);
    world.ready(w(1));
    world.ready(w(2));
    world.queue(A, 0);
    world.short(Some(500));
    assert_eq!(world.decide(), []);
}
