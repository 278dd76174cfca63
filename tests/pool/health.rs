//! Probes, liveness and readiness, each turned by what really happens.

use std::time::Duration;

use modelpool::pool::core::{
    Capability, Engine, ModelCondition, Outbox, Pool, PoolConfig, PoolError, RequestOptions, Slot,
};
use modelpool::testing::{Act, Point, Steering};
use modelpool::{ModelError, ModelInfo, ModelSpec, StepContext};

use crate::settings::restarting_at_once;
use crate::universe::{PATIENCE, Universe, config, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_runs_the_model() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let embedder = universe.register(steering.embedder("m", 100)).unwrap();
    within(universe.probe(&embedder)).await.unwrap();
    assert_eq!(steering.steps(), [["probe"]]);
    assert_eq!(universe.status().models[0].metrics.answered, 1);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_tells_what_a_request_would_be_told() {
    let steering = Steering::new();
    let mut settings = restarting_at_once();
    settings.restart.max_failures = 1;
    let universe = Universe::new(settings).await;
    let spec = steering.embedder("m", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    steering.on_text("probe", Act::Fail);
    let error = within(universe.probe(&embedder)).await.unwrap_err();
    assert!(matches!(error, PoolError::Model { .. }), "{error}");

    steering.script(Point::Step, [Act::Wait]);
    let hurried = embedder.with(RequestOptions::default().deadline(Duration::from_millis(30)));
    let error = within(universe.probe(&hurried)).await.unwrap_err();
    assert!(
        matches!(error, PoolError::DeadlineExceeded { .. }),
        "{error}"
    );
    steering.open(Point::Step);

    let broken = Steering::new();
    broken.always(Point::Load, Act::Fail);
    let broken = universe.register(broken.embedder("broken", 100)).unwrap();
    let error = within(universe.probe(&broken)).await.unwrap_err();
    assert!(matches!(error, PoolError::LoadFailed { .. }), "{error}");
    let error = within(universe.probe(&broken)).await.unwrap_err();
    assert!(matches!(error, PoolError::Unavailable { .. }), "{error}");
    universe.close().await;
}

/// A capability without a probe request.
struct Mute;

struct MuteEngine;

impl Capability for Mute {
    const NAME: &'static str = "mute";
    type Model = ();
    type Request = ();
    type Item = ();
    type CallerSide = ();
    type Engine = MuteEngine;

    fn engine(_model: Box<()>) -> MuteEngine {
        MuteEngine
    }
}

impl Engine<Mute> for MuteEngine {
    fn has_room_for(&self, _request: &()) -> bool {
        true
    }

    fn admit(&mut self, _slot: Slot, _request: std::sync::Arc<()>) {}

    fn remove(&mut self, _slot: Slot) {}

    fn step(
        &mut self,
        _context: &StepContext,
        _outbox: &mut Outbox<'_, Mute>,
    ) -> Result<(), ModelError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capability_without_a_probe_request_says_so_and_loads_nothing() {
    let universe = Universe::new(config()).await;
    let loader = std::sync::Arc::new(|| Ok(Box::new(())));
    let spec = ModelSpec::<Mute>::with_caller_side(ModelInfo::new("mute", 1), (), loader);
    let mute = universe.register(spec).unwrap();
    let error = within(universe.probe(&mute)).await.unwrap_err();
    assert!(
        matches!(
            error,
            PoolError::NoProbe {
                capability: "mute",
                ..
            }
        ),
        "{error}"
    );
    assert!(universe.status().models[0].workers.is_empty());
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_is_live_and_ready_until_it_shuts_down() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let embedder = universe.register(steering.embedder("m", 100)).unwrap();
    let health = within(universe.health(PATIENCE)).await;
    assert!(health.is_live() && health.is_ready());
    assert_eq!(health.models[0].condition, ModelCondition::Cold);

    steering.script(Point::Load, [Act::Wait, Act::Wait]);
    let asked = tokio::spawn(async move { embedder.embed("a").await });
    within(steering.visited(Point::Load, 1)).await;
    let health = within(universe.health(PATIENCE)).await;
    assert_eq!(health.models[0].condition, ModelCondition::Loading);
    assert!(health.is_ready());
    steering.open(Point::Load);
    within(asked).await.unwrap().unwrap();
    let health = within(universe.health(PATIENCE)).await;
    assert_eq!(health.models[0].condition, ModelCondition::Serving);

    within(universe.shutdown(PATIENCE)).await;
    let health = within(universe.health(PATIENCE)).await;
    assert!(health.shutting_down && !health.is_live() && !health.is_ready());
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_takes_readiness_away_and_a_trial_brings_it_back() {
    let steering = Steering::new();
    let mut settings = restarting_at_once();
    settings.restart.max_failures = 1;
    settings.restart.cooldown = Duration::from_millis(300);
    let universe = Universe::new(settings).await;
    let spec = steering.embedder("flaky", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    steering.script(Point::Load, [Act::Fail]);
    within(embedder.embed("a")).await.unwrap_err();

    let health = within(universe.health(PATIENCE)).await;
    let ModelCondition::Unavailable { retry_after } = health.models[0].condition else {
        panic!("{health:?}");
    };
    assert!(health.is_live() && !health.is_ready());
    tokio::time::sleep(retry_after).await;
    within(universe.probe(&embedder)).await.unwrap();
    assert!(within(universe.health(PATIENCE)).await.is_ready());
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_threads_show_and_too_many_take_readiness_away() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Wait, Act::Wait]);
    let settings = PoolConfig {
        step_timeout: Duration::from_millis(200),
        max_stalled_workers: 2,
        ..restarting_at_once()
    };
    let mut universe = Universe::new(settings).await;
    let spec = steering.embedder("hangs", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    within(embedder.embed("a")).await.unwrap_err();
    let health = within(universe.health(PATIENCE)).await;
    assert_eq!(health.models[0].abandoned_workers, 1);
    assert!(health.is_ready(), "another serves");
    within(embedder.embed("a")).await.unwrap_err();
    let health = within(universe.health(PATIENCE)).await;
    let condition = health.models[0].condition;
    assert_eq!(condition, ModelCondition::Stalled { threads: 2 });
    assert!(health.is_live() && !health.is_ready());

    steering.open(Point::Step);
    for _ in 0..2 {
        universe
            .event(|event| event.kind == modelpool::pool::core::EventKind::Returned)
            .await;
    }
    assert!(within(universe.health(PATIENCE)).await.is_ready());
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_that_does_not_answer_is_not_live() {
    // The pool has a runtime with one thread of its own, which something blocks.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let pool = runtime
        .spawn(Pool::start(config()))
        .await
        .unwrap()
        .expect("the pool starts");
    assert!(pool.health(PATIENCE).await.is_live());
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    let (begun, began) = tokio::sync::oneshot::channel();
    let blocking = runtime.spawn(async move {
        begun.send(()).unwrap();
        blocked.recv().unwrap_err();
    });
    within(began).await.unwrap();

    let health = within(pool.health(Duration::from_millis(50))).await;
    assert!(!health.is_live() && !health.is_ready());

    drop(unblock);
    within(blocking).await.unwrap();
    assert!(pool.health(PATIENCE).await.is_live());
    within(pool.shutdown(PATIENCE)).await;
    runtime.shutdown_background();
}
