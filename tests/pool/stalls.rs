//! Steps and loads that hang: their callers are answered, and their threads waited for no longer.

use std::time::Duration;

use modelpool::WorkerState;
use modelpool::pool::core::{EventKind, PoolConfig, PoolError, PoolEvent};
use modelpool::testing::{Act, Point, RecitalRequest, Steering};

use crate::settings::restarting_at_once;
use crate::universe::{PATIENCE, Universe, within};

/// What hangs does so for ever, so a limit may be short; what works must stay below it.
const LIMIT: Duration = Duration::from_millis(300);

fn watching_steps() -> PoolConfig {
    PoolConfig {
        step_timeout: LIMIT,
        ..restarting_at_once()
    }
}

fn returned(event: &PoolEvent) -> bool {
    event.kind == EventKind::Returned
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_step_is_answered_and_its_worker_replaced() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Wait]);
    let mut universe = Universe::new(watching_steps()).await;
    let spec = steering.embedder("hangs", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();

    let error = within(embedder.embed("a")).await.unwrap_err();
    assert!(
        matches!(error, PoolError::Stalled { after: LIMIT, .. }),
        "{error}"
    );
    let stalled = universe
        .event(|event| matches!(event.kind, EventKind::Stalled { .. }))
        .await;
    assert_eq!(
        stalled.kind,
        EventKind::Stalled {
            after: LIMIT,
            while_loading: false
        }
    );
    // The next caller is served by another worker, beside the one that hangs.
    within(embedder.embed("b")).await.unwrap();
    let status = universe.status();
    let model = &status.models[0];
    let states: Vec<_> = model.workers.iter().map(|worker| worker.state).collect();
    assert_eq!(states.len(), 2);
    assert_eq!(states[0], WorkerState::Abandoned);
    assert_ne!(states[1], WorkerState::Abandoned);
    assert_eq!(status.memory.reserved_mb, 200, "its memory stays reserved");
    assert_eq!(status.threads, 2);
    let metrics = model.metrics;
    assert_eq!((metrics.stalled, metrics.answered), (1, 1));
    assert_eq!((metrics.worker_stalls, metrics.worker_failures), (1, 1));

    // When it returns after all, it serves nobody and its memory comes back.
    steering.open(Point::Step);
    let back = universe.event(returned).await;
    assert_eq!(back.worker, stalled.worker);
    let status = universe.status();
    assert_eq!(status.memory.reserved_mb, 100);
    assert_eq!(status.models[0].workers.len(), 1);
    assert_eq!(status.models[0].metrics.answered, 1, "no late answer");
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shares_the_step_is_answered_and_what_waits_is_served() {
    let steering = Steering::new();
    steering.script(Point::Load, [Act::Wait]);
    steering.script(Point::Step, [Act::Wait]);
    let mut universe = Universe::new(watching_steps()).await;
    let spec = steering.embedder("hangs", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    let ask = |text: String| {
        let embedder = embedder.clone();
        tokio::spawn(async move { embedder.embed(text).await })
    };
    // The third fills a step of its own.
    let callers = ["a".to_owned(), "b".to_owned(), "c".repeat(2048)].map(ask);
    within(steering.visited(Point::Load, 1)).await;
    while universe.status().models[0].queue.interactive < 3 {
        tokio::task::yield_now().await;
    }
    steering.open(Point::Load);

    let mut endings = Vec::new();
    for caller in callers {
        endings.push(within(caller).await.unwrap());
    }
    let stalled = |ending: &Result<_, _>| matches!(ending, Err(PoolError::Stalled { .. }));
    let in_step: Vec<bool> = endings.iter().map(stalled).collect();
    let first = steering.steps()[0].len();
    assert_eq!(in_step.iter().filter(|&&stalled| stalled).count(), first);
    assert!(
        endings
            .iter()
            .all(|ending| stalled(ending) || ending.is_ok())
    );
    assert!(first < 3, "what was not in the step is served");
    steering.open(Point::Step);
    universe.event(returned).await;
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_stalls_after_some_items_ends_in_stalled() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Go, Act::Go, Act::Wait]);
    let mut universe = Universe::new(watching_steps()).await;
    let spec = steering.reciter("poet", 100).max_workers(1);
    let reciter = universe.register(spec).unwrap();
    let words = ["one", "two", "three"].map(str::to_owned).into();
    let mut stream = reciter.stream(RecitalRequest { words }).unwrap();
    assert_eq!(within(stream.next()).await.unwrap().unwrap(), "one");
    assert_eq!(within(stream.next()).await.unwrap().unwrap(), "two");
    let error = within(stream.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, PoolError::Stalled { .. }), "{error}");
    assert!(within(stream.next()).await.is_none());

    steering.open(Point::Step);
    universe.event(returned).await;
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_load_answers_its_callers_and_harms_nobody_when_it_returns() {
    let steering = Steering::new();
    steering.script(Point::Load, [Act::Wait]);
    let settings = PoolConfig {
        load_timeout: LIMIT,
        ..restarting_at_once()
    };
    let mut universe = Universe::new(settings).await;
    let spec = steering.embedder("slow", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();

    let error = within(embedder.embed("a")).await.unwrap_err();
    assert!(
        matches!(error, PoolError::Stalled { after: LIMIT, .. }),
        "{error}"
    );
    within(embedder.embed("b")).await.unwrap();

    steering.open(Point::Load);
    universe.event(returned).await;
    assert_eq!(steering.visits(Point::Free), 1, "what it loaded is freed");
    assert_eq!(universe.status().models[0].metrics.loads, 1);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_hangs_while_it_is_freed_is_given_up_too() {
    let steering = Steering::new();
    steering.script(Point::Free, [Act::Wait]);
    let settings = PoolConfig {
        idle_after: Duration::from_millis(5),
        ..watching_steps()
    };
    let mut universe = Universe::new(settings).await;
    let spec = steering.embedder("clings", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    within(embedder.embed("a")).await.unwrap();
    universe
        .event(|event| event.kind == EventKind::Abandoned)
        .await;
    assert_eq!(universe.status().memory.reserved_mb, 100);
    steering.open(Point::Free);
    universe.event(returned).await;
    assert_eq!(universe.status().memory.reserved_mb, 0);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_comes_back_starts_who_waits_for_it() {
    let steering = Steering::new();
    let other = Steering::new();
    steering.script(Point::Step, [Act::Wait]);
    let universe = Universe::new(watching_steps()).await;
    let hangs = universe.register(steering.embedder("hangs", 500)).unwrap();
    let waits = universe.register(other.embedder("waits", 500)).unwrap();
    let error = within(hangs.embed("a")).await.unwrap_err();
    assert!(matches!(error, PoolError::Stalled { .. }), "{error}");

    let waiting = tokio::spawn(async move { waits.embed("b").await });
    while universe.status().models[1].queue.interactive < 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(other.visits(Point::Load), 0, "there is no room");
    steering.open(Point::Step);
    within(waiting).await.unwrap().unwrap();
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_always_hangs_gets_only_so_many_threads() {
    let steering = Steering::new();
    steering.always(Point::Step, Act::Wait);
    let settings = PoolConfig {
        max_stalled_workers: 2,
        ..watching_steps()
    };
    let mut universe = Universe::new(settings).await;
    let spec = steering.embedder("hangs", 10).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    for _ in 0..2 {
        let error = within(embedder.embed("a")).await.unwrap_err();
        assert!(matches!(error, PoolError::Stalled { .. }), "{error}");
    }
    let error = within(embedder.embed("a")).await.unwrap_err();
    assert!(
        matches!(error, PoolError::TooManyStalled { threads: 2, .. }),
        "{error}"
    );
    assert_eq!(steering.visits(Point::Load), 2);

    steering.open(Point::Step);
    universe.event(returned).await;
    universe.event(returned).await;
    within(embedder.embed("a")).await.unwrap();
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_has_limits_of_its_own_and_can_have_none() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Wait]);
    let mut universe = Universe::new(watching_steps()).await;
    let patient = steering
        .embedder("patient", 100)
        .max_workers(1)
        .step_timeout(Duration::MAX);
    let patient = universe.register(patient).unwrap();
    let waiting = tokio::spawn(async move { patient.embed("a").await });
    within(steering.visited(Point::Step, 1)).await;

    // Another model's worker is given up after the first has worked for longer than the limit.
    let hurried = Steering::new();
    hurried.script(Point::Load, [Act::Wait]);
    let spec = hurried
        .embedder("hurried", 100)
        .max_workers(1)
        .load_timeout(2 * LIMIT);
    let spec = universe.register(spec).unwrap();
    let error = within(spec.embed("b")).await.unwrap_err();
    let PoolError::Stalled { model, after } = error else {
        panic!("{error}");
    };
    assert_eq!((model.as_str(), after), ("hurried", 2 * LIMIT));
    steering.open(Point::Step);
    within(waiting).await.unwrap().unwrap();
    hurried.open(Point::Load);
    universe.event(returned).await;
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_names_threads_that_were_given_up_before() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Wait]);
    let universe = Universe::new(watching_steps()).await;
    let spec = steering.embedder("hangs", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    let error = within(embedder.embed("a")).await.unwrap_err();
    assert!(matches!(error, PoolError::Stalled { .. }), "{error}");

    let report = within(universe.shutdown(PATIENCE)).await;
    assert_eq!(report.abandoned, ["mp1-hangs"]);
    assert_eq!(universe.census().reserved_bytes, 100 << 20);
    steering.open(Point::Step);
    while universe.census().threads > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(universe.census().reserved_bytes, 0);
    assert!(universe.status().models[0].workers.is_empty());
}
