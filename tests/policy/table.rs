//! Who starts, who goes, who makes room: one rule a test, with literal times.

use modelpool::pool::core::{Device, RetireReason, StartReason};
use modelpool::testing::policy::{Exit, ModelPlan};

use crate::setting::{A, B, ms, two_ready, w, world};
use crate::world::{Did, World, config, plan};

#[test]
fn a_cold_start_brings_two_workers() {
    let mut world = world();
    assert_eq!(world.decide(), [], "nothing without demand");
    world.queue(A, 5);
    let cold = |worker| Did::Start(A, w(worker), StartReason::ColdStart);
    assert_eq!(world.decide(), [cold(1), cold(2)]);
    assert_eq!(world.decide(), [], "and no more while they load");
}

#[test]
fn the_second_of_a_cold_start_evicts_nobody() {
    let mut world = two_ready();
    world.queue(B, 1);
    world.at(ms(10));
    assert_eq!(
        world.decide(),
        [Did::Retire(w(1), RetireReason::Evicted)],
        "one worker makes room for one"
    );
    assert_eq!(world.decide(), [], "the room that is coming is counted on");
    world.exit(w(1), Exit::Retired);
    assert_eq!(
        world.decide(),
        [Did::Start(B, w(3), StartReason::ColdStart)]
    );
    world.ready(w(3));
    assert_eq!(world.decide(), []);
}

#[test]
fn expansion_waits_for_expand_after_and_comes_one_by_one() {
    let mut world = World::new(2000, config());
    world.model(A.0, plan(300));
    world.queue(A, 1);
    world.decide();
    world.ready(w(1));
    world.ready(w(2));
    world.busy(w(1));
    world.busy(w(2));
    world.queue(A, 3);
    world.saturate(A, true);
    let cases: [(u64, &[Did]); 4] = [
        (0, &[]),
        (99, &[]),
        (100, &[Did::Start(A, w(3), StartReason::Expand)]),
        // One at a time: the third is still loading.
        (500, &[]),
    ];
    for (at, expected) in cases {
        world.at(ms(at));
        assert_eq!(world.decide(), expected, "at {at} ms");
        if at < 100 {
            assert_eq!(world.wake_at, Some(world.start + ms(100)));
        }
    }
    world.ready(w(3));
    world.busy(w(3));
    world.decide();
    world.at(ms(600));
    assert_eq!(
        world.decide(),
        [Did::Start(A, w(4), StartReason::Expand)],
        "timed afresh"
    );
    world.ready(w(4));
    world.busy(w(4));
    world.at(ms(5000));
    assert_eq!(world.decide(), [], "four is the most");
}

#[test]
fn a_bout_that_ends_before_expand_after_brings_nobody() {
    let mut world = World::new(2000, config());
    world.model(A.0, plan(300));
    world.queue(A, 1);
    world.decide();
    world.ready(w(1));
    world.ready(w(2));
    world.saturate(A, true);
    world.decide();
    world.at(ms(60));
    world.saturate(A, false);
    world.decide();
    world.at(ms(80));
    world.saturate(A, true);
    world.at(ms(120));
    assert_eq!(world.decide(), [], "the second bout is 40 ms old");
    world.at(ms(180));
    assert_eq!(world.decide(), [Did::Start(A, w(3), StartReason::Expand)]);
}

#[test]
fn a_worker_that_was_free_in_between_starts_the_wait_anew() {
    let mut world = World::new(2000, config());
    world.model(A.0, plan(300));
    world.queue(A, 1);
    world.decide();
    world.ready(w(1));
    world.ready(w(2));
    world.saturate(A, true);
    world.decide();
    world.breathe(A);
    world.at(ms(100));
    assert_eq!(world.decide(), []);
    assert_eq!(world.wake_at, Some(world.start + ms(200)));
    world.at(ms(200));
    assert_eq!(world.decide(), [Did::Start(A, w(3), StartReason::Expand)]);
}

#[test]
fn one_worker_retires_per_idle_minute_least_recently_used_first() {
    let mut world = two_ready();
    world.at(ms(10_000));
    world.busy(w(1));
    world.at(ms(20_000));
    world.idle(w(1));
    let cases: [(u64, &[Did]); 6] = [
        (59_999, &[]),
        (60_000, &[Did::Retire(w(2), RetireReason::Idle)]),
        (60_001, &[]),
        (80_000, &[]),
        (119_999, &[]),
        (120_000, &[Did::Retire(w(1), RetireReason::Idle)]),
    ];
    for (at, expected) in cases {
        world.at(ms(at));
        assert_eq!(world.decide(), expected, "at {at} ms");
    }
    world.exit(w(1), Exit::Retired);
    world.exit(w(2), Exit::Retired);
    assert_eq!(world.decide(), []);
    assert_eq!(
        world.wake_at, None,
        "a model without workers needs no clock"
    );
    assert_eq!(world.reserved(), 0);
}

#[test]
fn min_workers_and_pins_hold_the_last_one() {
    for kept in [
        ModelPlan {
            min_workers: 1,
            ..plan(300)
        },
        ModelPlan {
            pinned: true,
            ..plan(300)
        },
    ] {
        let mut world = World::new(800, config());
        world.model(A.0, kept);
        world.queue(A, 1);
        world.decide();
        world.ready(w(1));
        world.ready(w(2));
        world.queue(A, 0);
        world.at(ms(60_000));
        assert_eq!(world.decide().len(), 1);
        world.exit(w(1), Exit::Retired);
        world.at(ms(600_000));
        assert_eq!(world.decide(), []);
    }
}

#[test]
fn a_newcomer_waits_for_busy_workers_and_takes_the_first_idle_one() {
    let mut world = two_ready();
    world.busy(w(1));
    world.busy(w(2));
    world.queue(B, 1);
    assert_eq!(world.decide(), []);
    assert!(world.wants_idle);
    world.at(ms(700));
    world.idle(w(2));
    assert_eq!(world.decide(), [Did::Retire(w(2), RetireReason::Evicted)]);
}

#[test]
fn workers_of_a_model_with_work_in_its_queue_are_not_idle() {
    let mut world = two_ready();
    world.queue(A, 1);
    world.queue(B, 1);
    assert_eq!(world.decide(), []);
    assert!(world.wants_idle);
}

#[test]
fn eviction_takes_the_longest_idle_of_equal_workers() {
    let mut world = World::new(600, config());
    world.model(A.0, plan(300));
    world.model(B.0, plan(300));
    let c = world.model(30_003, plan(300));
    for (model, at) in [(A, 0), (B, 1000)] {
        world.at(ms(at));
        world.queue(model, 1);
        // Only one of each: the other model has, or will have, the rest.
        world.decide();
        let started = *world.workers().keys().last().expect("one was started");
        world.ready(started);
        world.queue(model, 0);
        if model == A {
            world.exit(w(1), Exit::Retired);
        }
    }
    let idle_longest = world
        .workers()
        .iter()
        .find(|(_, worker)| worker.model == A)
        .map(|(&id, _)| id)
        .expect("A has a worker");
    world.at(ms(2000));
    world.queue(c, 1);
    assert_eq!(
        world.decide(),
        [Did::Retire(idle_longest, RetireReason::Evicted)]
    );
}

#[test]
fn closing_retires_everybody_once() {
    let mut world = two_ready();
    assert_eq!(world.policy.close().len(), 2);
    assert!(world.policy.close().is_empty());
    world.queue(A, 1);
    assert_eq!(world.decide(), [], "nothing starts any more");
}

#[test]
fn a_model_makes_no_room_on_another_device() {
    let mut world = two_ready();
    let on_gpu = ModelPlan {
        device: Device::Cuda(0),
        ..plan(800)
    };
    let gpu = world.model(3, on_gpu.clone());
    world.queue(gpu, 1);
    assert_eq!(
        world.decide(),
        [Did::Start(gpu, w(3), StartReason::ColdStart)],
        "the CPU's memory is full of others, the GPU's is free"
    );
    world.busy(w(3));
    let second = world.model(4, on_gpu);
    world.queue(second, 1);
    assert_eq!(world.decide(), [], "the CPU's idle workers are no help");
    assert!(world.wants_idle);
    world.ready(w(3));
    world.queue(gpu, 0);
    assert_eq!(world.decide(), [Did::Retire(w(3), RetireReason::Evicted)]);
}

#[test]
fn a_newcomer_takes_no_room_from_the_model_that_it_replaces_and_does_not_wait() {
    let mut world = two_ready();
    let newcomer = ModelPlan {
        replaces: Some(A),
        ..plan(300)
    };
    let c = world.model(30_003, newcomer);
    world.policy.warm(c);
    assert_eq!(world.decide(), [Did::Fail(c, "no room")]);
    assert_eq!(world.decide(), [], "nobody waits for it any more");

    // Another model's idle worker it may have.
    world.exit(w(1), Exit::Crashed);
    world.queue(B, 1);
    world.decide();
    let of_b = *world.workers().keys().last().expect("B has one");
    world.ready(of_b);
    world.queue(B, 0);
    world.policy.warm(c);
    assert_eq!(world.decide(), [Did::Retire(of_b, RetireReason::Evicted)]);
}
