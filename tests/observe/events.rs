//! The stream of events: whole lives, in order, to every reader.

use std::time::Duration;

use modelpool::pool::core::{EventKind, EventStream, MIB, PoolError, PoolEvent, WorkerId};
use modelpool::testing::{Act, Point, Steering};

use crate::restarting_at_once;
use crate::universe::{PATIENCE, Universe, config, within};

/// A short name of what happened, with its reason.
fn label(kind: &EventKind) -> String {
    match kind {
        EventKind::Reserved { reason, .. } => format!("Reserved({reason:?})"),
        EventKind::Retiring { reason } => format!("Retiring({reason:?})"),
        EventKind::Ready { .. } => "Ready".to_owned(),
        EventKind::Failed { .. } => "Failed".to_owned(),
        EventKind::Restarting { .. } => "Restarting".to_owned(),
        EventKind::BreakerOpened { .. } => "BreakerOpened".to_owned(),
        EventKind::Refused { requests, .. } => format!("Refused({requests})"),
        EventKind::Missed { .. } => "Missed".to_owned(),
        plain => format!("{plain:?}"),
    }
}

fn labels(events: &[PoolEvent]) -> Vec<String> {
    events.iter().map(|event| label(&event.kind)).collect()
}

/// The events up to and with the first of this label.
async fn up_to(events: &mut EventStream, last: &str) -> Vec<PoolEvent> {
    let mut seen = Vec::new();
    loop {
        let Ok(Some(event)) = tokio::time::timeout(PATIENCE, events.next()).await else {
            panic!("no {last} after {:?}", labels(&seen));
        };
        let found = label(&event.kind) == last;
        seen.push(event);
        if found {
            return seen;
        }
    }
}

/// Everything until the pool is gone.
async fn rest(mut events: EventStream) -> Vec<PoolEvent> {
    let mut seen = Vec::new();
    within(async {
        while let Some(event) = events.next().await {
            seen.push(event);
        }
    })
    .await;
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_an_idle_worker_is_told_in_order() {
    let steering = Steering::new();
    let mut settings = config();
    settings.idle_after = Duration::from_millis(300);
    let mut universe = Universe::new(settings).await;
    let spec = steering.embedder("life", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();

    within(embedder.embed("a")).await.unwrap();
    let life = up_to(&mut universe.events, "Retired").await;

    assert_eq!(
        labels(&life),
        [
            "Reserved(ColdStart)",
            "Loading",
            "Ready",
            "Busy",
            "Idle",
            "Retiring(Idle)",
            "Retired"
        ]
    );
    assert!(matches!(
        life[0].kind,
        EventKind::Reserved { bytes, .. } if bytes == 100 * MIB
    ));
    for event in &life {
        assert_eq!(
            (event.model.as_str(), event.worker),
            ("life", Some(WorkerId(1)))
        );
    }
    let [.., idle, retiring, _] = &life[..] else {
        unreachable!()
    };
    let idle_for = retiring.at.duration_since(idle.at).unwrap();
    assert!(idle_for >= Duration::from_millis(290), "{idle_for:?}");

    // The next life is another worker's.
    within(embedder.embed("b")).await.unwrap();
    let next = up_to(&mut universe.events, "Ready").await;
    assert_eq!(labels(&next), ["Reserved(ColdStart)", "Loading", "Ready"]);
    assert!(next.iter().all(|event| event.worker == Some(WorkerId(2))));
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_works_and_rests_as_often_as_it_is_asked() {
    let steering = Steering::new();
    let mut universe = Universe::new(config()).await;
    let spec = steering.embedder("turns", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    within(embedder.embed("first")).await.unwrap();
    up_to(&mut universe.events, "Idle").await;
    for text in ["second", "third"] {
        within(embedder.embed(text)).await.unwrap();
        let turn = up_to(&mut universe.events, "Idle").await;
        assert_eq!(labels(&turn), ["Busy", "Idle"]);
    }
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_is_told_and_the_stream_ends_with_the_pool() {
    let steering = Steering::new();
    let mut universe = Universe::new(config()).await;
    let spec = steering.embedder("last", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    within(embedder.embed("a")).await.unwrap();
    up_to(&mut universe.events, "Idle").await;

    let late = universe.events();
    universe.close().await;
    drop(embedder);

    assert_eq!(labels(&rest(late).await), ["Retiring(Shutdown)", "Retired"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_pool_ends_its_stream_too() {
    let steering = Steering::new();
    let pool = modelpool::Pool::start(config()).await.unwrap();
    let mut events = pool.events();
    let spec = steering.embedder("dropped", 100).max_workers(1);
    let embedder = pool.register(spec).unwrap();
    within(embedder.embed("a")).await.unwrap();
    up_to(&mut events, "Idle").await;

    drop((pool, embedder));

    let end = labels(&rest(events).await);
    assert_eq!(end, ["Retiring(Shutdown)", "Retired"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_is_told_as_such() {
    let steering = Steering::new();
    let mut universe = Universe::new(config()).await;
    let first = universe.register(steering.embedder("first", 500)).unwrap();
    let second = universe.register(steering.embedder("second", 500)).unwrap();
    within(first.embed("a")).await.unwrap();
    up_to(&mut universe.events, "Idle").await;

    within(second.embed("b")).await.unwrap();

    let mut of_first = Vec::new();
    while of_first.len() < 2 {
        let event = universe.event(|event| event.model == "first").await;
        assert_eq!(event.worker, Some(WorkerId(1)));
        of_first.push(event);
    }
    assert_eq!(labels(&of_first), ["Retiring(Evicted)", "Evicted"]);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_busy_from_its_first_moment_is_not_taken_for_an_idle_one() {
    let steering = Steering::new();
    let newcomer = Steering::new();
    steering.script(Point::Step, [Act::Wait]);
    let mut universe = Universe::new(config()).await;
    let busy = universe.register(steering.embedder("busy", 500)).unwrap();
    let waits = universe.register(newcomer.embedder("waits", 500)).unwrap();
    let running = tokio::spawn(async move { busy.embed("a").await });
    within(steering.visited(Point::Step, 1)).await;

    let hurried = modelpool::RequestOptions::default().deadline(Duration::from_millis(30));
    let error = within(waits.with(hurried).embed("b")).await.unwrap_err();
    assert!(
        matches!(error, PoolError::DeadlineExceeded { .. }),
        "{error}"
    );
    steering.open(Point::Step);
    within(running).await.unwrap().unwrap();

    let told = up_to(&mut universe.events, "Idle").await;
    assert_eq!(
        labels(&told),
        ["Reserved(ColdStart)", "Loading", "Ready", "Busy", "Idle"]
    );
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_told_with_its_reason_and_its_restart() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Panic]);
    let mut universe = Universe::new(restarting_at_once()).await;
    let spec = steering.embedder("crashes", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();

    within(embedder.embed("survivor")).await.unwrap();
    let told = up_to(&mut universe.events, "Idle").await;

    assert_eq!(
        labels(&told),
        [
            "Reserved(ColdStart)",
            "Loading",
            "Ready",
            "Busy",
            "Failed",
            "Restarting",
            "Reserved(Restart)",
            "Loading",
            "Ready",
            "Busy",
            "Idle"
        ]
    );
    let EventKind::Failed { reason } = &told[4].kind else {
        unreachable!()
    };
    assert!(reason.contains("told to panic at Step"), "{reason}");
    assert!(matches!(
        told[5].kind,
        EventKind::Restarting { after } if after.is_zero()
    ));
    assert_eq!(told[4].worker, Some(WorkerId(1)));
    assert_eq!(told[5].worker, None, "no worker is there yet");
    assert_eq!(told[6].worker, Some(WorkerId(2)));
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_breaker_and_its_refusals_are_told() {
    let steering = Steering::new();
    let mut settings = restarting_at_once();
    settings.restart.max_failures = 2;
    settings.restart.cooldown = Duration::from_millis(200);
    let mut universe = Universe::new(settings).await;
    let spec = steering.embedder("flaky", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    steering.script(Point::Load, [Act::Fail, Act::Fail]);

    within(embedder.embed("one")).await.unwrap_err();
    let first = up_to(&mut universe.events, "Refused(1)").await;
    within(embedder.embed("two")).await.unwrap_err();
    let second = up_to(&mut universe.events, "Refused(1)").await;
    // Every refusal names its wait, after which a trial is let through.
    let mut refused = 0;
    while let Err(error) = within(embedder.embed("three")).await {
        let PoolError::Unavailable { retry_after, .. } = error else {
            panic!("{error}");
        };
        refused += 1;
        tokio::time::sleep(retry_after).await;
    }
    let last = up_to(&mut universe.events, "Ready").await;

    assert_eq!(
        labels(&first)[..3],
        ["Reserved(ColdStart)", "Loading", "Failed"]
    );
    assert_eq!(
        labels(&second),
        [
            "Reserved(Restart)",
            "Loading",
            "Failed",
            "BreakerOpened",
            "Refused(1)"
        ]
    );
    let EventKind::BreakerOpened { retry_after } = second[3].kind else {
        unreachable!()
    };
    assert_eq!(retry_after, Duration::from_millis(200));
    assert!(refused > 0, "the open breaker refuses");
    let mut wanted = vec!["Refused(1)".to_owned(); refused];
    wanted.extend(["Reserved(Trial)", "Loading", "Ready"].map(str::to_owned));
    assert_eq!(labels(&last), wanted);
    for (event, why) in [
        (first.last(), "told to fail at Load"),
        (second.last(), "told to fail at Load"),
        (last.first(), "failed too often"),
    ] {
        let EventKind::Refused { reason, .. } = &event.unwrap().kind else {
            unreachable!()
        };
        assert!(reason.contains(why), "{reason}");
        assert_eq!(event.unwrap().worker, None, "it concerns the model");
    }
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_more_worker_for_work_that_waits_is_an_expansion() {
    let steering = Steering::new();
    steering.always(Point::Step, Act::Wait);
    let mut settings = config();
    settings.cold_start_workers = 1;
    settings.expand_after = Duration::from_millis(1);
    let mut universe = Universe::new(settings).await;
    let spec = steering.embedder("grows", 100).max_workers(2);
    let embedder = universe.register(spec).unwrap();
    let ask = |text: &'static str| {
        let embedder = embedder.clone();
        tokio::spawn(async move { embedder.embed(text).await })
    };
    let first = ask("one");
    within(steering.visited(Point::Step, 1)).await;
    up_to(&mut universe.events, "Busy").await;
    let second = ask("two");

    let grown = up_to(&mut universe.events, "Busy").await;

    assert_eq!(
        labels(&grown),
        ["Reserved(Expand)", "Loading", "Ready", "Busy"]
    );
    steering.open(Point::Step);
    for caller in [first, second] {
        within(caller).await.unwrap().unwrap();
    }
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reader_gets_everything() {
    let steering = Steering::new();
    let universe = Universe::new(restarting_at_once()).await;
    let other = universe.events();
    let quick = universe.events();
    // One reads while things happen, the other when all is over.
    let reading = tokio::spawn(rest(quick));
    let embedder = universe.register(steering.embedder("shown", 100)).unwrap();
    steering.script(Point::Step, [Act::Go, Act::Panic]);
    for n in 0..20 {
        within(embedder.embed(format!("text {n}"))).await.unwrap();
    }
    universe.close().await;
    drop(embedder);

    let told = |events: Vec<PoolEvent>| -> Vec<_> {
        let parts = |event: PoolEvent| (event.at, event.model, event.worker, event.kind);
        events.into_iter().map(parts).collect()
    };
    let (one, two) = (told(reading.await.unwrap()), told(rest(other).await));
    assert!(one.len() >= 12, "{one:?}");
    assert_eq!(one, two);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_told_how_many_events_it_missed() {
    let steering = Steering::new();
    let mut universe = Universe::new(config()).await;
    let spec = steering.embedder("busy", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    within(embedder.embed("warm up")).await.unwrap();
    up_to(&mut universe.events, "Idle").await;

    let mut slow = universe.events();
    // Each turn is two events; a reader may fall 1024 behind.
    for turn in 0..600 {
        within(embedder.embed(format!("{turn}"))).await.unwrap();
        up_to(&mut universe.events, "Idle").await;
    }

    let first = within(slow.next()).await.unwrap();
    assert_eq!(
        first.kind,
        EventKind::Missed {
            events: 1200 - 1024
        }
    );
    assert_eq!((first.model.as_str(), first.worker), ("", None));
    // From there on it misses nothing.
    let mut turns = Vec::new();
    for _ in 0..1024 {
        turns.push(label(&within(slow.next()).await.unwrap().kind));
    }
    assert!(
        turns.chunks(2).all(|turn| turn == ["Busy", "Idle"]),
        "{turns:?}"
    );
    universe.close().await;
    drop(embedder);
    assert_eq!(labels(&rest(slow).await), ["Retiring(Shutdown)", "Retired"]);
}
