//! What is counted, and under which names.
//!
//! Everything is counted twice over: in the pool itself, to be read through
//! [`Pool::status`](super::Pool::status), and through the [`metrics`] facade, for whatever
//! recorder the service has installed *before* it asks its models.
//!
//! | name | kind | labels | meaning |
//! | --- | --- | --- | --- |
//! | `modelpool_requests_total` | counter | `model`, `ending` | requests that have ended, by how |
//! | `modelpool_request_seconds` | histogram | `model` | acceptance to ending |
//! | `modelpool_queue_seconds` | histogram | `model` | acceptance to a worker's hand |
//! | `modelpool_refused_total` | counter | `model` | requests refused because the queue was full |
//! | `modelpool_redelivered_total` | counter | `model` | times a request went back into its queue |
//! | `modelpool_step_seconds` | histogram | `model` | one step of the model |
//! | `modelpool_step_requests` | histogram | `model` | requests in one step |
//! | `modelpool_tokens_total` | counter | `model`, `kind` | tokens of prompts (`prompt`), those of them found in a cache (`reused`), and tokens `generated` |
//! | `modelpool_put_off_total` | counter | `model` | times a sequence lost its place in a cache to others |
//! | `modelpool_load_seconds` | histogram | `model` | loads that succeeded |
//! | `modelpool_workers` | gauge | `model` | live workers |
//! | `modelpool_worker_failures_total` | counter | `model` | loads that failed, workers that crashed or stalled |
//! | `modelpool_worker_stalls_total` | counter | `model` | workers given up because a step or load exceeded its limit |
//! | `modelpool_abandoned_workers` | gauge | `model` | threads given up that have not returned |
//! | `modelpool_load_resident_bytes` | gauge | `model` | growth of the resident set by the last load that was measured |
//! | `modelpool_release_resident_bytes` | gauge | `model` | what it shrank by at the last release that was measured |
//! | `modelpool_memory_pressure` | gauge | | 1 while memory is short outside of the pool |
//! | `modelpool_reserved_bytes` | gauge | `device` | bytes reserved in a device's ledger: `cpu`, `cuda:0`, … |

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use serde::{Deserialize, Serialize};

use super::error::PoolError;
use super::ids::JobId;
use super::memory::Device;
use super::report::TokenCounts;

/// How an accepted request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ending {
    /// With its answer.
    Answered,
    /// With an error of its own from the model.
    Failed,
    /// Its caller had gone.
    Cancelled,
    /// Its deadline passed.
    Expired,
    /// Its worker died after part of the stream was sent.
    Interrupted,
    /// Two workers died with it in hand.
    Poisoned,
    /// Its step, or the load that it waited for, exceeded its limit.
    Stalled,
    /// The model could not be had: memory, a failed load, an open breaker.
    Unserved,
    /// The pool shut down.
    ShutDown,
}

impl Ending {
    const ALL: [Self; 9] = [
        Self::Answered,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
        Self::Interrupted,
        Self::Poisoned,
        Self::Stalled,
        Self::Unserved,
        Self::ShutDown,
    ];

    /// The ending's name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Interrupted => "interrupted",
            Self::Poisoned => "poisoned",
            Self::Stalled => "stalled",
            Self::Unserved => "unserved",
            Self::ShutDown => "shut_down",
        }
    }

    pub(crate) fn of(error: &PoolError) -> Self {
        match error {
            PoolError::Model { .. } => Self::Failed,
            PoolError::DeadlineExceeded { .. } => Self::Expired,
            PoolError::Interrupted { .. } => Self::Interrupted,
            PoolError::Poisoned { .. } => Self::Poisoned,
            PoolError::Stalled { .. } => Self::Stalled,
            PoolError::ShuttingDown => Self::ShutDown,
            _ => Self::Unserved,
        }
    }
}

/// A model's counters since it was registered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PoolMetrics {
    /// Requests accepted.
    pub accepted: u64,
    /// Requests refused because the queue was full.
    pub refused: u64,
    /// Requests that ended with their answer.
    pub answered: u64,
    /// Requests that ended with an error of their own from the model.
    pub failed: u64,
    /// Requests whose callers had gone.
    pub cancelled: u64,
    /// Requests that passed their deadline.
    pub expired: u64,
    /// Streams that broke off.
    pub interrupted: u64,
    /// Requests given up after two workers died with them.
    pub poisoned: u64,
    /// Requests whose step, or whose model's load, exceeded its limit.
    pub stalled: u64,
    /// Requests whose model could not be had.
    pub unserved: u64,
    /// Requests ended by the pool's shutdown.
    pub shut_down: u64,
    /// Times a request went back into its queue.
    pub redelivered: u64,
    /// Steps run.
    pub steps: u64,
    /// Tokens of prompts and answers.
    pub tokens: TokenCounts,
    /// Loads that succeeded.
    pub loads: u64,
    /// Loads that failed, and workers that crashed or stalled.
    pub worker_failures: u64,
    /// Workers given up because a step or a load exceeded its limit.
    pub worker_stalls: u64,
}

impl PoolMetrics {
    /// All accepted requests that have ended, however.
    pub fn ended(&self) -> u64 {
        self.answered
            + self.failed
            + self.cancelled
            + self.expired
            + self.interrupted
            + self.poisoned
            + self.stalled
            + self.unserved
            + self.shut_down
    }
}

/// A model's counters, live.
pub(crate) struct ModelStats {
    accepted: AtomicU64,
    refused: AtomicU64,
    endings: [AtomicU64; Ending::ALL.len()],
    redelivered: AtomicU64,
    steps: AtomicU64,
    tokens: Mutex<TokenCounts>,
    loads: AtomicU64,
    worker_failures: AtomicU64,
    worker_stalls: AtomicU64,
    model: String,
    /// Made when something is first recorded: a model that nobody asks has no need of it.
    recorder: OnceLock<Box<Recorder>>,
}

/// The facade's instruments, looked up once.
struct Recorder {
    endings: [Counter; Ending::ALL.len()],
    refused: Counter,
    redelivered: Counter,
    worker_failures: Counter,
    worker_stalls: Counter,
    request_seconds: Histogram,
    queue_seconds: Histogram,
    step_seconds: Histogram,
    step_requests: Histogram,
    /// Of prompts, found in a cache, generated.
    tokens: [Counter; 3],
    put_off: Counter,
    load_seconds: Histogram,
    load_resident_bytes: Gauge,
    release_resident_bytes: Gauge,
    workers: Gauge,
    abandoned: Gauge,
}

impl Recorder {
    fn new(model: &str) -> Self {
        let model = model.to_owned();
        Self {
            endings: Ending::ALL.map(|ending| {
                counter!("modelpool_requests_total", "model" => model.clone(), "ending" => ending.as_str())
            }),
            refused: counter!("modelpool_refused_total", "model" => model.clone()),
            redelivered: counter!("modelpool_redelivered_total", "model" => model.clone()),
            worker_failures: counter!("modelpool_worker_failures_total", "model" => model.clone()),
            worker_stalls: counter!("modelpool_worker_stalls_total", "model" => model.clone()),
            abandoned: gauge!("modelpool_abandoned_workers", "model" => model.clone()),
            request_seconds: histogram!("modelpool_request_seconds", "model" => model.clone()),
            queue_seconds: histogram!("modelpool_queue_seconds", "model" => model.clone()),
            step_seconds: histogram!("modelpool_step_seconds", "model" => model.clone()),
            step_requests: histogram!("modelpool_step_requests", "model" => model.clone()),
            tokens: ["prompt", "reused", "generated"].map(|kind| {
                counter!("modelpool_tokens_total", "model" => model.clone(), "kind" => kind)
            }),
            put_off: counter!("modelpool_put_off_total", "model" => model.clone()),
            load_seconds: histogram!("modelpool_load_seconds", "model" => model.clone()),
            load_resident_bytes: gauge!("modelpool_load_resident_bytes", "model" => model.clone()),
            release_resident_bytes: gauge!("modelpool_release_resident_bytes", "model" => model.clone()),
            workers: gauge!("modelpool_workers", "model" => model),
        }
    }
}

impl fmt::Debug for ModelStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

impl ModelStats {
    pub(crate) fn new(model: &str) -> Self {
        Self {
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            endings: Default::default(),
            redelivered: AtomicU64::new(0),
            steps: AtomicU64::new(0),
            tokens: Mutex::default(),
            loads: AtomicU64::new(0),
            worker_failures: AtomicU64::new(0),
            worker_stalls: AtomicU64::new(0),
            model: model.to_owned(),
            recorder: OnceLock::new(),
        }
    }

    fn recorder(&self) -> &Recorder {
        self.recorder
            .get_or_init(|| Box::new(Recorder::new(&self.model)))
    }

    /// Makes the instruments, if nothing has been recorded yet.
    pub(crate) fn prepare(&self) {
        self.recorder();
    }

    /// Counts one more request; its number is its id.
    pub(crate) fn accepted(&self) -> JobId {
        JobId(self.accepted.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.recorder().refused.increment(1);
    }

    pub(crate) fn ended(&self, ending: Ending, after: Duration) {
        self.endings[ending as usize].fetch_add(1, Ordering::Relaxed);
        self.recorder().endings[ending as usize].increment(1);
        self.recorder().request_seconds.record(after);
    }

    pub(crate) fn redelivered(&self) {
        self.redelivered.fetch_add(1, Ordering::Relaxed);
        self.recorder().redelivered.increment(1);
    }

    pub(crate) fn queued_for(&self, waited: Duration) {
        self.recorder().queue_seconds.record(waited);
    }

    pub(crate) fn stepped(&self, requests: usize, took: Duration) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.recorder().step_requests.record(requests as f64);
        self.recorder().step_seconds.record(took);
    }

    pub(crate) fn counted(&self, tokens: TokenCounts) {
        if tokens == TokenCounts::default() {
            return;
        }
        // Nothing that can panic runs under the lock.
        *self.tokens.lock().unwrap_or_else(PoisonError::into_inner) += tokens;
        let counts = [tokens.prompt, tokens.reused, tokens.generated];
        for (counter, count) in self.recorder().tokens.iter().zip(counts) {
            counter.increment(count);
        }
        self.recorder().put_off.increment(tokens.put_off);
    }

    pub(crate) fn loaded(&self, took: Duration) {
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.recorder().load_seconds.record(took);
    }

    pub(crate) fn load_measured(&self, resident_bytes: u64) {
        self.recorder()
            .load_resident_bytes
            .set(resident_bytes as f64);
    }

    pub(crate) fn release_measured(&self, resident_bytes: u64) {
        let bytes = resident_bytes as f64;
        self.recorder().release_resident_bytes.set(bytes);
    }

    pub(crate) fn worker_failed(&self) {
        self.worker_failures.fetch_add(1, Ordering::Relaxed);
        self.recorder().worker_failures.increment(1);
    }

    pub(crate) fn worker_stalled(&self) {
        self.worker_stalls.fetch_add(1, Ordering::Relaxed);
        self.recorder().worker_stalls.increment(1);
    }

    pub(crate) fn abandoned(&self, count: usize) {
        self.recorder().abandoned.set(count as f64);
    }

    pub(crate) fn workers(&self, count: usize) {
        self.recorder().workers.set(count as f64);
    }

    pub(crate) fn snapshot(&self) -> PoolMetrics {
        let ending = |ending: Ending| self.endings[ending as usize].load(Ordering::Relaxed);
        PoolMetrics {
            accepted: self.accepted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            answered: ending(Ending::Answered),
            failed: ending(Ending::Failed),
            cancelled: ending(Ending::Cancelled),
            expired: ending(Ending::Expired),
            interrupted: ending(Ending::Interrupted),
            poisoned: ending(Ending::Poisoned),
            stalled: ending(Ending::Stalled),
            unserved: ending(Ending::Unserved),
            shut_down: ending(Ending::ShutDown),
            redelivered: self.redelivered.load(Ordering::Relaxed),
            steps: self.steps.load(Ordering::Relaxed),
            tokens: *self.tokens.lock().unwrap_or_else(PoisonError::into_inner),
            loads: self.loads.load(Ordering::Relaxed),
            worker_failures: self.worker_failures.load(Ordering::Relaxed),
            worker_stalls: self.worker_stalls.load(Ordering::Relaxed),
        }
    }
}

/// The gauge of whether memory is short outside of the pool.
pub(crate) fn memory_pressure_gauge() -> Gauge {
    gauge!("modelpool_memory_pressure")
}

/// The gauge of bytes reserved in a device's ledger.
pub(crate) fn reserved_bytes_gauge(device: Device) -> Gauge {
    gauge!("modelpool_reserved_bytes", "device" => device.to_string())
}
