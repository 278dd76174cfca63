//! How long a model is away after a panic, and panics on threads that are not the worker's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use modelpool::pool::core::{PoolConfig, RestartConfig};

use crate::models::model;
use crate::universe::{Universe, config, within};

/// Restarts at once, however often, so that what is measured is the supervision.
fn supervision_only() -> PoolConfig {
    PoolConfig {
        restart: RestartConfig {
            initial_backoff: Duration::ZERO,
            max_failures: usize::MAX,
            ..RestartConfig::default()
        },
        ..config()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_panic_to_the_answer_of_the_next_worker() {
    const PANICS: usize = 100;
    let universe = Universe::new(supervision_only()).await;
    let panicked_at: Arc<Mutex<Option<Instant>>> = Arc::default();
    let spec = model("m", {
        let panicked_at = Arc::clone(&panicked_at);
        move |_| {
            let mut at = panicked_at.lock().unwrap();
            if at.is_none() {
                *at = Some(Instant::now());
                drop(at);
                panic!("as the test wants it");
            }
            Ok(1.0)
        }
    });
    let embedder = universe.register(spec).unwrap();
    let mut away = Vec::new();
    for _ in 0..PANICS {
        *panicked_at.lock().unwrap() = None;
        // The same request, which the panic puts back into the queue.
        within(embedder.embed("a")).await.unwrap();
        let at = panicked_at.lock().unwrap().expect("it has panicked");
        away.push(at.elapsed());
    }
    away.sort();
    println!(
        "from a panic to the answer, without backoff and with a load that takes no time: \
         median {:?}, 95 of 100 {:?}, longest {:?}",
        away[PANICS / 2],
        away[PANICS * 95 / 100],
        away[PANICS - 1]
    );
    assert_eq!(
        universe.status().models[0].metrics.worker_failures,
        PANICS as u64
    );
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_on_a_thread_of_the_global_rayon_pool_is_the_models_own() {
    let universe = Universe::new(supervision_only()).await;
    let once = Arc::new(AtomicBool::new(true));
    let in_rayon = move |_: &str| {
        let sum = Mutex::new(0.0);
        rayon::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|_| {
                    if once.swap(false, Ordering::AcqRel) {
                        panic!("as the test wants it");
                    }
                    *sum.lock().unwrap() += 1.0;
                });
            }
        });
        Ok(sum.into_inner().unwrap())
    };
    let breaks = universe.register(model("breaks", in_rayon)).unwrap();
    let other = |_: &str| Ok(rayon::join(|| 1.0, || 2.0).1);
    let other = universe.register(model("other", other)).unwrap();

    within(other.embed("a")).await.unwrap();
    assert_eq!(within(breaks.embed("b")).await.unwrap(), [8.0]);
    assert_eq!(within(other.embed("c")).await.unwrap(), [2.0]);
    let models = universe.status().models;
    assert_eq!(models[0].metrics.worker_failures, 1);
    assert_eq!(models[1].metrics.worker_failures, 0);
    universe.close().await;
}
