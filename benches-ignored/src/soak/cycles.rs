//! Loads and unloads real models again and again, and looks at what the process keeps.

use std::time::{Duration, Instant};

use modelpool::models::DecoderOptions;
use modelpool::pool::core::{Capability, ModelHandle, Pool, PoolConfig};
use modelpool::{GenerationParams, ModelSpec, PoolError, TextEmbedding, TextToText};

/// Only a hang exceeds it.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the process held at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Held {
    pub resident_bytes: u64,
    pub threads: usize,
}

impl Held {
    /// Looks at this process.
    ///
    /// # Panics
    /// Where the system does not tell.
    pub fn now() -> Self {
        let pid = sysinfo::Pid::from_u32(std::process::id());
        let mut system = sysinfo::System::new().expect("a system that can be looked at");
        system.refresh_processes_specifics(
            sysinfo::ProcessesToUpdate::Some(&[pid]),
            false,
            sysinfo::ProcessRefreshKind::nothing()
                .with_memory()
                .with_tasks(),
        );
        let process = system.process(pid).expect("this process");
        Self {
            resident_bytes: process.memory(),
            threads: process.tasks().map_or(1, |tasks| tasks.len()),
        }
    }
}

/// One load and unload.
#[derive(Debug, Clone, Copy)]
pub struct Cycle {
    pub loaded: Held,
    pub unloaded: Held,
}

/// A model that can be asked something small.
#[derive(Clone)]
pub enum Soaked {
    Embedder(ModelHandle<TextEmbedding>),
    Writer(ModelHandle<TextToText>),
}

impl Soaked {
    pub fn embedder(pool: &Pool, spec: ModelSpec<TextEmbedding>) -> Self {
        Self::Embedder(registered(pool, spec))
    }

    pub fn writer(pool: &Pool, path: &std::path::Path) -> Self {
        let options = DecoderOptions::default()
            .context_tokens(256)
            .cache_tokens(512);
        let spec = ModelSpec::<TextToText>::gguf(path, options).expect("a sound model");
        Self::Writer(registered(pool, spec))
    }

    async fn ask(&self) -> Result<(), PoolError> {
        match self {
            Self::Embedder(model) => drop(model.embed("a text of a few words").await?),
            Self::Writer(model) => {
                let params = GenerationParams::default().max_tokens(2);
                let tokens = model.prompt("The capital of France is", params).await?;
                drop(tokens.collect().await?);
            }
        }
        Ok(())
    }
}

fn registered<C: Capability>(pool: &Pool, spec: ModelSpec<C>) -> ModelHandle<C> {
    pool.register(spec.max_workers(2)).expect("a new name")
}

/// A pool that unloads what is idle at once.
pub async fn pool() -> Pool {
    let config = PoolConfig {
        idle_after: Duration::from_millis(5),
        compute_threads: 2,
        ..PoolConfig::default()
    };
    Pool::start(config).await.expect("the pool starts")
}

/// Asks a model that is not loaded, some callers at once, then waits until it is unloaded again.
///
/// # Errors
/// A request that failed, or a model that stays loaded.
pub async fn cycle(pool: &Pool, model: &Soaked) -> Result<Cycle, String> {
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let model = model.clone();
            tokio::spawn(async move { model.ask().await })
        })
        .collect();
    let mut loaded = Held::default();
    for caller in callers {
        let answered = caller.await.map_err(|error| error.to_string())?;
        answered.map_err(|error| format!("{error:?}"))?;
        let held = Held::now();
        loaded.resident_bytes = loaded.resident_bytes.max(held.resident_bytes);
        loaded.threads = loaded.threads.max(held.threads);
    }
    let started = Instant::now();
    while pool.status().threads > 0 || pool.status().memory.reserved_mb > 0 {
        if started.elapsed() > PATIENCE {
            return Err(format!("still loaded: {:?}", pool.status()));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(Cycle {
        loaded,
        unloaded: Held::now(),
    })
}

/// By how much `later` exceeds `earlier`, as a fraction of it.
pub fn growth(earlier: u64, later: u64) -> f64 {
    later as f64 / earlier as f64 - 1.0
}
