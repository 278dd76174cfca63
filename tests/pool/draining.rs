//! Models that give up their workers, and models that leave.

use std::time::Duration;

use modelpool::pool::core::{EventKind, PoolError};
use modelpool::testing::{Act, Point, RecitalRequest, Steering};

use crate::universe::{PATIENCE, Universe, config, within};

/// No grace for what hangs.
const NONE: Duration = Duration::ZERO;

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_model_gives_its_memory_back_and_comes_again_when_asked() {
    let steering = Steering::new();
    let mut universe = Universe::new(config()).await;
    let embedder = universe.register(steering.embedder("m", 100)).unwrap();
    within(embedder.embed("a")).await.unwrap();
    universe.ready(2).await;

    let report = within(universe.retire(&embedder, PATIENCE)).await.unwrap();

    assert_eq!((report.answered, report.refused), (0, 0));
    assert!(report.abandoned.is_empty());
    assert_eq!(universe.status().memory.reserved_mb, 0);
    assert!(universe.status().models[0].workers.is_empty());
    within(embedder.embed("b")).await.unwrap();
    // To retire a model that has no worker is done at once.
    within(universe.retire(&embedder, PATIENCE)).await.unwrap();
    within(universe.retire(&embedder, PATIENCE)).await.unwrap();
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_retires_finishes_what_it_has_in_hand() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Wait]);
    let mut universe = Universe::new(config()).await;
    let spec = steering.embedder("m", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    let running = tokio::spawn({
        let embedder = embedder.clone();
        async move { embedder.embed("a").await }
    });
    within(steering.visited(Point::Step, 1)).await;
    let pool = universe.clone();
    let retired = embedder.clone();
    let retiring = tokio::spawn(async move { pool.retire(&retired, PATIENCE).await });
    universe
        .event(|event| matches!(event.kind, EventKind::Retiring { .. }))
        .await;

    // Whoever asks meanwhile is served by another one.
    within(embedder.embed("b")).await.unwrap();
    assert!(!retiring.is_finished());
    steering.open(Point::Step);
    within(running).await.unwrap().unwrap();
    let report = within(retiring).await.unwrap().unwrap();
    assert_eq!(report.answered, 2);
    assert!(report.abandoned.is_empty());
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_outlasts_the_grace_of_a_retirement_goes_back_into_the_queue() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Wait]);
    let mut universe = Universe::new(config()).await;
    let spec = steering.embedder("m", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    let running = tokio::spawn({
        let embedder = embedder.clone();
        async move { embedder.embed("a").await }
    });
    within(steering.visited(Point::Step, 1)).await;

    let report = within(universe.retire(&embedder, NONE)).await.unwrap();

    assert_eq!(report.abandoned, ["mp1-m"]);
    within(running).await.unwrap().unwrap();
    assert_eq!(steering.steps(), [["a"], ["a"]], "not as a suspect");
    let metrics = universe.status().models[0].metrics;
    assert_eq!((metrics.redelivered, metrics.worker_failures), (1, 0));
    steering.open(Point::Step);
    universe
        .event(|event| event.kind == EventKind::Returned)
        .await;
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_has_begun_and_outlasts_the_grace_is_interrupted() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Go, Act::Wait]);
    let mut universe = Universe::new(config()).await;
    let spec = steering.reciter("poet", 100).max_workers(1);
    let reciter = universe.register(spec).unwrap();
    let words = ["one", "two"].map(str::to_owned).into();
    let mut stream = reciter.stream(RecitalRequest { words }).unwrap();
    within(stream.next()).await.unwrap().unwrap();
    within(steering.visited(Point::Step, 2)).await;

    within(universe.retire(&reciter, NONE)).await.unwrap();

    let error = within(stream.next()).await.unwrap().unwrap_err();
    assert!(
        matches!(error, PoolError::Interrupted { items_sent: 1, .. }),
        "{error}"
    );
    steering.open(Point::Step);
    universe
        .event(|event| event.kind == EventKind::Returned)
        .await;
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unregistered_model_is_gone_and_its_name_is_free() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let embedder = universe.register(steering.embedder("m", 100)).unwrap();
    within(embedder.embed("a")).await.unwrap();

    within(universe.unregister(&embedder, PATIENCE))
        .await
        .unwrap();

    assert!(universe.status().models.is_empty());
    assert_eq!(universe.status().memory.reserved_mb, 0);
    for outcome in [
        within(embedder.embed("b")).await.map(drop),
        within(universe.warm(&embedder)).await,
        within(universe.probe(&embedder)).await.map(drop),
        universe.pin(&embedder, true),
        within(universe.retire(&embedder, NONE)).await.map(drop),
        within(universe.unregister(&embedder, NONE)).await.map(drop),
        within(universe.replace(&embedder, steering.embedder("m", 1), NONE))
            .await
            .map(drop),
    ] {
        let error = outcome.unwrap_err();
        assert!(matches!(error, PoolError::NotRegistered { .. }), "{error}");
    }
    let again = universe.register(steering.embedder("m", 200)).unwrap();
    within(again.embed("c")).await.unwrap();
    assert!(
        embedder.embed("d").await.is_err(),
        "the old handle stays so"
    );
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_is_served_and_what_comes_is_refused() {
    let steering = Steering::new();
    steering.script(Point::Load, [Act::Wait]);
    let universe = Universe::new(config()).await;
    let spec = steering.embedder("m", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    let callers: Vec<_> = (0..10)
        .map(|n| {
            let embedder = embedder.clone();
            tokio::spawn(async move { embedder.embed(format!("{n}")).await })
        })
        .collect();
    while universe.status().models[0].queue.interactive < 10 {
        tokio::task::yield_now().await;
    }
    let (pool, leaving) = ((*universe).clone(), embedder.clone());
    let leaving = tokio::spawn(async move { pool.unregister(&leaving, PATIENCE).await });
    // Until the order has arrived, there is a place for one more.
    let refused = loop {
        match embedder.admit() {
            Ok(unused) => drop(unused),
            Err(error) => break error,
        }
        tokio::task::yield_now().await;
    };
    assert!(
        matches!(refused, PoolError::NotRegistered { .. }),
        "{refused}"
    );
    steering.open(Point::Load);

    for caller in callers {
        within(caller).await.unwrap().unwrap();
    }
    let report = within(leaving).await.unwrap().unwrap();
    assert_eq!((report.answered, report.refused), (10, 0));
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_when_the_grace_is_over_is_told_so() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Wait]);
    let mut universe = Universe::new(config()).await;
    let spec = steering.embedder("m", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    let ask = |text: String| {
        let embedder = embedder.clone();
        tokio::spawn(async move { embedder.embed(text).await })
    };
    let in_hand = ask("a".to_owned());
    within(steering.visited(Point::Step, 1)).await;
    let waits = ask("b".to_owned());
    while universe.status().models[0].queue.interactive < 1 {
        tokio::task::yield_now().await;
    }

    let report = within(universe.unregister(&embedder, NONE)).await.unwrap();

    assert_eq!(report.refused, 2);
    assert_eq!(report.abandoned, ["mp1-m"]);
    for caller in [in_hand, waits] {
        let error = within(caller).await.unwrap().unwrap_err();
        assert!(
            matches!(error, PoolError::GraceOver { grace: NONE, .. }),
            "{error}"
        );
    }
    assert!(universe.status().models.is_empty());
    assert_eq!(universe.status().memory.reserved_mb, 100);
    steering.open(Point::Step);
    universe
        .event(|event| event.kind == EventKind::Returned)
        .await;
    assert_eq!(universe.status().memory.reserved_mb, 0);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_cuts_a_drain_short() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Wait]);
    let mut universe = Universe::new(config()).await;
    let spec = steering.embedder("m", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    let running = tokio::spawn({
        let embedder = embedder.clone();
        async move { embedder.embed("a").await }
    });
    within(steering.visited(Point::Step, 1)).await;
    let pool = universe.clone();
    let draining = tokio::spawn(async move { pool.retire(&embedder, PATIENCE).await });
    universe
        .event(|event| matches!(event.kind, EventKind::Retiring { .. }))
        .await;
    let pool = universe.clone();
    let closing = tokio::spawn(async move { pool.shutdown(PATIENCE).await });

    within(draining).await.unwrap().unwrap();
    steering.open(Point::Step);
    within(running).await.unwrap().unwrap();
    within(closing).await.unwrap();
    universe.close().await;
}
