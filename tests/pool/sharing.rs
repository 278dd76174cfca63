//! Weights that the workers of a model share: loaded once, counted once, freed with the last.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use modelpool::pool::core::{EventKind, MIB, PoolConfig, StartReason};
use modelpool::testing::Steering;
use modelpool::{
    CandleModel, EmbedInput, Embedding, ModelError, ModelInfo, ModelSpec, PoolError, StepContext,
    TextEmbedding, TextEmbeddingCapable,
};

use crate::universe::{Universe, config, within};

/// What happened to the weights of a test's model.
#[derive(Default)]
struct Count {
    loads: AtomicUsize,
    frees: AtomicUsize,
    workers: AtomicUsize,
    fail_loads: AtomicUsize,
    /// While closed, steps wait.
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Count {
    fn figures(&self) -> [usize; 3] {
        [&self.loads, &self.workers, &self.frees].map(|count| count.load(Ordering::Acquire))
    }

    fn close(&self) {
        *self.closed.lock().unwrap() = true;
    }

    fn open(&self) {
        *self.closed.lock().unwrap() = false;
        self.opened.notify_all();
    }
}

struct Weights {
    count: Arc<Count>,
    value: f32,
}

impl Drop for Weights {
    fn drop(&mut self) {
        self.count.frees.fetch_add(1, Ordering::AcqRel);
    }
}

struct Sharing {
    info: ModelInfo,
    weights: Arc<Weights>,
}

impl CandleModel for Sharing {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl TextEmbeddingCapable for Sharing {
    fn embed_step(
        &mut self,
        inputs: &[&EmbedInput],
        _context: &StepContext,
    ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
        let count = &self.weights.count;
        let mut closed = count.closed.lock().unwrap();
        while *closed {
            closed = count.opened.wait(closed).unwrap();
        }
        Ok(inputs
            .iter()
            .map(|_| Ok(vec![self.weights.value]))
            .collect())
    }
}

/// A model of 400 MiB of weights, and 50 for each worker.
fn sharing(count: &Arc<Count>, name: &str) -> ModelSpec<TextEmbedding> {
    let info = ModelInfo::from_bytes(name, 400 * MIB, 50 * MIB);
    let (loading, making) = (Arc::clone(count), Arc::clone(count));
    ModelSpec::text_embedding_shared(
        info.clone(),
        move || {
            let loads = loading.loads.fetch_add(1, Ordering::AcqRel) + 1;
            if loads <= loading.fail_loads.load(Ordering::Acquire) {
                return Err(ModelError::Other("told to fail".to_owned()));
            }
            Ok(Weights {
                count: Arc::clone(&loading),
                value: loads as f32,
            })
        },
        move |weights| {
            making.workers.fetch_add(1, Ordering::AcqRel);
            Ok(Sharing {
                info: info.clone(),
                weights,
            })
        },
    )
}

#[test]
fn a_model_says_what_of_it_is_shared() {
    let info = ModelInfo::from_bytes("m", 3 * MIB + 1, MIB / 2);
    assert_eq!(info.est_memory_allocation_mb, 5, "each part rounded up");
    assert_eq!(info.shared_weights_bytes, 3 * MIB + 1);
    let json = serde_json::json!({ "name": "m", "est_memory_allocation_mb": 7 });
    let old: ModelInfo = serde_json::from_value(json).unwrap();
    assert_eq!(
        old,
        ModelInfo::new("m", 7),
        "what is not said is not shared"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_costs_no_second_load_and_its_own_bytes_only() {
    let count = Arc::new(Count::default());
    let mut universe = Universe::new(config()).await;
    let model = universe.register(sharing(&count, "m")).unwrap();
    within(model.embed("a")).await.unwrap();
    let mut reserved = Vec::new();
    for _ in 0..2 {
        let event = universe
            .event(|event| matches!(event.kind, EventKind::Reserved { .. }))
            .await;
        let EventKind::Reserved { bytes, .. } = event.kind else {
            unreachable!();
        };
        reserved.push(bytes / MIB);
    }
    while universe.status().models[0].metrics.loads < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(reserved, [450, 50]);
    assert_eq!(count.figures(), [1, 2, 0]);
    let status = universe.status();
    assert_eq!(
        (status.memory.reserved_mb, status.memory.peak_mb),
        (500, 500)
    );
    assert_eq!(status.models[0].shared_weights_mb, 400);
    for worker in &status.models[0].workers {
        assert_eq!(worker.reserved_mb, 50);
    }
    universe.close().await;
    assert_eq!(count.figures(), [1, 2, 1], "freed once, with the last");
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_workers_fit_where_two_would_not_if_they_shared_nothing() {
    let count = Arc::new(Count::default());
    let settings = PoolConfig {
        expand_after: Duration::from_millis(1),
        ..config()
    };
    let mut universe = Universe::new(settings).await;
    let model = universe.register(sharing(&count, "m")).unwrap();
    count.close();
    // Each text fills a step, so that one is always left over.
    let callers: Vec<_> = (0..20)
        .map(|n| {
            let model = model.clone();
            tokio::spawn(async move { model.embed(format!("{n:02048}")).await })
        })
        .collect();
    universe.ready(8).await;
    assert_eq!(count.figures(), [1, 8, 0]);
    assert_eq!(universe.status().memory.reserved_mb, 800);
    count.open();
    for caller in callers {
        within(caller).await.unwrap().unwrap();
    }
    universe.close().await;
    assert_eq!(count.figures(), [1, 8, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_go_with_the_last_worker_and_are_loaded_anew() {
    let count = Arc::new(Count::default());
    let steering = Steering::new();
    let mut universe = Universe::new(config()).await;
    let model = universe.register(sharing(&count, "m")).unwrap();
    let large = universe.register(steering.embedder("large", 800)).unwrap();
    assert_eq!(within(model.embed("a")).await.unwrap(), [1.0]);
    universe.ready(2).await;

    within(large.embed("b")).await.unwrap();
    assert_eq!(count.figures(), [1, 2, 1], "both had to go");
    let status = universe.status();
    assert_eq!(status.memory.reserved_mb, 800);
    assert_eq!(status.models[0].shared_weights_mb, 0);

    assert_eq!(within(model.embed("c")).await.unwrap(), [2.0]);
    assert_eq!(universe.status().memory.peak_mb, 800);
    assert_eq!(count.loads.load(Ordering::Acquire), 2);
    universe.close().await;
    // The second worker may have begun only when the first had been told to go.
    let [loads, _, frees] = count.figures();
    assert_eq!(loads, frees);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_gives_way_and_the_weights_stay() {
    let count = Arc::new(Count::default());
    let steering = Steering::new();
    let mut universe = Universe::new(config()).await;
    let model = universe.register(sharing(&count, "m")).unwrap();
    let small = universe
        .register(steering.embedder("small", 350).max_workers(1))
        .unwrap();
    within(model.embed("a")).await.unwrap();
    universe.ready(2).await;

    within(small.embed("b")).await.unwrap();
    universe
        .event(|event| event.kind == EventKind::Evicted)
        .await;
    let status = universe.status();
    assert_eq!(status.models[0].workers.len(), 1);
    assert_eq!(status.models[0].shared_weights_mb, 400);
    assert_eq!(status.memory.reserved_mb, 800);
    assert_eq!(count.figures(), [1, 2, 0]);
    assert_eq!(within(model.embed("c")).await.unwrap(), [1.0]);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_fails_holds_nothing() {
    let count = Arc::new(Count::default());
    count.fail_loads.store(2, Ordering::Release);
    let mut universe = Universe::new(config()).await;
    let model = universe.register(sharing(&count, "m")).unwrap();
    let error = within(model.embed("a")).await.unwrap_err();
    assert!(matches!(error, PoolError::LoadFailed { .. }), "{error}");
    for _ in 0..2 {
        universe
            .event(|event| matches!(event.kind, EventKind::Failed { .. }))
            .await;
    }
    assert_eq!(universe.status().memory.reserved_mb, 0);

    within(model.embed("b")).await.unwrap();
    let restarted = universe
        .event(|event| {
            matches!(
                event.kind,
                EventKind::Reserved {
                    reason: StartReason::Restart,
                    ..
                }
            )
        })
        .await;
    assert_eq!(
        restarted.kind,
        EventKind::Reserved {
            bytes: 450 * MIB,
            reason: StartReason::Restart
        }
    );
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_shared_than_there_is_is_refused() {
    let universe = Universe::new(config()).await;
    let info = ModelInfo::new("m", 1).shared_weights(MIB + 1);
    let spec = ModelSpec::text_embedding_shared(
        info.clone(),
        || Ok(()),
        |_| Err::<Sharing, _>(ModelError::Other("never".to_owned())),
    );
    let error = universe.register(spec).unwrap_err();
    assert!(
        matches!(
            error,
            PoolError::InvalidConfig {
                field: "shared_weights_bytes",
                ..
            }
        ),
        "{error}"
    );
    universe.close().await;
}
