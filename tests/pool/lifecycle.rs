//! From nothing to two workers, up, down, and to nothing again.

use std::time::Duration;

use modelpool::pool::core::{EventKind, PoolError, RetireReason, StartReason};
use modelpool::testing::{Act, Point, Steering};

use crate::universe::{Universe, config, within};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_loads_before_the_first_request() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let embedder = universe.register(steering.embedder("quiet", 100)).unwrap();
    assert_eq!(steering.visits(Point::Load), 0);
    assert_eq!(universe.status().memory.reserved_mb, 0);

    let vector = within(embedder.embed("a text")).await.unwrap();

    assert_eq!(vector, Steering::embedding_of("a text"));
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_first_callers_cause_two_loads() {
    let steering = Steering::new();
    steering.always(Point::Load, Act::Wait);
    let mut universe = Universe::new(config()).await;
    let embedder = universe.register(steering.embedder("cold", 100)).unwrap();

    let callers: Vec<_> = (0..100)
        .map(|n| {
            let embedder = embedder.clone();
            tokio::spawn(async move { embedder.embed(format!("text {n}")).await })
        })
        .collect();
    within(steering.visited(Point::Load, 2)).await;
    steering.open(Point::Load);
    for (n, caller) in callers.into_iter().enumerate() {
        let vector = within(caller).await.unwrap().unwrap();
        assert_eq!(vector, Steering::embedding_of(&format!("text {n}")));
    }

    universe.ready(2).await;
    assert_eq!(steering.visits(Point::Load), 2);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_answer_does_not_wait_for_the_second_worker() {
    let steering = Steering::new();
    steering.script(Point::Load, [Act::Go, Act::Wait]);
    let universe = Universe::new(config()).await;
    let embedder = universe.register(steering.embedder("first", 100)).unwrap();

    within(embedder.embed("now")).await.unwrap();

    within(steering.visited(Point::Load, 2)).await;
    steering.open(Point::Load);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_starts_where_only_one_fits() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let embedder = universe.register(steering.embedder("large", 500)).unwrap();

    within(embedder.embed("a")).await.unwrap();

    assert_eq!(steering.visits(Point::Load), 1);
    assert_eq!(universe.status().memory.reserved_mb, 500);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_more_when_all_are_busy_and_work_has_waited() {
    let steering = Steering::new();
    steering.always(Point::Step, Act::Wait);
    let mut settings = config();
    settings.expand_after = Duration::from_millis(1);
    let mut universe = Universe::new(settings).await;
    let spec = steering.embedder("busy", 100).max_workers(3);
    let embedder = universe.register(spec).unwrap();

    let ask = |text: &'static str| {
        let embedder = embedder.clone();
        tokio::spawn(async move { embedder.embed(text).await })
    };
    let mut callers = vec![ask("one")];
    universe.ready(2).await;
    within(steering.visited(Point::Step, 1)).await;
    callers.push(ask("two"));
    within(steering.visited(Point::Step, 2)).await;
    callers.push(ask("three"));
    let expanded = universe
        .event(|event| matches!(event.kind, EventKind::Reserved { .. }))
        .await;

    assert!(matches!(
        expanded.kind,
        EventKind::Reserved {
            reason: StartReason::Expand,
            ..
        }
    ));
    within(steering.visited(Point::Step, 3)).await;
    // Three is the most that this model may have.
    callers.push(ask("four"));
    steering.open(Point::Step);
    for caller in callers {
        within(caller).await.unwrap().unwrap();
    }
    assert_eq!(steering.visits(Point::Load), 3);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_workers_retire_one_by_one_in_real_time() {
    let steering = Steering::new();
    let mut settings = config();
    settings.idle_after = Duration::from_millis(40);
    let mut universe = Universe::new(settings).await;
    let embedder = universe.register(steering.embedder("idle", 100)).unwrap();
    within(embedder.embed("a")).await.unwrap();

    let idle = |event: &modelpool::pool::core::PoolEvent| {
        event.kind
            == EventKind::Retiring {
                reason: RetireReason::Idle,
            }
    };
    let first = universe.event(idle).await;
    let second = universe.event(idle).await;
    universe
        .event(|event| event.kind == EventKind::Retired && event.worker == second.worker)
        .await;

    let apart = second.at.duration_since(first.at).unwrap();
    assert!(apart >= Duration::from_millis(39), "{apart:?}");
    assert_eq!(universe.status().memory.reserved_mb, 0);
    // And it comes back when it is asked.
    within(embedder.embed("b")).await.unwrap();
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn min_workers_and_pins_keep_the_last_worker() {
    for pinned in [false, true] {
        let steering = Steering::new();
        let mut settings = config();
        settings.idle_after = Duration::from_millis(5);
        let mut universe = Universe::new(settings).await;
        let spec = steering.embedder("kept", 100);
        let spec = if pinned {
            spec.pinned(true)
        } else {
            spec.min_workers(1)
        };
        let embedder = universe.register(spec).unwrap();
        within(embedder.embed("a")).await.unwrap();
        universe
            .event(|event| event.kind == EventKind::Retired)
            .await;

        // Another model's worker comes and goes while the kept one stays.
        let other = universe.register(steering.embedder("other", 100)).unwrap();
        within(other.embed("b")).await.unwrap();
        for _ in 0..2 {
            universe
                .event(|event| event.kind == EventKind::Retired && event.model == "other")
                .await;
        }

        assert_eq!(universe.status().models[0].workers.len(), 1);
        universe.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_can_be_taken_away() {
    let steering = Steering::new();
    let mut settings = config();
    settings.idle_after = Duration::from_millis(5);
    let mut universe = Universe::new(settings).await;
    let embedder = universe
        .register(steering.embedder("pinned", 100).pinned(true))
        .unwrap();
    within(embedder.embed("a")).await.unwrap();
    universe
        .event(|event| event.kind == EventKind::Retired)
        .await;

    universe.pin(&embedder, false).unwrap();

    universe
        .event(|event| event.kind == EventKind::Retired)
        .await;
    assert_eq!(universe.status().memory.reserved_mb, 0);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn warming_loads_without_a_request() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let embedder = universe.register(steering.embedder("warm", 100)).unwrap();

    within(universe.warm(&embedder)).await.unwrap();
    assert!(steering.visits(Point::Load) >= 1);
    assert_eq!(steering.visits(Point::Step), 0);
    // A second call finds it warm.
    within(universe.warm(&embedder)).await.unwrap();
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn warming_tells_why_it_failed() {
    let steering = Steering::new();
    steering.always(Point::Load, Act::Fail);
    let universe = Universe::new(config()).await;
    let broken = universe.register(steering.embedder("broken", 100)).unwrap();
    let huge = universe.register(steering.embedder("huge", 801)).unwrap();

    let error = within(universe.warm(&broken)).await.unwrap_err();
    assert!(matches!(error, PoolError::LoadFailed { .. }), "{error}");
    let error = within(universe.warm(&huge)).await.unwrap_err();
    assert!(
        matches!(error, PoolError::MemoryExhausted { .. }),
        "{error}"
    );
    universe.close().await;
}
