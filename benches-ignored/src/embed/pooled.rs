//! MiniLM behind a pool.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use modelpool::models::EncoderPrecision;
use modelpool::pool::core::{EventKind, EventStream, ModelHandle, Pool, PoolConfig};
use modelpool::{ModelSpec, TextEmbedding};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::Failure;
use crate::summary::Spread;

/// Threads of the tokio runtime: callers prepare their texts on them.
const RUNTIME_THREADS: usize = 2;

/// A pool that serves MiniLM, and the runtime that asks it.
pub struct Pooled {
    runtime: Runtime,
    pool: Pool,
    handle: ModelHandle<TextEmbedding>,
}

impl Pooled {
    /// Starts a pool with `workers` workers, which share `threads` threads, and waits until all
    /// of them serve.
    ///
    /// # Errors
    /// Whatever keeps the model from being served.
    pub fn start(folder: &Path, threads: usize, workers: usize) -> Result<Self, Failure> {
        Self::start_as(folder, threads, workers, EncoderPrecision::F32)
    }

    /// The same, computed in other numbers.
    ///
    /// # Errors
    /// Whatever keeps the model from being served.
    pub fn start_as(
        folder: &Path,
        threads: usize,
        workers: usize,
        precision: EncoderPrecision,
    ) -> Result<Self, Failure> {
        let pooled = Self::open(folder, threads, workers, precision)?;
        while pooled.pool.status().models[0].metrics.loads < workers as u64 {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(pooled)
    }

    /// The same, but waits for the answer to one request and no longer.
    ///
    /// # Errors
    /// Whatever keeps the model from being served.
    pub fn first_answer(folder: &Path, threads: usize, workers: usize) -> Result<Self, Failure> {
        Self::open(folder, threads, workers, EncoderPrecision::F32)
    }

    fn open(
        folder: &Path,
        threads: usize,
        workers: usize,
        precision: EncoderPrecision,
    ) -> Result<Self, Failure> {
        let pooled = Self::begin(folder, precision, |config| {
            config.compute_threads = threads;
            config.cold_start_workers = workers;
            config.max_workers = workers;
        })?;
        pooled.runtime.block_on(pooled.handle.embed("hello"))?;
        Ok(pooled)
    }

    /// A pool that knows the model and has not loaded it.
    fn begin(
        folder: &Path,
        precision: EncoderPrecision,
        set: impl FnOnce(&mut PoolConfig),
    ) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(RUNTIME_THREADS)
            .enable_all()
            .build()?;
        let mut config = PoolConfig::default();
        set(&mut config);
        let (pool, handle) = runtime.block_on(async {
            let pool = Pool::start(config).await?;
            let spec = ModelSpec::<TextEmbedding>::folder_as(folder, precision)?;
            let handle = pool.register(spec)?;
            Ok::<_, Failure>((pool, handle))
        })?;
        Ok(Self {
            runtime,
            pool,
            handle,
        })
    }

    /// Seconds from the pool's decision to start a worker until that serves: of the first one, which
    /// loads the model, and of the second one, which is started because the first is busy.
    ///
    /// # Errors
    /// Whatever keeps the model from being served.
    pub fn first_and_second(folder: &Path, threads: usize) -> Result<[f64; 2], Failure> {
        let pooled = Self::begin(folder, EncoderPrecision::F32, |config| {
            config.compute_threads = threads;
            config.cold_start_workers = 1;
            config.max_workers = 2;
            config.expand_after = Duration::from_millis(1);
        })?;
        pooled.runtime.block_on(async {
            let mut events = pooled.pool.events();
            pooled.handle.embed("hello").await?;
            let first = start_of_a_worker(&mut events).await?;
            let texts = vec!["more work than one worker has done at once ".repeat(20); 64];
            let handle = pooled.handle.clone();
            let busy =
                tokio::spawn(
                    async move { while handle.embed_batch(texts.clone()).await.is_ok() {} },
                );
            let second = start_of_a_worker(&mut events).await;
            busy.abort();
            Ok([first, second?])
        })
    }

    /// Seconds until `callers` tasks, each with one request at a time, have embedded all texts.
    ///
    /// # Errors
    /// The first request that fails.
    pub fn by_callers(&self, texts: &[String], callers: usize) -> Result<f64, Failure> {
        let texts: Arc<[String]> = texts.into();
        let next = Arc::new(AtomicUsize::new(0));
        self.runtime.block_on(async {
            let began = Instant::now();
            let mut tasks = JoinSet::new();
            for _ in 0..callers {
                let (texts, next) = (Arc::clone(&texts), Arc::clone(&next));
                let handle = self.handle.clone();
                tasks.spawn(async move {
                    while let Some(text) = texts.get(next.fetch_add(1, Ordering::Relaxed)) {
                        handle.embed(text.as_str()).await?;
                    }
                    Ok::<_, Failure>(())
                });
            }
            while let Some(outcome) = tasks.join_next().await {
                outcome??;
            }
            Ok(began.elapsed().as_secs_f64())
        })
    }

    /// Seconds until one call has embedded all texts.
    ///
    /// # Errors
    /// If the call fails.
    pub fn by_batch(&self, texts: &[String]) -> Result<f64, Failure> {
        let began = Instant::now();
        let texts = texts.iter().map(String::as_str);
        self.runtime.block_on(self.handle.embed_batch(texts))?;
        Ok(began.elapsed().as_secs_f64())
    }

    /// The vectors of some texts, each asked for alone.
    ///
    /// # Errors
    /// The first request that fails.
    pub fn vectors(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Failure> {
        let one = |text: &String| Ok(self.runtime.block_on(self.handle.embed(text.as_str()))?);
        texts.iter().map(one).collect()
    }

    /// The median time of `times` requests for one text, one after the other, in milliseconds.
    ///
    /// # Errors
    /// The first request that fails.
    pub fn one(&self, text: &str, times: usize) -> Result<f64, Failure> {
        let handle = self.handle.clone();
        let text = text.to_owned();
        // On one of the runtime's own threads, as a service's handlers are.
        let task = self.runtime.spawn(async move {
            let mut taken = Vec::with_capacity(times);
            for _ in 0..times {
                let began = Instant::now();
                handle.embed(text.as_str()).await?;
                taken.push(began.elapsed().as_secs_f64() * 1e3);
            }
            Ok::<_, Failure>(taken)
        });
        Ok(Spread::of(self.runtime.block_on(task)??).median)
    }
}

/// Seconds from the decision to start the next worker until it serves.
async fn start_of_a_worker(events: &mut EventStream) -> Result<f64, Failure> {
    let mut decided = None::<SystemTime>;
    while let Some(event) = events.next().await {
        match (event.kind, decided) {
            (EventKind::Reserved { .. }, _) => decided = Some(event.at),
            (EventKind::Ready { .. }, Some(decided)) => {
                return Ok(event.at.duration_since(decided)?.as_secs_f64());
            }
            _ => {}
        }
    }
    Err("the pool ended before its worker served".into())
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.runtime
            .block_on(self.pool.shutdown(Duration::from_secs(5)));
    }
}
