//! `Pool::status`: what it shows while something waits at a gate, and its form as JSON.

use std::collections::BTreeSet;
use std::time::Duration;

use modelpool::pool::core::{
    EventKind, ModelStatus, PoolError, PoolStatus, RetireReason, WorkerState,
};
use modelpool::testing::{Act, Point, Steering};
use modelpool::{Priority, RequestOptions};
use serde_json::{Value, json};

use crate::universe::{PATIENCE, Universe, config, within};
use crate::{restarting_at_once, until};

fn only(status: &PoolStatus) -> &ModelStatus {
    let [model] = &status.models[..] else {
        panic!("{:?}", status.models);
    };
    model
}

fn states(status: &PoolStatus) -> Vec<WorkerState> {
    let workers = only(status).workers.iter();
    workers.map(|worker| worker.state).collect()
}

/// The only worker has answered so many requests and has nothing to do.
fn rests_after(status: &PoolStatus, answered: u64) -> bool {
    let [worker] = &only(status).workers[..] else {
        return false;
    };
    worker.state == WorkerState::Idle && worker.answered == answered
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_shows_what_it_is_doing_from_loading_to_draining() {
    let steering = Steering::new();
    for point in [Point::Load, Point::Step, Point::Free] {
        steering.script(point, [Act::Wait]);
    }
    let universe = Universe::new(config()).await;
    let spec = steering.embedder("shown", 100).max_workers(1);
    let embedder = universe.register(spec.queue_capacity(5)).unwrap();
    assert!(states(&universe.status()).is_empty());

    let single = tokio::spawn({
        let embedder = embedder.clone();
        async move { embedder.embed("one").await }
    });
    within(steering.visited(Point::Load, 1)).await;
    let bulk = tokio::spawn({
        let bulk = embedder.with(RequestOptions::default().priority(Priority::Batch));
        async move { bulk.embed("two").await }
    });
    until(|| universe.status().models[0].queue.batch == 1).await;

    let loading = universe.status();
    assert_eq!(states(&loading), [WorkerState::Loading]);
    let queue = only(&loading).queue;
    assert_eq!((queue.interactive, queue.batch), (1, 1));
    assert_eq!((queue.under_way, queue.capacity), (2, 5));
    let memory = loading.memory;
    assert_eq!((memory.total_mb, memory.limit_mb), (1000, 800));
    assert_eq!((memory.reserved_mb, memory.peak_mb), (100, 100));
    assert_eq!((loading.threads, loading.shutting_down), (1, false));
    let metrics = only(&loading).metrics;
    assert_eq!(
        (metrics.accepted, metrics.ended(), metrics.loads),
        (2, 0, 0)
    );

    steering.open(Point::Load);
    within(steering.visited(Point::Step, 1)).await;
    let busy = universe.status();
    // Work was there when it had loaded, so that it never was idle.
    assert_eq!(states(&busy), [WorkerState::Busy]);
    let worker = &only(&busy).workers[0];
    assert_eq!((worker.idle_for, worker.answered), (None, 0));
    assert_eq!(
        (worker.name.as_str(), worker.reserved_mb),
        ("mp1-shown", 100)
    );
    let queue = only(&busy).queue;
    assert_eq!((queue.interactive, queue.batch, queue.under_way), (0, 1, 2));
    assert_eq!(only(&busy).metrics.loads, 1);

    steering.open(Point::Step);
    for caller in [single, bulk] {
        within(caller).await.unwrap().unwrap();
    }
    until(|| rests_after(&universe.status(), 2)).await;
    let idle = universe.status();
    assert_eq!(states(&idle), [WorkerState::Idle]);
    let worker = &only(&idle).workers[0];
    assert!(worker.idle_for.is_some_and(|time| time < PATIENCE));
    assert_eq!(worker.answered, 2);
    let metrics = only(&idle).metrics;
    assert_eq!((metrics.accepted, metrics.ended()), (2, 2));
    assert_eq!((metrics.answered, metrics.steps), (2, 2));
    assert_eq!(only(&idle).queue.under_way, 0);

    let pool = modelpool::Pool::clone(&universe);
    let closing = tokio::spawn(universe.close());
    within(steering.visited(Point::Free, 1)).await;
    let draining = pool.status();
    assert_eq!(states(&draining), [WorkerState::Draining]);
    assert!(draining.shutting_down);
    assert_eq!(
        draining.memory.reserved_mb, 100,
        "until the model is freed, its memory is taken"
    );

    steering.open(Point::Free);
    within(closing).await.unwrap();
    let over = pool.status();
    assert!(states(&over).is_empty());
    assert_eq!((over.threads, over.memory.reserved_mb), (0, 0));
    assert_eq!(over.memory.peak_mb, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_request_is_counted_once_by_its_ending() {
    let steering = Steering::new();
    steering.on_text("bad", Act::Fail);
    steering.on_text("poison", Act::Panic);
    let mut settings = restarting_at_once();
    settings.restart.max_failures = 100;
    let universe = Universe::new(settings).await;
    let embedder = universe
        .register(steering.embedder("counted", 100))
        .unwrap();
    let texts = ["good", "bad", "poison", "fine"];
    let callers: Vec<_> = (0..40)
        .map(|n| {
            let embedder = embedder.clone();
            let text = texts[n % 4];
            tokio::spawn(async move { embedder.embed(text).await.is_ok() })
        })
        .collect();
    let mut answered = 0;
    for caller in callers {
        answered += u64::from(within(caller).await.unwrap());
    }
    until(|| {
        let metrics = universe.status().models[0].metrics;
        metrics.ended() == metrics.accepted
    })
    .await;
    let metrics = universe.status().models[0].metrics;
    assert_eq!((metrics.accepted, metrics.answered), (40, answered));
    assert!(metrics.failed > 0 && metrics.poisoned > 0, "{metrics:?}");
    assert_eq!(metrics.failed + metrics.poisoned, 40 - answered);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_shows_how_long_it_stays_so() {
    let steering = Steering::new();
    let mut settings = restarting_at_once();
    settings.restart.max_failures = 1;
    settings.restart.cooldown = Duration::from_millis(200);
    let universe = Universe::new(settings).await;
    let spec = steering.embedder("off", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    steering.script(Point::Load, [Act::Fail]);
    assert_eq!(only(&universe.status()).unavailable_for, None);

    let error = within(embedder.embed("a")).await.unwrap_err();
    assert!(matches!(error, PoolError::LoadFailed { .. }), "{error}");
    let left = only(&universe.status()).unavailable_for;
    assert!(
        left.is_some_and(|left| left <= Duration::from_millis(200)),
        "{left:?}"
    );
    until(|| only(&universe.status()).unavailable_for.is_none()).await;
    within(embedder.embed("a trial")).await.unwrap();
    universe.close().await;
}

fn keys(value: &Value) -> BTreeSet<&str> {
    let object = value.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_is_json_under_these_names() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let spec = steering.embedder("json", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    within(embedder.embed("a")).await.unwrap();
    until(|| rests_after(&universe.status(), 1)).await;

    let status = serde_json::to_value(universe.status()).unwrap();

    assert_eq!(
        keys(&status),
        ["memory", "devices", "models", "threads", "shutting_down"].into()
    );
    assert_eq!(
        status["memory"],
        json!({
            "total_mb": 1000,
            "limit_mb": 800,
            "reserved_mb": 100,
            "peak_mb": 100,
            "available_mb": null,
            "under_pressure": false,
        })
    );
    assert_eq!(
        (&status["threads"], &status["shutting_down"]),
        (&json!(1), &json!(false))
    );
    let model = &status["models"][0];
    assert_eq!(
        keys(model),
        [
            "name",
            "capability",
            "est_memory_allocation_mb",
            "device",
            "shared_weights_mb",
            "footprint",
            "measured",
            "queue",
            "workers",
            "unavailable_for",
            "metrics"
        ]
        .into()
    );
    assert_eq!(model["name"], "json");
    assert_eq!(model["capability"], "text_embedding");
    assert_eq!(model["est_memory_allocation_mb"], 100);
    assert_eq!(model["device"], "cpu");
    assert_eq!(model["shared_weights_mb"], 0);
    assert_eq!(
        model["footprint"],
        json!({ "weights_bytes": 0, "worker_bytes": 100 << 20 })
    );
    assert_eq!(model["measured"], json!({ "load": null, "release": null }));
    assert_eq!(model["unavailable_for"], Value::Null);
    assert_eq!(
        model["queue"],
        json!({ "interactive": 0, "batch": 0, "under_way": 0, "capacity": 1024 })
    );
    let mut worker = model["workers"][0].clone();
    let idle_for = worker["idle_for"].take();
    assert_eq!(keys(&idle_for), ["secs", "nanos"].into());
    assert_eq!(
        worker,
        json!({
            "id": 1,
            "name": "mp1-json",
            "state": "Idle",
            "idle_for": null,
            "answered": 1,
            "reserved_mb": 100,
            "cache": null,
        })
    );
    assert_eq!(
        model["metrics"],
        json!({
            "accepted": 1,
            "refused": 0,
            "answered": 1,
            "failed": 0,
            "cancelled": 0,
            "expired": 0,
            "interrupted": 0,
            "poisoned": 0,
            "stalled": 0,
            "unserved": 0,
            "shut_down": 0,
            "redelivered": 0,
            "steps": 1,
            "tokens": { "prompt": 0, "reused": 0, "generated": 0, "put_off": 0 },
            "loads": 1,
            "worker_failures": 0,
            "worker_stalls": 0,
        })
    );

    let mut late = universe.events();
    let report = serde_json::to_value(universe.close().await).unwrap();
    assert_eq!(
        keys(&report),
        ["answered", "refused", "abandoned", "took"].into()
    );
    let retiring = within(late.next()).await.unwrap();
    assert_eq!(
        retiring.kind,
        EventKind::Retiring {
            reason: RetireReason::Shutdown
        }
    );
    let retiring = serde_json::to_value(retiring).unwrap();
    assert_eq!(keys(&retiring), ["at", "model", "worker", "kind"].into());
    assert_eq!(retiring["model"], "json");
    assert_eq!(retiring["worker"], 1);
    assert_eq!(
        retiring["kind"],
        json!({ "Retiring": { "reason": "Shutdown" } })
    );
}
