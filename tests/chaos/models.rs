//! The models of a chaos run.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use modelpool::TextEmbedding;
use modelpool::pool::core::{FixedProbe, ModelHandle, Pool, PoolConfig, PoolError, RestartConfig};
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
    /// Guests come and go, and are replaced: the books of the pool go with them.
    pub is_guest: bool,
    asked: Arc<Mutex<Asked>>,
    est_mb: u64,
}

impl Model {
    /// The handle that is asked now.
    pub fn asked(&self) -> Asked {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a new version in the model's place.
    pub async fn replace(&self, pool: &Pool, grace: Duration) -> Result<(), PoolError> {
        let (name, est_mb) = (&*self.name, self.est_mb);
        match self.asked() {
            Asked::Once(old) => {
                let new = self.steering.embedder(name, est_mb);
                pool.replace(&old, new, grace).await?;
            }
            Asked::Stream(old) => {
                let new = self.steering.reciter(name, est_mb);
                pool.replace(&old, new, grace).await?;
            }
        }
        Ok(())
    }

    /// Takes the model out of the pool and brings it back.
    pub async fn leave_and_return(&self, pool: &Pool, grace: Duration) -> Result<(), PoolError> {
        let (name, est_mb) = (&*self.name, self.est_mb);
        let returned = match self.asked() {
            Asked::Once(old) => {
                pool.unregister(&old, grace).await?;
                Asked::Once(pool.register(self.steering.embedder(name, est_mb))?)
            }
            Asked::Stream(old) => {
                pool.unregister(&old, grace).await?;
                Asked::Stream(pool.register(self.steering.reciter(name, est_mb))?)
            }
        };
        *self.lock() = returned;
        Ok(())
    }
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

/// Registers the models: small and large ones of both kinds, one with a short queue, two guests, and
/// last one that can never fit.
///
/// # Panics
/// If a name is taken.
pub fn register(pool: &Pool) -> Vec<Model> {
    let model = |name: &str, est_mb, steering, asked| Model {
        name: name.to_owned(),
        steering,
        is_guest: name.starts_with("guest"),
        asked: Arc::new(Mutex::new(asked)),
        est_mb,
    };
    let once = |name: &str, est_mb, capacity| {
        let steering = steering();
        let spec = steering.embedder(name, est_mb).queue_capacity(capacity);
        let handle = pool.register(spec).expect("a new name");
        model(name, est_mb, steering, Asked::Once(handle))
    };
    let stream = |name: &str, est_mb| {
        let steering = steering();
        let handle = pool.register(steering.reciter(name, est_mb));
        let handle = handle.expect("a new name");
        model(name, est_mb, steering, Asked::Stream(handle))
    };
    vec![
        once("small", 60, 1024),
        once("large", 250, 1024),
        once("narrow", 40, 16),
        stream("poet", 60),
        stream("bard", 300),
        once("guest", 50, 1024),
        stream("guest poet", 50),
        once("never", 2000, 64),
    ]
}
