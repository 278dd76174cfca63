//! A decoder behind a pool.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use modelpool::models::DecoderOptions;
use modelpool::pool::core::{ModelHandle, Pool, PoolConfig};
use modelpool::{GenerationParams, ModelSpec, TextToText, TokenStream};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::Failure;

/// A pool with one worker, and the runtime that asks it.
pub struct Pooled {
    runtime: Runtime,
    model: ModelHandle<TextToText>,
    _pool: Pool,
}

/// The time between tokens of running streams.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Gaps {
    pub before_p50_ms: f64,
    pub before_p99_ms: f64,
    /// While a prompt of context length is read beside them.
    pub during_p50_ms: f64,
    pub during_p99_ms: f64,
}

impl Pooled {
    /// Starts the pool and waits until the worker serves `streams` streams of `context` tokens.
    ///
    /// # Errors
    /// Whatever keeps the model from being served.
    pub fn start(
        file: &Path,
        threads: usize,
        streams: usize,
        context: usize,
    ) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let (pool, model) = runtime.block_on(async {
            let config = PoolConfig {
                compute_threads: threads,
                max_workers: 1,
                default_deadline: Duration::from_secs(600),
                ..PoolConfig::default()
            };
            let pool = Pool::start(config).await?;
            let options = DecoderOptions::default()
                .context_tokens(context)
                .cache_tokens(streams * context);
            let model = pool.register(ModelSpec::<TextToText>::gguf(file, options)?)?;
            pool.warm(&model).await?;
            Ok::<_, Failure>((pool, model))
        })?;
        Ok(Self {
            runtime,
            model,
            _pool: pool,
        })
    }

    fn begin(&self, prompt: Vec<u32>, tokens: usize) -> Result<TokenStream, Failure> {
        let params = GenerationParams::default().max_tokens(tokens);
        Ok(self.model.prompt_tokens(prompt, params.ignore_eos(true))?)
    }

    /// Seconds for about `tokens` further tokens of each prompt, all together, from the moment at
    /// which each has its first; and how many tokens those were.
    ///
    /// # Errors
    /// The first request that fails.
    pub fn decode(&self, prompts: &[Vec<u32>], tokens: usize) -> Result<(f64, usize), Failure> {
        self.runtime.block_on(async {
            let mut streams = Vec::new();
            for prompt in prompts {
                streams.push(self.begin(prompt.clone(), tokens + 1)?);
            }
            for stream in &mut streams {
                stream.next().await.ok_or("no token")??;
            }
            let began = Instant::now();
            let mut reading = JoinSet::new();
            for mut stream in streams {
                reading.spawn(async move {
                    let mut read = 0;
                    while let Some(chunk) = stream.next().await {
                        read += chunk?.tokens.len();
                    }
                    Ok::<_, modelpool::PoolError>(read)
                });
            }
            let mut read = 0;
            while let Some(outcome) = reading.join_next().await {
                read += outcome??;
            }
            Ok((began.elapsed().as_secs_f64(), read))
        })
    }

    /// Seconds until the first token after a prompt that the worker has not seen.
    ///
    /// # Errors
    /// If the request fails.
    pub fn read(&self, prompt: Vec<u32>) -> Result<f64, Failure> {
        self.runtime.block_on(async {
            let began = Instant::now();
            let mut stream = self.begin(prompt, 1)?;
            stream.next().await.ok_or("no token")??;
            Ok(began.elapsed().as_secs_f64())
        })
    }

    /// The time between tokens of one stream for each of `prompts`, before and while `long` is read.
    ///
    /// # Errors
    /// The first request that fails.
    pub fn gaps(
        &self,
        prompts: &[Vec<u32>],
        tokens: usize,
        long: Vec<u32>,
    ) -> Result<Gaps, Failure> {
        self.runtime.block_on(async {
            let mut reading = JoinSet::new();
            let under_way = Arc::new(Notify::new());
            for prompt in prompts {
                let mut stream = self.begin(prompt.clone(), tokens)?;
                let under_way = Arc::clone(&under_way);
                reading.spawn(async move {
                    let mut came = Vec::new();
                    while let Some(chunk) = stream.next().await {
                        chunk?;
                        came.push(Instant::now());
                        if came.len() == tokens / 3 {
                            under_way.notify_one();
                        }
                    }
                    Ok::<_, modelpool::PoolError>(came)
                });
            }
            under_way.notified().await;
            let began = Instant::now();
            let mut stream = self.begin(long, 1)?;
            stream.next().await.ok_or("no token")??;
            let ended = Instant::now();
            let (mut before, mut during) = (Vec::new(), Vec::new());
            while let Some(came) = reading.join_next().await {
                for pair in came??.windows(2) {
                    let gap = (pair[1] - pair[0]).as_secs_f64() * 1e3;
                    if pair[1] <= began {
                        before.push(gap);
                    } else if pair[0] <= ended {
                        during.push(gap);
                    }
                }
            }
            Ok(Gaps {
                before_p50_ms: quantile(&mut before, 0.5)?,
                before_p99_ms: quantile(&mut before, 0.99)?,
                during_p50_ms: quantile(&mut during, 0.5)?,
                during_p99_ms: quantile(&mut during, 0.99)?,
            })
        })
    }
}

fn quantile(values: &mut [f64], share: f64) -> Result<f64, Failure> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1).ok_or("no gaps were measured")?;
    Ok(values[(last as f64 * share).round() as usize])
}
