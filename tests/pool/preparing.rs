//! What is done for a request before it can be sent.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use futures_util::FutureExt;
use modelpool::pool::core::{PoolError, RequestOptions};
use modelpool::testing::{Point, Steering};
use modelpool::{EmbedInput, EmbedOptions, ModelError, TextPreparer};

use crate::universe::{Universe, config, within};

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
