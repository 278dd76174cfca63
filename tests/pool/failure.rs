//! What fails, and what its callers are told.

use std::time::Duration;

use modelpool::pool::core::{EventKind, PoolError, Priority, RequestOptions};
use modelpool::testing::{Act, Point, RecitalRequest, Steering};

use crate::settings::restarting_at_once;
use crate::universe::{Universe, config, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_survives_the_panic_of_its_worker() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Panic]);
    let mut universe = Universe::new(restarting_at_once()).await;
    let spec = steering.embedder("panics", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();

    let vector = within(embedder.embed("survivor")).await.unwrap();

    assert_eq!(vector, Steering::embedding_of("survivor"));
    let failed = universe
        .event(|event| matches!(event.kind, EventKind::Failed { .. }))
        .await;
    let EventKind::Failed { reason } = failed.kind else {
        unreachable!()
    };
    assert!(reason.contains("told to panic at Step"), "{reason}");
    let metrics = universe.status().models[0].metrics;
    assert_eq!((metrics.redelivered, metrics.worker_failures), (1, 1));
    assert_eq!(
        steering.visits(Point::Load),
        2,
        "one worker, restarted once"
    );
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_errs_is_treated_like_a_panic() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Fail]);
    let universe = Universe::new(restarting_at_once()).await;
    let spec = steering.embedder("errs", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();

    within(embedder.embed("a")).await.unwrap();

    assert_eq!(universe.status().models[0].metrics.worker_failures, 1);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_worker_takes_over_without_waiting_for_the_restart() {
    let steering = Steering::new();
    let mut settings = config();
    settings.restart.initial_backoff = Duration::from_secs(3600);
    settings.restart.max_backoff = Duration::from_secs(3600);
    let mut universe = Universe::new(settings).await;
    let embedder = universe.register(steering.embedder("two", 100)).unwrap();
    within(embedder.embed("warm up")).await.unwrap();
    universe.ready(2).await;
    steering.script(Point::Step, [Act::Panic]);

    within(embedder.embed("moves over")).await.unwrap();

    let restarting = universe
        .event(|event| matches!(event.kind, EventKind::Restarting { .. }))
        .await;
    let EventKind::Restarting { after } = restarting.kind else {
        unreachable!()
    };
    assert!(after > Duration::from_secs(1), "{after:?}");
    assert_eq!(universe.status().models[0].workers.len(), 1);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_kills_twice_is_poisoned_and_its_mates_are_answered() {
    let steering = Steering::new();
    steering.on_text("poison", Act::Panic);
    steering.script(Point::Load, [Act::Wait]);
    let universe = Universe::new(restarting_at_once()).await;
    let spec = steering.embedder("bitten", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    let ask = |text: &'static str| {
        let embedder = embedder.clone();
        tokio::spawn(async move { embedder.embed(text).await })
    };
    let mates: Vec<_> = ["before", "poison", "after"].map(ask).into();
    within(steering.visited(Point::Load, 1)).await;
    while universe.status().models[0].queue.interactive < 3 {
        tokio::task::yield_now().await;
    }
    steering.open(Point::Load);

    let mut outcomes = Vec::new();
    for mate in mates {
        outcomes.push(within(mate).await.unwrap());
    }

    assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    let error = outcomes[1].clone().unwrap_err();
    assert!(
        matches!(error, PoolError::Poisoned { kills: 2, .. }),
        "{error}"
    );
    // All three shared the step that died; from then on each suspect had a step of its own.
    assert_eq!(steering.steps()[0].len(), 3);
    assert!(steering.steps()[1..].iter().all(|step| step.len() == 1));
    assert_eq!(universe.status().models[0].metrics.poisoned, 1);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_one_text_is_its_own() {
    let steering = Steering::new();
    steering.on_text("bad", Act::Fail);
    let universe = Universe::new(config()).await;
    let embedder = universe.register(steering.embedder("picky", 100)).unwrap();

    let error = within(embedder.embed("bad")).await.unwrap_err();
    assert!(matches!(error, PoolError::Model { .. }), "{error}");
    within(embedder.embed("good")).await.unwrap();

    assert_eq!(universe.status().models[0].metrics.worker_failures, 0);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_load_answers_all_who_wait_and_harms_no_other_model() {
    for act in [Act::Fail, Act::Panic] {
        let steering = Steering::new();
        let healthy = Steering::new();
        steering.always(Point::Load, act);
        let universe = Universe::new(config()).await;
        let broken = universe.register(steering.embedder("broken", 100)).unwrap();
        let other = universe.register(healthy.embedder("healthy", 100)).unwrap();

        let callers: Vec<_> = (0..10)
            .map(|n| {
                let broken = broken.clone();
                tokio::spawn(async move { broken.embed(format!("text {n}")).await })
            })
            .collect();
        for caller in callers {
            let error = within(caller).await.unwrap().unwrap_err();
            match &error {
                PoolError::LoadFailed { source, .. } => {
                    assert!(source.to_string().contains("told to"), "{source}");
                }
                // A caller who comes after the fifth failure in a row.
                PoolError::Unavailable { .. } => {}
                other => panic!("{other}"),
            }
        }
        within(other.embed("fine")).await.unwrap();
        universe.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_breaker_opens_refuses_and_closes_after_a_trial() {
    let steering = Steering::new();
    let mut settings = restarting_at_once();
    settings.restart.max_failures = 2;
    settings.restart.cooldown = Duration::from_millis(150);
    let mut universe = Universe::new(settings).await;
    let spec = steering.embedder("flaky", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    steering.script(Point::Load, [Act::Fail, Act::Fail]);

    for _ in 0..2 {
        let error = within(embedder.embed("a")).await.unwrap_err();
        assert!(matches!(error, PoolError::LoadFailed { .. }), "{error}");
    }
    universe
        .event(|event| matches!(event.kind, EventKind::BreakerOpened { .. }))
        .await;
    let error = within(embedder.embed("a")).await.unwrap_err();
    let PoolError::Unavailable { retry_after, .. } = error else {
        panic!("{error}");
    };
    assert!(retry_after <= Duration::from_millis(150), "{retry_after:?}");
    assert!(universe.status().models[0].unavailable_for.is_some());
    assert_eq!(steering.visits(Point::Load), 2, "refused without a load");

    tokio::time::sleep(retry_after).await;
    within(embedder.embed("trial")).await.unwrap();
    assert!(universe.status().models[0].unavailable_for.is_none());
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_while_freeing_gives_the_memory_back() {
    let steering = Steering::new();
    steering.always(Point::Free, Act::Panic);
    let universe = Universe::new(config()).await;
    let embedder = universe.register(steering.embedder("clumsy", 100)).unwrap();
    within(embedder.embed("a")).await.unwrap();
    universe.close().await;
}

fn words(count: usize) -> RecitalRequest {
    RecitalRequest {
        words: (0..count).map(|n| n.to_string()).collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_arrives_whole_and_in_order() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let reciter = universe.register(steering.reciter("poet", 100)).unwrap();
    let mut stream = reciter.stream(words(100)).unwrap();
    let mut heard = Vec::new();
    while let Some(word) = within(stream.next()).await {
        heard.push(word.unwrap());
    }
    assert_eq!(heard, words(100).words);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_has_begun_ends_in_interrupted() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Go, Act::Go, Act::Panic]);
    let universe = Universe::new(restarting_at_once()).await;
    let spec = steering.reciter("poet", 100).max_workers(1);
    let reciter = universe.register(spec).unwrap();

    let mut stream = reciter.stream(words(5)).unwrap();
    assert_eq!(within(stream.next()).await.unwrap().unwrap(), "0");
    assert_eq!(within(stream.next()).await.unwrap().unwrap(), "1");
    let error = within(stream.next()).await.unwrap().unwrap_err();
    assert!(
        matches!(error, PoolError::Interrupted { items_sent: 2, .. }),
        "{error}"
    );
    assert!(within(stream.next()).await.is_none());
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_has_not_begun_is_tried_again() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Panic]);
    let universe = Universe::new(restarting_at_once()).await;
    let spec = steering.reciter("poet", 100).max_workers(1);
    let reciter = universe.register(spec).unwrap();
    let mut stream = reciter.stream(words(2)).unwrap();
    assert_eq!(within(stream.next()).await.unwrap().unwrap(), "0");
    assert_eq!(within(stream.next()).await.unwrap().unwrap(), "1");
    assert!(within(stream.next()).await.is_none());
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_leaves_before_the_next_step() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let spec = steering.reciter("poet", 100).max_workers(1);
    let reciter = universe.register(spec).unwrap();
    steering.script(Point::Step, [Act::Go, Act::Wait]);
    let mut stream = reciter.stream(words(1_000_000)).unwrap();
    within(stream.next()).await.unwrap().unwrap();
    within(steering.visited(Point::Step, 2)).await;
    drop(stream);
    steering.open(Point::Step);

    // The worker is free for somebody else, and the first recital is not gone on with.
    let mut next = reciter.stream(words(1)).unwrap();
    within(next.next()).await.unwrap().unwrap();
    assert_eq!(steering.visits(Point::Step), 3);
    assert_eq!(universe.status().models[0].metrics.cancelled, 1);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_slows_only_its_own_stream() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let spec = steering.reciter("poet", 100).max_workers(1);
    let reciter = universe.register(spec).unwrap();
    let mut slow = reciter.stream(words(100)).unwrap();
    within(slow.next()).await.unwrap().unwrap();

    let mut quick = reciter.stream(words(200)).unwrap();
    let mut heard = 0;
    while let Some(word) = within(quick.next()).await {
        word.unwrap();
        heard += 1;
    }
    assert_eq!(heard, 200);
    let mut rest = Vec::new();
    while let Some(word) = within(slow.next()).await {
        rest.push(word.unwrap());
    }
    assert_eq!(rest, words(100).words[1..]);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_read_costs_no_steps() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let spec = steering.reciter("patient", 100).max_workers(1);
    let reciter = universe.register(spec).unwrap();
    let mut stream = reciter.stream(words(100)).unwrap();
    // Until the stream's buffer is full, then into the pauses between two looks.
    within(steering.visited(Point::Step, 40)).await;
    let before = steering.visits(Point::Step);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let looks = steering.visits(Point::Step) - before;

    assert!(
        looks <= 60,
        "{looks} steps in 100 ms, with 2 ms between two"
    );
    let mut heard = 0;
    while let Some(word) = within(stream.next()).await {
        word.unwrap();
        heard += 1;
    }
    assert_eq!(heard, 100);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_at_its_deadline() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Go, Act::Wait]);
    let universe = Universe::new(config()).await;
    let reciter = universe.register(steering.reciter("poet", 100)).unwrap();
    let hurried = reciter.with(
        RequestOptions::default()
            .deadline(Duration::from_millis(50))
            .priority(Priority::Batch),
    );
    let mut stream = hurried.stream(words(3)).unwrap();
    let mut last = None;
    while let Some(item) = within(stream.next()).await {
        last = Some(item);
    }
    let error = last.unwrap().unwrap_err();
    assert!(
        matches!(error, PoolError::DeadlineExceeded { .. }),
        "{error}"
    );
    steering.open(Point::Step);
    universe.close().await;
}
