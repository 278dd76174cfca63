//! The models of a chaos run.

use std::sync::Arc;
use std::time::Duration;

use modelpool::TextEmbedding;
use modelpool::pool::core::{FixedProbe, ModelHandle, Pool, PoolConfig, RestartConfig};
use modelpool::testing::{Act, Recital, Steering};

/// A text, or a word of a recital, that its model finds fault with.
pub const FAULTY: &str = "faulty";
/// One that kills the worker.
pub const POISON: &str = "poison";

/// Longer than any step or load takes unless it hangs.
pub const STEP_TIMEOUT: Duration = Duration::from_millis(150);

/// A model and what steers it.
#[derive(Clone)]
pub struct Model {
    pub name: String,
    pub steering: Steering,
    pub asked: Asked,
}

/// A handle of either kind.
#[derive(Clone)]
pub enum Asked {
    Once(ModelHandle<TextEmbedding>),
    Stream(ModelHandle<Recital>),
}

/// Settings under which everything comes soon: expansion, idleness, restarts and breakers. The
/// machine is too small for all models at once.
pub fn config(seed: u64) -> PoolConfig {
    PoolConfig {
        probe: Arc::new(FixedProbe { total_mb: 1000 }),
        max_workers: 3,
        compute_threads: 2,
        idle_after: Duration::from_millis(300),
        expand_after: Duration::from_millis(3),
        step_timeout: STEP_TIMEOUT,
        load_timeout: STEP_TIMEOUT,
        max_stalled_workers: 2,
        restart: RestartConfig {
            initial_backoff: Duration::from_millis(1),
            max_backoff: Duration::from_millis(20),
            max_failures: 6,
            window: Duration::from_millis(100),
            cooldown: Duration::from_millis(40),
        },
        jitter_seed: Some(seed),
        ..PoolConfig::default()
    }
}

fn steering() -> Steering {
    let steering = Steering::unrecorded();
    steering.on_text(FAULTY, Act::Fail);
    steering.on_text(POISON, Act::Panic);
    steering
}

/// Registers the models: small and large ones of both kinds, one with a short queue, and last one
/// that can never fit.
///
/// # Panics
/// If a name is taken.
pub fn register(pool: &Pool) -> Vec<Model> {
    let once = |name: &str, est_mb, capacity| {
        let steering = steering();
        let spec = steering.embedder(name, est_mb).queue_capacity(capacity);
        Model {
            name: name.to_owned(),
            asked: Asked::Once(pool.register(spec).expect("a new name")),
            steering,
        }
    };
    let stream = |name: &str, est_mb| {
        let steering = steering();
        let spec = steering.reciter(name, est_mb);
        Model {
            name: name.to_owned(),
            asked: Asked::Stream(pool.register(spec).expect("a new name")),
            steering,
        }
    };
    vec![
        once("small", 60, 1024),
        once("large", 250, 1024),
        once("narrow", 40, 16),
        stream("poet", 60),
        stream("bard", 300),
        once("never", 2000, 64),
    ]
}
