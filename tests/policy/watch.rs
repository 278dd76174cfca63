//! Steps and loads that exceed their limits, with literal times.

use std::time::Duration;

use modelpool::pool::core::{ModelId, StartReason, WorkerId};
use modelpool::testing::policy::{Exit, ModelPlan, PolicyConfig};

use crate::world::{Did, World, config, plan};

const A: ModelId = ModelId(30_001);
const B: ModelId = ModelId(30_002);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn w(id: u64) -> WorkerId {
    WorkerId(id)
}

/// A step of A may take one second, a load ten. Restarts are immediate.
fn world(limit_mb: u64) -> World {
    let settings = config();
    let mut restart = settings.restart;
    restart.initial_backoff = Duration::ZERO;
    let mut world = World::new(
        limit_mb,
        PolicyConfig {
            restart,
            ..settings
        },
    );
    world.model(
        A.0,
        ModelPlan {
            step_timeout: ms(1000),
            load_timeout: ms(10_000),
            max_workers: 1,
            ..plan(300)
        },
    );
    world.model(B.0, plan(300));
    world
}

fn one_ready(limit_mb: u64) -> World {
    let mut world = world(limit_mb);
    world.queue(A, 1);
    world.decide();
    world.ready(w(1));
    world
}

#[test]
fn a_step_is_given_up_at_its_limit_and_replaced_where_memory_allows() {
    let mut world = one_ready(800);
    world.queue(A, 0);
    world.at(ms(300));
    world.busy(w(1));
    let cases: [(u64, &[Did], u64); 2] = [(300, &[], 1300), (1299, &[], 1300)];
    for (at, expected, wake_at) in cases {
        world.at(ms(at));
        assert_eq!(world.decide(), expected, "at {at} ms");
        assert_eq!(world.wake_at, Some(world.start + ms(wake_at)));
    }
    world.at(ms(1300));
    assert_eq!(
        world.decide(),
        [
            Did::Abandon(w(1)),
            Did::Start(A, w(2), StartReason::Restart)
        ]
    );
    assert_eq!(world.reserved(), 600 << 20, "the old thread's bytes stay");
    assert_eq!(world.decide(), [], "it is given up once");
}

#[test]
fn whoever_does_nothing_is_looked_at_again_before_it_could_exceed_the_limit() {
    let mut world = one_ready(800);
    world.queue(A, 0);
    world.idle(w(1));
    world.at(ms(5000));
    assert_eq!(world.decide(), []);
    assert_eq!(world.wake_at, Some(world.start + ms(6000)));
}

#[test]
fn without_a_limit_nobody_looks() {
    let mut world = World::new(800, config());
    world.model(B.0, plan(300));
    world.queue(B, 1);
    world.decide();
    assert_eq!(world.wake_at, None, "while loading");
    world.ready(w(1));
    world.ready(w(2));
    world.busy(w(1));
    world.busy(w(2));
    world.at(Duration::from_secs(1_000_000));
    assert_eq!(world.decide(), []);
}

#[test]
fn a_load_is_given_up_at_its_limit_and_the_callers_are_told() {
    let mut world = world(800);
    world.queue(A, 3);
    world.decide();
    assert_eq!(world.wake_at, Some(world.start + ms(10_000)));
    world.at(ms(10_000));
    assert_eq!(
        world.decide(),
        [Did::Abandon(w(1)), Did::Fail(A, "stalled")]
    );
    // Who asks again gets another try.
    world.queue(A, 1);
    assert_eq!(world.decide(), [Did::Start(A, w(2), StartReason::Restart)]);
}

#[test]
fn a_load_that_ends_in_time_is_watched_by_the_limit_of_steps() {
    let mut world = world(800);
    world.queue(A, 1);
    world.decide();
    world.at(ms(9999));
    world.ready(w(1));
    world.busy(w(1));
    assert_eq!(world.decide(), []);
    assert_eq!(world.wake_at, Some(world.start + ms(10_999)));
}

#[test]
fn memory_of_the_abandoned_is_not_free_before_they_return() {
    let mut world = one_ready(400);
    world.queue(A, 0);
    world.busy(w(1));
    world.at(ms(1000));
    assert_eq!(world.decide(), [Did::Abandon(w(1))], "no room for another");
    world.queue(B, 1);
    assert_eq!(world.decide(), []);
    world.exit(w(1), Exit::Retired);
    assert_eq!(
        world.decide(),
        [Did::Start(B, w(2), StartReason::ColdStart)],
        "what comes back starts who waits"
    );
}

#[test]
fn a_model_that_always_hangs_is_refused_until_a_thread_returns() {
    let mut world = one_ready(2000);
    for hung in 1..=2 {
        world.queue(A, 1);
        world.busy(w(hung));
        world.now += ms(1000);
        let done = world.decide();
        if hung == 1 {
            let restart = Did::Start(A, w(2), StartReason::Restart);
            assert_eq!(done, [Did::Abandon(w(1)), restart]);
            world.ready(w(2));
        } else {
            assert_eq!(done, [Did::Abandon(w(2)), Did::Fail(A, "too many stalled")]);
        }
    }
    world.queue(A, 1);
    assert_eq!(world.decide(), [Did::Fail(A, "too many stalled")]);
    world.exit(w(1), Exit::Retired);
    world.queue(A, 1);
    assert_eq!(world.decide(), [Did::Start(A, w(3), StartReason::Restart)]);
}

#[test]
fn stalls_open_the_breaker_and_a_trial_that_stalls_opens_it_again() {
    let settings = config();
    let mut restart = settings.restart;
    restart.initial_backoff = Duration::ZERO;
    restart.max_failures = 1;
    let mut world = World::new(
        2000,
        PolicyConfig {
            restart,
            ..settings
        },
    );
    let watched = ModelPlan {
        load_timeout: ms(1000),
        ..plan(300)
    };
    world.model(A.0, watched);
    world.queue(A, 1);
    world.decide();
    world.ready(w(1));
    world.at(ms(1000));
    assert_eq!(world.decide(), [Did::Abandon(w(2))]);
    assert!(world.policy.retry_after(A, world.now).is_some());
    world.exit(w(1), Exit::Crashed);
    world.decide();
    world.at(ms(60_000));
    world.queue(A, 1);
    assert_eq!(world.decide(), [Did::Start(A, w(3), StartReason::Trial)]);
    world.at(ms(61_000));
    assert_eq!(
        world.decide(),
        [Did::Abandon(w(3)), Did::Fail(A, "stalled")]
    );
    assert!(world.policy.retry_after(A, world.now).is_some());
}

#[test]
fn one_that_is_on_its_way_out_is_watched_and_not_replaced() {
    let mut world = World::new(600, config());
    let watched = ModelPlan {
        step_timeout: ms(1000),
        ..plan(300)
    };
    world.model(A.0, watched);
    world.model(B.0, plan(400));
    world.queue(A, 1);
    world.decide();
    world.ready(w(1));
    world.ready(w(2));
    world.queue(A, 0);
    world.queue(ModelId(40_002), 0);
    let c = world.model(60_003, plan(600));
    world.queue(c, 1);
    world.at(ms(10));
    assert_eq!(world.decide().len(), 2, "both give way");
    // One of them hangs in freeing its model.
    world.busy(w(1));
    world.exit(w(2), Exit::Retired);
    world.at(ms(1010));
    assert_eq!(world.decide(), [Did::Abandon(w(1))]);
    assert!(
        world.wants_idle,
        "and its memory is not counted on any more"
    );
}
