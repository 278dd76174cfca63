//! Ten times the work that a model can do: what is still done, how fast the rest is refused, and
//! whether anything is late.
//!
//! The model's step only sleeps, so that it has a capacity that the machine's other work does not
//! change. First that capacity is measured, with callers who wait for their answers; then ten times
//! as much is offered by callers who do not wait.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use modelpool::pool::core::{ModelHandle, Pool, PoolConfig, RequestOptions};
use modelpool::{
    CandleModel, EmbedInput, Embedding, ModelError, ModelInfo, ModelSpec, PoolError, StepContext,
    TextEmbedding, TextEmbeddingCapable,
};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::Failure;
use crate::arguments::Arguments;
use crate::environment::Environment;
use crate::results::Page;
use crate::summary::percentile;

const RUNTIME_THREADS: usize = 2;
const WORKERS: usize = 2;
const STEP: Duration = Duration::from_millis(4);
/// How many requests one step takes.
const STEP_REQUESTS: usize = 8;
/// How many requests may be under way: 20 steps of both workers.
const QUEUE: usize = 20 * WORKERS * STEP_REQUESTS;
const DEADLINE: Duration = Duration::from_millis(250);
const TIMES: u32 = 10;
/// How often the callers' arrivals are brought up to date.
const TICK: Duration = Duration::from_millis(1);

struct Sleeper(ModelInfo);

impl CandleModel for Sleeper {
    fn info(&self) -> &ModelInfo {
        &self.0
    }
}

impl TextEmbeddingCapable for Sleeper {
    fn max_step_tokens(&self) -> usize {
        STEP_REQUESTS
    }

    fn embed_step(
        &mut self,
        inputs: &[&EmbedInput],
        _context: &StepContext,
    ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
        std::thread::sleep(STEP);
        Ok(inputs.iter().map(|_| Ok(vec![1.0])).collect())
    }
}

/// What was seen of the requests of one phase.
#[derive(Default)]
struct Seen {
    answered: u64,
    expired: u64,
    other: u64,
    /// How long each refusal took, in nanoseconds.
    refusals: Vec<u32>,
    /// The longest that an accepted request ended after its deadline.
    latest: Duration,
}

#[derive(Debug, Serialize)]
struct Report {
    environment: Environment,
    seconds: f64,
    capacity_per_second: f64,
    offered_per_second: f64,
    goodput_per_second: f64,
    goodput_share: f64,
    refused: usize,
    refusal_median_micros: f64,
    refusal_p99_micros: f64,
    expired: u64,
    other_endings: u64,
    latest_after_deadline_millis: f64,
    step_millis: f64,
}

/// Runs the suite, prints its figures and keeps them.
///
/// # Errors
/// A pool that does not start, or results that cannot be written.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut environment = Environment::observe(&["modelpool", "ractor", "tokio"]);
    let time = arguments.round_time_or(Duration::from_secs(20), Duration::from_secs(3));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()?;
    let (capacity, offered, seen, took) = runtime.block_on(measure(time))?;
    environment.conclude();
    let mut refusals = seen.refusals;
    let goodput = seen.answered as f64 / took;
    let report = Report {
        environment,
        seconds: took,
        capacity_per_second: capacity,
        offered_per_second: offered,
        goodput_per_second: goodput,
        goodput_share: goodput / capacity,
        refused: refusals.len(),
        refusal_median_micros: f64::from(percentile(&mut refusals, 0.5)) / 1e3,
        refusal_p99_micros: f64::from(percentile(&mut refusals, 0.99)) / 1e3,
        expired: seen.expired,
        other_endings: seen.other,
        latest_after_deadline_millis: seen.latest.as_secs_f64() * 1e3,
        step_millis: STEP.as_secs_f64() * 1e3,
    };
    let markdown = report.to_markdown();
    let page = Page {
        name: "overload",
        report: &report,
        markdown,
        plots: Vec::new(),
    };
    page.publish(arguments.keep_results())
}

async fn measure(time: Duration) -> Result<(f64, f64, Seen, f64), Failure> {
    let config = PoolConfig {
        cold_start_workers: WORKERS,
        max_workers: WORKERS,
        ..PoolConfig::default()
    };
    let pool = Pool::start(config).await?;
    let info = ModelInfo::new("sleeper", 1);
    let spec = ModelSpec::text_embedding(info.clone(), move || Ok(Sleeper(info.clone())));
    let model = pool.register(spec.queue_capacity(QUEUE).min_workers(WORKERS))?;
    pool.warm(&model).await?;
    while pool.status().models[0].metrics.loads < WORKERS as u64 {
        tokio::time::sleep(TICK).await;
    }

    let capacity = closed_loop(&model, time / 4).await?;
    let started = Instant::now();
    let (offered, seen) = open_loop(&model, capacity * f64::from(TIMES), time).await;
    let took = started.elapsed().as_secs_f64();
    pool.shutdown(Duration::from_secs(5)).await;
    Ok((capacity, offered, seen, took))
}

/// What the model does when there is always work, and never too much.
async fn closed_loop(model: &ModelHandle<TextEmbedding>, time: Duration) -> Result<f64, Failure> {
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..4 * WORKERS * STEP_REQUESTS {
        let model = model.clone();
        callers.spawn(async move {
            let mut answered = 0u64;
            while started.elapsed() < time {
                model.embed("text").await?;
                answered += 1;
            }
            Ok::<u64, PoolError>(answered)
        });
    }
    let mut answered = 0;
    while let Some(caller) = callers.join_next().await {
        answered += caller??;
    }
    Ok(answered as f64 / started.elapsed().as_secs_f64())
}

/// Offers `rate` requests a second, answered or not. What is offered late, because the machine was
/// busy, is offered then.
async fn open_loop(model: &ModelHandle<TextEmbedding>, rate: f64, time: Duration) -> (f64, Seen) {
    let model = model.with(RequestOptions::default().deadline(DEADLINE));
    let seen = Arc::new(Mutex::new(Seen::default()));
    let started = Instant::now();
    let mut offered = 0u64;
    let mut waiting = JoinSet::new();
    let mut ticks = tokio::time::interval(TICK);
    while started.elapsed() < time {
        ticks.tick().await;
        let due = (started.elapsed().as_secs_f64() * rate) as u64;
        while offered < due {
            offered += 1;
            offer(&model, &seen, &mut waiting);
        }
        while waiting.try_join_next().is_some() {}
    }
    let rate = offered as f64 / started.elapsed().as_secs_f64();
    while waiting.join_next().await.is_some() {}
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    (rate, seen)
}

/// Asks once: a refusal is timed, and what is accepted waits for its end elsewhere.
fn offer(model: &ModelHandle<TextEmbedding>, seen: &Arc<Mutex<Seen>>, waiting: &mut JoinSet<()>) {
    let asked = Instant::now();
    let model = model.clone();
    let mut asking = Box::pin(async move { model.embed("text").await });
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    if let std::task::Poll::Ready(ended) = asking.as_mut().poll(&mut context) {
        let took = u32::try_from(asked.elapsed().as_nanos()).unwrap_or(u32::MAX);
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match ended {
            Err(PoolError::Overloaded { .. }) => seen.refusals.push(took),
            _ => seen.other += 1,
        }
        return;
    }
    let seen = Arc::clone(seen);
    waiting.spawn(async move {
        let ended = asking.await;
        let late = asked.elapsed().saturating_sub(DEADLINE);
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.latest = seen.latest.max(late);
        match ended {
            Ok(_) => seen.answered += 1,
            Err(PoolError::DeadlineExceeded { .. }) => seen.expired += 1,
            Err(_) => seen.other += 1,
        }
    });
}

impl Report {
    fn to_markdown(&self) -> String {
        format!(
            "# overload\n\n\
             Two workers whose step takes {STEP_REQUESTS} requests and {STEP:?}, a queue of {QUEUE}, deadlines of \
             {DEADLINE:?}. The capacity is what callers get who wait for their answers; then \
             {TIMES} times that is offered by callers who do not. Refusals are timed from the call.\n\n\
             {environment}\n\
             | | |\n| --- | ---: |\n\
             | capacity | {capacity:.0}/s |\n\
             | offered | {offered:.0}/s for {seconds:.1} s |\n\
             | goodput | {goodput:.0}/s, {share:.1} % of capacity |\n\
             | refused | {refused} |\n\
             | a refusal, median / p99 | {median:.1} µs / {p99:.1} µs |\n\
             | accepted, but expired | {expired} |\n\
             | other endings | {other} |\n\
             | latest ending after its deadline | {latest:.1} ms (a step takes {step:.0} ms) |\n",
            environment = self.environment.to_markdown(),
            capacity = self.capacity_per_second,
            offered = self.offered_per_second,
            seconds = self.seconds,
            goodput = self.goodput_per_second,
            share = self.goodput_share * 100.0,
            refused = self.refused,
            median = self.refusal_median_micros,
            p99 = self.refusal_p99_micros,
            expired = self.expired,
            other = self.other_endings,
            latest = self.latest_after_deadline_millis,
            step = self.step_millis,
        )
    }
}
