//! Crashes, failed loads and the breaker: one rule a test, with literal times.

use std::time::Duration;

use modelpool::pool::core::{StartReason, WorkerId};
use modelpool::testing::policy::Exit;

use crate::setting::{A, B, ms, two_ready, w};
use crate::world::{Did, World, config, plan};

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
fn a_trial_stands_in_for_what_crashed_before_it() {
    let mut world = World::new(800, config());
    world.model(A.0, plan(100));
    world.queue(A, 1);
    let cold = |worker| Did::Start(A, w(worker), StartReason::ColdStart);
    assert_eq!(world.decide(), [cold(1), cold(2)]);
    // One of them is still loading when the others have opened the breaker, and when it has cooled.
    for crashes in [1, 3, 4] {
        world.ready(w(crashes));
        world.exit(w(crashes), Exit::Crashed);
        world.now += ms(1000);
        world.decide();
    }
    assert!(world.policy.retry_after(A, world.now).is_some());
    world.at(ms(70_000));
    assert_eq!(world.decide(), []);
    world.ready(w(2));
    world.exit(w(2), Exit::Crashed);
    world.now += ms(50);
    assert_eq!(world.decide(), [Did::Start(A, w(5), StartReason::Trial)]);

    world.ready(w(5));
    world.idle(w(5));
    assert_eq!(
        world.decide(),
        [],
        "it is what replaces the one that crashed"
    );
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
