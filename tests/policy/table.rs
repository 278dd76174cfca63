//! One rule a test, with literal times.

use std::time::Duration;

use modelpool::pool::core::{Device, MIB, ModelId, RetireReason, StartReason, WorkerId};
use modelpool::testing::policy::{Exit, ModelPlan};

use crate::world::{Did, World, config, plan, sharing};

const A: ModelId = ModelId(30_001);
const B: ModelId = ModelId(30_002);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn w(id: u64) -> WorkerId {
    WorkerId(id)
}

fn world() -> World {
    let mut world = World::new(800, config());
    world.model(A.0, plan(300));
    world.model(B.0, plan(300));
    world
}

/// A world in which A has two ready workers, idle since the beginning.
fn two_ready() -> World {
    let mut world = world();
    world.queue(A, 1);
    world.decide();
    world.ready(w(1));
    world.ready(w(2));
    world.queue(A, 0);
    assert_eq!(world.decide(), []);
    world
}

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
fn what_can_never_fit_fails_at_once() {
    let mut world = World::new(800, config());
    let huge = world.model(90_001, plan(900));
    world.queue(huge, 1);
    assert_eq!(world.decide(), [Did::Fail(huge, "never fits")]);
    assert_eq!(world.wake_at, None);
}

#[test]
fn a_crashed_worker_is_replaced_after_a_jittered_backoff() {
    let mut world = two_ready();
    world.at(ms(1000));
    world.exit(w(1), Exit::Crashed);
    let after = world.policy.restart_after(A, world.now).expect("a backoff");
    assert!(after <= ms(50), "{after:?}");
    if !after.is_zero() {
        assert_eq!(world.decide(), []);
        assert_eq!(world.wake_at, Some(world.now + after));
    }
    world.now += after;
    assert_eq!(world.decide(), [Did::Start(A, w(3), StartReason::Restart)]);
    world.ready(w(3));
    assert_eq!(world.decide(), [], "replaced once");
}

#[test]
fn a_replacement_that_nobody_waits_for_evicts_nobody() {
    let mut world = two_ready();
    world.at(ms(1000));
    world.exit(w(1), Exit::Crashed);
    // Before the backoff is over, B takes the room.
    world.queue(B, 1);
    let cold = world.decide();
    assert_eq!(cold, [Did::Start(B, w(3), StartReason::ColdStart)]);
    world.ready(w(3));
    world.queue(B, 0);
    world.at(ms(2000));
    assert_eq!(world.decide(), []);
    assert!(!world.wants_idle);
}

#[test]
fn backoff_doubles_up_to_its_limit_and_is_drawn_evenly() {
    // With as many failures as it takes, and a breaker that never opens.
    let mut bounds = Vec::new();
    for failures in 1..=10u32 {
        let mut longest = Duration::ZERO;
        let mut shortest = Duration::MAX;
        for seed in 0..200 {
            let mut settings = config();
            settings.seed = seed;
            settings.restart.max_failures = 100;
            let mut world = World::new(800, settings);
            world.model(A.0, plan(300));
            for _ in 0..failures {
                world.queue(A, 1);
                world.now += Duration::from_secs(1);
                // Past any backoff but within the window.
                let mut started = world.decide();
                if started.is_empty() {
                    world.now = world.wake_at.expect("a backoff");
                    started = world.decide();
                }
                for did in started {
                    if let Did::Start(_, worker, _) = did {
                        world.exit(worker, World::load_failed());
                        break;
                    }
                }
                let others: Vec<WorkerId> = world.workers().keys().copied().collect();
                for other in others {
                    world.exit(other, Exit::Retired);
                }
                world.decide();
            }
            if let Some(after) = world.policy.restart_after(A, world.now) {
                longest = longest.max(after);
                shortest = shortest.min(after);
            }
        }
        bounds.push((shortest, longest));
    }
    for (failures, (shortest, longest)) in (1u32..).zip(bounds) {
        let bound = ms(50 * (1 << (failures - 1))).min(Duration::from_secs(10));
        assert!(longest <= bound, "{failures}: {longest:?} > {bound:?}");
        assert!(longest >= bound.mul_f64(0.9), "{failures}: {longest:?}");
        assert!(shortest <= bound.mul_f64(0.1), "{failures}: {shortest:?}");
    }
}

#[test]
fn the_breaker_opens_at_max_failures_and_lets_one_trial_through() {
    let mut world = World::new(800, config());
    world.model(A.0, plan(300));
    for failure in 1..=3u64 {
        world.at(ms(failure * 1000));
        world.queue(A, 1);
        let started = world.decide();
        assert_eq!(started.len(), 2, "failure {failure}");
        let ids: Vec<WorkerId> = world.workers().keys().copied().collect();
        world.exit(ids[1], Exit::Retired);
        world.exit(ids[0], World::load_failed());
        let told = world.decide();
        assert_eq!(told, [Did::Fail(A, "load failed")]);
    }
    let open = world.policy.retry_after(A, world.now);
    assert_eq!(open, Some(Duration::from_secs(15)));
    world.queue(A, 1);
    assert_eq!(world.decide(), [Did::Fail(A, "unavailable")]);
    world.at(ms(17_999));
    world.queue(A, 1);
    assert_eq!(world.decide(), [Did::Fail(A, "unavailable")]);
    world.at(ms(18_000));
    world.queue(A, 1);
    assert_eq!(
        world.decide(),
        [Did::Start(A, w(7), StartReason::Trial)],
        "one, not two"
    );

    // A trial that fails opens it again at once.
    world.exit(w(7), World::load_failed());
    world.decide();
    assert!(world.policy.retry_after(A, world.now).is_some());
    world.at(ms(33_000));
    world.queue(A, 1);
    assert_eq!(world.decide(), [Did::Start(A, w(8), StartReason::Trial)]);

    // One that answers closes it: the model expands again.
    world.ready(w(8));
    world.busy(w(8));
    world.idle(w(8));
    world.busy(w(8));
    world.saturate(A, true);
    world.decide();
    world.at(ms(33_200));
    assert_eq!(world.decide(), [Did::Start(A, w(9), StartReason::Expand)]);
}

#[test]
fn failures_are_forgotten_after_the_window() {
    let mut world = World::new(800, config());
    world.model(A.0, plan(300));
    for minute in 0..10u64 {
        world.at(Duration::from_secs(minute * 60));
        world.queue(A, 1);
        world.decide();
        let ids: Vec<WorkerId> = world.workers().keys().copied().collect();
        for id in ids.iter().rev() {
            let exit = if id == &ids[0] {
                World::load_failed()
            } else {
                Exit::Retired
            };
            world.exit(*id, exit);
        }
        assert_eq!(world.decide(), [Did::Fail(A, "load failed")]);
        assert_eq!(world.policy.retry_after(A, world.now), None);
    }
}

#[test]
fn a_failed_load_is_not_tried_again_for_nobody() {
    let mut world = World::new(800, config());
    world.model(A.0, plan(300));
    world.queue(A, 1);
    world.decide();
    // The caller goes away while it loads.
    world.queue(A, 0);
    world.exit(w(1), World::load_failed());
    world.exit(w(2), World::load_failed());
    assert_eq!(world.decide(), []);
    world.at(ms(59_000));
    assert_eq!(world.decide(), []);
    // And its error is not kept for a caller who comes later.
    world.queue(A, 1);
    let cold = world.decide();
    assert!(
        matches!(cold[..], [Did::Start(..), Did::Start(..)]),
        "{cold:?}"
    );
}

#[test]
fn one_failed_load_of_two_fails_nobody() {
    let mut world = World::new(800, config());
    world.model(A.0, plan(300));
    world.queue(A, 1);
    world.decide();
    world.exit(w(1), World::load_failed());
    assert_eq!(world.decide(), [], "the other is still loading");
    world.ready(w(2));
    assert_eq!(world.decide(), []);
}

#[test]
fn closing_retires_everybody_once() {
    let mut world = two_ready();
    assert_eq!(world.policy.close().len(), 2);
    assert!(world.policy.close().is_empty());
    world.queue(A, 1);
    assert_eq!(world.decide(), [], "nothing starts any more");
}

/// A world of 1000 MiB in which A's two workers share 600 MiB and have 50 each, both idle.
fn two_sharing() -> World {
    let mut world = World::new(1000, config());
    world.model(A.0, sharing(600, 50));
    world.queue(A, 1);
    let cold = |worker| Did::Start(A, w(worker), StartReason::ColdStart);
    assert_eq!(world.decide(), [cold(1), cold(2)]);
    assert_eq!(world.reserved(), 700 * MIB, "the weights once");
    world.ready(w(1));
    world.ready(w(2));
    world.queue(A, 0);
    assert_eq!(world.decide(), []);
    world
}

#[test]
fn weights_are_counted_until_their_last_holder_is_gone() {
    let mut world = two_sharing();
    world.exit(w(1), Exit::Retired);
    assert_eq!(world.reserved(), 650 * MIB);
    world.exit(w(2), Exit::Retired);
    assert_eq!(world.reserved(), 0);

    world.queue(A, 1);
    world.decide();
    assert_eq!(world.reserved(), 700 * MIB, "and counted anew");
}

#[test]
fn one_of_several_frees_its_own_bytes_only() {
    let mut world = two_sharing();
    let small = world.model(3, plan(340));
    world.at(ms(10));
    world.queue(small, 1);
    // 300 are free, 40 are missing: one worker's own bytes will do, and the weights stay.
    assert_eq!(world.decide(), [Did::Retire(w(1), RetireReason::Evicted)]);
    assert_eq!(world.decide(), [], "350 are free or coming");
    world.exit(w(1), Exit::Retired);
    assert_eq!(
        world.decide(),
        [Did::Start(small, w(3), StartReason::ColdStart)]
    );
    assert_eq!(world.reserved(), 990 * MIB);
}

#[test]
fn the_last_of_them_frees_the_weights_too() {
    let mut world = two_sharing();
    let large = world.model(3, plan(900));
    world.at(ms(10));
    world.queue(large, 1);
    // 600 are missing: only both workers together free so much.
    let both = [w(1), w(2)].map(|worker| Did::Retire(worker, RetireReason::Evicted));
    assert_eq!(world.decide(), both);
    assert_eq!(world.decide(), []);
    world.exit(w(2), Exit::Retired);
    assert_eq!(world.decide(), [], "the weights are still held");
    world.exit(w(1), Exit::Retired);
    assert_eq!(
        world.decide(),
        [Did::Start(large, w(3), StartReason::ColdStart)]
    );
}

#[test]
fn nobody_is_evicted_who_could_be_spared() {
    let mut world = World::new(1000, config());
    world.model(A.0, sharing(600, 50));
    world.model(B.0, plan(250));
    for (model, from, to) in [(A, 0, 4000), (B, 4000, 5000)] {
        world.at(ms(from));
        world.queue(model, 1);
        world.decide();
        world.at(ms(to));
        let loading: Vec<WorkerId> = world.workers().keys().copied().collect();
        for worker in loading {
            world.ready(worker);
        }
        world.queue(model, 0);
    }
    let large = world.model(3, plan(280));
    world.at(ms(10_000));
    world.queue(large, 1);
    // 50 are free, 230 missing. One of A's, quickly had back, is the least valuable; B's comes
    // next and is enough by itself, so A's is left alone.
    assert_eq!(world.decide(), [Did::Retire(w(3), RetireReason::Evicted)]);
}

#[test]
fn a_worker_given_up_on_keeps_the_weights() {
    let mut world = World::new(1000, config());
    let watched = ModelPlan {
        step_timeout: ms(1000),
        ..sharing(600, 50)
    };
    world.model(A.0, watched);
    world.queue(A, 1);
    world.decide();
    world.ready(w(1));
    world.ready(w(2));
    world.queue(A, 0);
    world.busy(w(1));
    world.at(ms(1000));
    // What is left is too little to replace it at once, and B takes it.
    world.model(B.0, plan(300));
    world.queue(B, 1);
    let abandoned = world.decide();
    assert_eq!(abandoned[0], Did::Abandon(w(1)));
    let b = abandoned.last().map(|did| match did {
        Did::Start(model, worker, _) if *model == B => *worker,
        other => panic!("{other:?}"),
    });
    world.ready(b.expect("B was started"));

    let large = world.model(3, plan(900));
    world.queue(large, 1);
    assert_eq!(world.decide(), [], "evicting the other would free 50");
    assert!(world.wants_idle);
    world.queue(B, 0);
    world.exit(w(1), Exit::Retired);
    let retired = world.decide();
    assert!(
        retired.contains(&Did::Retire(w(2), RetireReason::Evicted)),
        "{retired:?}"
    );
}

#[test]
fn weights_that_are_there_let_a_worker_in_for_its_own_bytes() {
    let mut world = World::new(700, config());
    world.model(A.0, sharing(600, 50));
    world.queue(A, 1);
    world.decide();
    world.ready(w(1));
    world.ready(w(2));
    world.queue(A, 0);
    world.at(ms(60_000));
    assert_eq!(world.decide(), [Did::Retire(w(1), RetireReason::Idle)]);
    world.exit(w(1), Exit::Retired);
    world.busy(w(2));
    world.queue(A, 1);
    world.saturate(A, true);
    world.decide();
    world.at(ms(60_100));
    // A model that shared nothing would not fit a second time.
    assert_eq!(world.decide(), [Did::Start(A, w(3), StartReason::Expand)]);
    assert_eq!(world.reserved(), 700 * MIB);
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

#[test]
fn who_gives_up_all_workers_starts_others_only_for_work() {
    let mut world = two_ready();
    assert_eq!(world.policy.retire_all(A).len(), 2);
    assert!(world.policy.retire_all(A).is_empty(), "once");
    assert_eq!(world.decide(), []);
    world.exit(w(1), Exit::Retired);
    world.queue(A, 1);
    let cold = |worker| Did::Start(A, w(worker), StartReason::ColdStart);
    assert_eq!(world.decide(), [cold(3)], "beside the one that still ends");
}

#[test]
fn who_outlives_its_grace_is_no_failure_and_keeps_its_memory() {
    let mut world = two_ready();
    world.policy.retire_all(A);
    world.policy.abandon(w(1));
    world.exit(w(2), Exit::Retired);
    assert_eq!(world.decide(), []);
    assert_eq!(world.policy.retry_after(A, world.now), None);
    assert_eq!(world.policy.restart_after(A, world.now), None);
    assert_eq!(world.reserved(), 300 << 20);
    world.policy.unregister(A);
    world.exit(w(1), Exit::Retired);
    assert_eq!(world.reserved(), 0);
    assert_eq!(world.policy.live_workers(), 0);
}

#[test]
fn a_worker_that_a_known_killer_took_along_is_replaced_at_once_and_not_counted() {
    let mut world = two_ready();
    for worker in 1..=10 {
        world.exit(w(worker), Exit::Killed);
        let started = world.decide();
        assert_eq!(
            started,
            [Did::Start(A, w(worker + 2), StartReason::Restart)]
        );
        world.ready(w(worker + 2));
    }
    assert_eq!(world.policy.retry_after(A, world.now), None);

    // A trial has to answer something.
    let mut world = World::new(800, config());
    world.model(A.0, plan(300));
    for _ in 0..3 {
        world.queue(A, 1);
        world.decide();
        let ids: Vec<WorkerId> = world.workers().keys().copied().collect();
        world.exit(ids[1], Exit::Retired);
        world.exit(ids[0], World::load_failed());
        world.decide();
        world.now += ms(1000);
    }
    world.now += Duration::from_secs(15);
    world.queue(A, 1);
    assert_eq!(world.decide(), [Did::Start(A, w(7), StartReason::Trial)]);
    world.ready(w(7));
    world.exit(w(7), Exit::Killed);
    assert!(world.policy.retry_after(A, world.now).is_some());
}
