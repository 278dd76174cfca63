//! What is done for a request before it can be sent.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use futures_util::FutureExt;
use modelpool::pool::core::{ModelHandle, PoolError, RequestOptions};
use modelpool::testing::{Act, Babbler, Point, Steering};
use modelpool::{
    EmbedInput, EmbedOptions, Embedding, GenerationParams, ModelError, TextEmbedding, TextPreparer,
};
use tokio::task::JoinHandle;

use crate::universe::{Universe, config, within};

struct Plain;

impl TextPreparer for Plain {
    fn prepare(&self, text: String, _: &EmbedOptions) -> Result<EmbedInput, ModelError> {
        Ok(EmbedInput {
            text,
            tokens: Vec::new(),
            dimensions: None,
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_while_it_is_prepared_is_counted() {
    struct Never;
    impl TextPreparer for Never {
        fn prepare(&self, _: String, _: &EmbedOptions) -> Result<EmbedInput, ModelError> {
            panic!("nothing gets this far")
        }
    }
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let universe = Universe::new(config()).await;
    let steering = Steering::new();
    let spec = steering.embedder("slow tokenizer", 100).preparer(move || {
        let _ = gate.lock().unwrap().recv();
        Ok(Never)
    });
    let embedder = universe.register(spec).unwrap();

    let hurried = embedder.with(RequestOptions::default().deadline(Duration::from_millis(5)));
    let expired = within(hurried.embed("expires")).await.unwrap_err();
    assert!(matches!(expired, PoolError::DeadlineExceeded { .. }));
    assert!(embedder.embed("leaves").now_or_never().is_none());

    let metrics = universe.status().models[0].metrics;
    assert_eq!((metrics.expired, metrics.cancelled), (1, 1));
    assert_eq!((metrics.accepted, metrics.ended()), (2, 2));
    drop(open);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_start_while_the_tokenizer_loads() {
    for is_batch in [false, true] {
        let (open, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let universe = Universe::new(config()).await;
        let steering = Steering::new();
        let spec = steering.embedder("slow tokenizer", 100).preparer(move || {
            let _ = gate.lock().unwrap().recv();
            Ok(Plain)
        });
        let embedder = universe.register(spec).unwrap();
        let asked = tokio::spawn(async move {
            match is_batch {
                false => embedder.embed("a text").await.map(drop),
                true => embedder.embed_batch(["a text"]).await.map(drop),
            }
        });

        within(steering.visited(Point::Load, 1)).await;

        drop(open);
        within(asked).await.unwrap().unwrap();
        universe.close().await;
    }
}

/// A preparer that counts how often it is loaded.
fn counted(loads: &Arc<AtomicUsize>) -> impl Fn() -> Result<Plain, ModelError> + use<> {
    let loads = Arc::clone(loads);
    move || {
        loads.fetch_add(1, Ordering::SeqCst);
        Ok(Plain)
    }
}

type Asked = JoinHandle<Result<Embedding, PoolError>>;

/// Asks the model that was registered last one thing after the other: each is prepared when the one before has been.
async fn line_up(
    universe: &Universe,
    embedder: &ModelHandle<TextEmbedding>,
    count: usize,
) -> Vec<Asked> {
    let mut asked = Vec::new();
    for waiting in 1..=count {
        let embedder = embedder.clone();
        asked.push(tokio::spawn(async move { embedder.embed("a text").await }));
        let lines_up = || universe.status().models.last().unwrap().queue.interactive;
        while lines_up() < waiting {
            tokio::task::yield_now().await;
        }
    }
    asked
}

async fn all_answered(asked: Vec<Asked>) {
    for answer in asked {
        within(answer).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tokenizer_is_loaded_once_however_long_the_workers_load() {
    let universe = Universe::new(config()).await;
    let steering = Steering::new();
    steering.script(Point::Load, [Act::Wait]);
    let loads = Arc::new(AtomicUsize::new(0));
    let spec = steering.embedder("slow weights", 100).max_workers(1);
    let embedder = universe.register(spec.preparer(counted(&loads))).unwrap();
    let asked = line_up(&universe, &embedder, 3).await;
    let batch = tokio::spawn({
        let embedder = embedder.clone();
        async move { embedder.embed_batch(["one", "two"]).await }
    });
    while universe.status().models[0].queue.batch < 2 {
        tokio::task::yield_now().await;
    }

    steering.open(Point::Load);
    all_answered(asked).await;
    within(batch).await.unwrap().unwrap();
    within(embedder.embed("later")).await.unwrap();

    assert_eq!(loads.load(Ordering::SeqCst), 1);
    universe.close().await;
}

/// A model that has all the memory, and is busy until its step is opened.
async fn without_room(universe: &Universe) -> (Steering, Asked) {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Wait]);
    let large = steering.embedder("large", 500).max_workers(1);
    let large = universe.register(large).unwrap();
    let busy = tokio::spawn(async move { large.embed("a text").await });
    within(steering.visited(Point::Step, 1)).await;
    (steering, busy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_keeps_its_tokenizer_where_no_worker_can_be_started() {
    let universe = Universe::new(config()).await;
    let (steering, busy) = without_room(&universe).await;

    let loads = Arc::new(AtomicUsize::new(0));
    let other = Steering::new();
    let spec = other.embedder("waits", 500).max_workers(1);
    let embedder = universe.register(spec.preparer(counted(&loads))).unwrap();
    let asked = line_up(&universe, &embedder, 2).await;
    assert_eq!(other.visits(Point::Load), 0, "there is no room");

    steering.open(Point::Step);
    within(busy).await.unwrap().unwrap();
    all_answered(asked).await;
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_warms_a_model_has_its_tokenizer_loaded_beside_its_weights() {
    let universe = Universe::new(config()).await;
    let steering = Steering::new();
    steering.script(Point::Load, [Act::Wait]);
    let (began, begin) = mpsc::channel::<()>();
    let spec = steering.embedder("both", 100).max_workers(1);
    let spec = spec.preparer(move || {
        began
            .send(())
            .map_err(|_| ModelError::Other("nobody waits".to_owned()))?;
        Ok(Plain)
    });
    let embedder = universe.register(spec).unwrap();
    let warm = tokio::spawn({
        let pool = universe.clone();
        let embedder = embedder.clone();
        async move { pool.warm(&embedder).await }
    });

    // The weights are waited for, and the tokenizer does not wait for them.
    within(tokio::task::spawn_blocking(move || begin.recv()))
        .await
        .unwrap()
        .unwrap();
    steering.open(Point::Load);

    within(warm).await.unwrap().unwrap();
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tokenizer_that_cannot_be_loaded_fails_who_warms() {
    let universe = Universe::new(config()).await;
    for panics in [false, true] {
        let steering = Steering::new();
        let name = if panics { "panics" } else { "fails" };
        let spec = steering.embedder(name, 100).max_workers(1);
        let spec = spec.preparer(move || -> Result<Plain, ModelError> {
            assert!(!panics, "a tokenizer that panics");
            Err(ModelError::Other("no tokenizer".to_owned()))
        });
        let embedder = universe.register(spec).unwrap();
        let error = within(universe.warm(&embedder)).await.unwrap_err();
        assert!(matches!(error, PoolError::LoadFailed { .. }), "{error}");
    }
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_keeps_its_language_before_a_worker_is_there() {
    let universe = Universe::new(config()).await;
    let (steering, busy) = without_room(&universe).await;

    let loads = Arc::new(AtomicUsize::new(0));
    let other = Steering::new();
    let spec = other.babbler("talks", 500, Babbler::LIMITS);
    let spec = spec.max_workers(1).language({
        let loads = Arc::clone(&loads);
        move || {
            loads.fetch_add(1, Ordering::SeqCst);
            Babbler::language()
        }
    });
    let talker = universe.register(spec).unwrap();
    let params = || GenerationParams::default().max_tokens(2);
    let mut streams = Vec::new();
    for _ in 0..2 {
        streams.push(within(talker.prompt("once", params())).await.unwrap());
    }
    assert_eq!(other.visits(Point::Load), 0, "there is no room");

    steering.open(Point::Step);
    within(busy).await.unwrap().unwrap();
    for stream in streams {
        within(stream.collect()).await.unwrap();
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    universe.close().await;
}
