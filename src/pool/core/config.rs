//! The pool's settings. Every one has a default that a service can run with.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::error::PoolError;
use super::memory::{Device, MemoryBudget, MemoryLimit, MemoryProbe, PressureConfig, SystemProbe};
use crate::kernels::{self, Core};

/// How failed workers are restarted, and when a model that keeps failing is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartConfig {
    /// The longest wait before the first restart; each further failure within `window` doubles
    /// it. The actual wait is drawn evenly between 0 and that ("full jitter"). Default 50 ms.
    pub initial_backoff: Duration,
    /// No wait is longer than this. Default 10 s.
    pub max_backoff: Duration,
    /// This many failures within `window` open the model's breaker. Default 5.
    pub max_failures: usize,
    /// How long a failure counts. Default 60 s.
    pub window: Duration,
    /// How long an open breaker refuses before one trial worker is let through. Default 15 s.
    pub cooldown: Duration,
}

impl Default for RestartConfig {
    fn default() -> Self {
        Self {
            initial_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(10),
            max_failures: 5,
            window: Duration::from_secs(60),
            cooldown: Duration::from_secs(15),
        }
    }
}

/// The settings of a [`Pool`](super::Pool). Models may override those that say so.
#[derive(Clone)]
pub struct PoolConfig {
    /// How much memory the pool may reserve. Default: 80 % of what the process may use.
    pub memory: MemoryBudget,
    /// How many MiB the pool may reserve on each device beside the CPU. Default: no such device; a
    /// model on a device that is not named here is refused when it is registered.
    pub devices: BTreeMap<Device, u64>,
    /// Tells how much the process may use. Default: this machine and its container.
    pub probe: Arc<dyn MemoryProbe>,
    /// When memory counts as short because of what happens outside of the pool, and how often to
    /// look; `None` never looks. Default: below 5 % available, every 2 s.
    pub pressure: Option<PressureConfig>,
    /// How many workers a model's first request starts, memory allowing. Default 2.
    pub cold_start_workers: usize,
    /// How many workers stay when a model is idle, once they were started. Default 0; a model may
    /// override it.
    pub min_workers: usize,
    /// How many workers a model may have. Default: the number of cores; a model may override it.
    pub max_workers: usize,
    /// How long work must have waited, with every worker busy, before one more is started.
    /// Default 100 ms.
    pub expand_after: Duration,
    /// A model gives up one worker for each such span that a worker was idle. Default 60 s.
    pub idle_after: Duration,
    /// How many requests of one model may be under way at once; one more is refused. Default
    /// 1024; a model may override it.
    pub queue_capacity: usize,
    /// How much of a model's queue the requests of one tenant may fill, of those that
    /// [name one](crate::RequestOptions::tenant): above 0, at most 1. Default 0.5.
    pub tenant_share: f64,
    /// The deadline of requests that bring none. Default 60 s.
    pub default_deadline: Duration,
    /// While interactive requests keep coming, the batch lane gets one turn after this many of
    /// theirs. Default 4.
    pub batch_turn_every: usize,
    /// How many threads the models of this pool compute with in all. Default: the number of cores.
    pub compute_threads: usize,
    /// Whether each of those threads is kept on one core, of those that the thread which starts the
    /// pool may run on. Workers that are busy at the same time have cores of their own, as long as
    /// there are enough. Worth trying where the machine serves nothing else: pools and processes do
    /// not know of each other's pinned threads, and those of two share cores while others are idle.
    /// Threads that a model starts by itself, instead of using [`StepContext::run`], are not pinned.
    /// Linux only; elsewhere such a pool does not start. Default: the system decides.
    ///
    /// [`StepContext::run`]: crate::StepContext::run
    pub pin_threads: bool,
    /// A step that runs longer than this is given up with its worker: what it had in hand is
    /// answered [`PoolError::Stalled`], and another worker is started if memory allows. Default
    /// 60 s; [`Duration::MAX`] waits for ever; a model may override it.
    pub step_timeout: Duration,
    /// The same for a load, which answers what waits for the model if no other worker lives.
    /// Default 10 min; [`Duration::MAX`] waits for ever; a model may override it.
    pub load_timeout: Duration,
    /// While this many threads of one model were given up and have not returned, it gets no new
    /// worker, and with none left its callers are told [`PoolError::TooManyStalled`]. Default 4.
    pub max_stalled_workers: usize,
    /// What happens after failures.
    pub restart: RestartConfig,
    /// Seeds the jitter of restarts, so that a test can repeat it. Default: random.
    pub jitter_seed: Option<u64>,
}

impl Default for PoolConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            memory: MemoryBudget::default(),
            devices: BTreeMap::new(),
            probe: Arc::new(SystemProbe::default()),
            pressure: Some(PressureConfig::default()),
            cold_start_workers: 2,
            min_workers: 0,
            max_workers: cores,
            expand_after: Duration::from_millis(100),
            idle_after: Duration::from_secs(60),
            queue_capacity: 1024,
            tenant_share: 0.5,
            default_deadline: Duration::from_secs(60),
            batch_turn_every: 4,
            compute_threads: cores,
            pin_threads: false,
            step_timeout: Duration::from_secs(60),
            load_timeout: Duration::from_secs(600),
            max_stalled_workers: 4,
            restart: RestartConfig::default(),
            jitter_seed: None,
        }
    }
}

impl fmt::Debug for PoolConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolConfig")
            .field("memory", &self.memory)
            .field("devices", &self.devices)
            .field("total_mb", &self.probe.total_mb())
            .field("pressure", &self.pressure)
            .field("cold_start_workers", &self.cold_start_workers)
            .field("min_workers", &self.min_workers)
            .field("max_workers", &self.max_workers)
            .field("expand_after", &self.expand_after)
            .field("idle_after", &self.idle_after)
            .field("queue_capacity", &self.queue_capacity)
            .field("tenant_share", &self.tenant_share)
            .field("default_deadline", &self.default_deadline)
            .field("batch_turn_every", &self.batch_turn_every)
            .field("compute_threads", &self.compute_threads)
            .field("pin_threads", &self.pin_threads)
            .field("step_timeout", &self.step_timeout)
            .field("load_timeout", &self.load_timeout)
            .field("max_stalled_workers", &self.max_stalled_workers)
            .field("restart", &self.restart)
            .field("jitter_seed", &self.jitter_seed)
            .finish()
    }
}

impl PoolConfig {
    /// Checks that the settings make sense together.
    ///
    /// # Errors
    /// [`PoolError::InvalidConfig`] naming the first setting that does not.
    pub fn validate(&self) -> Result<(), PoolError> {
        let positive = [
            ("cold_start_workers", self.cold_start_workers),
            ("max_workers", self.max_workers),
            ("queue_capacity", self.queue_capacity),
            ("batch_turn_every", self.batch_turn_every),
            ("compute_threads", self.compute_threads),
            ("max_stalled_workers", self.max_stalled_workers),
            ("restart.max_failures", self.restart.max_failures),
        ];
        for (field, value) in positive {
            if value == 0 {
                return Err(invalid(field, "must be at least 1"));
            }
        }
        if self.pin_threads && kernels::allowed_cores().is_none() {
            return Err(invalid("pin_threads", "this system cannot"));
        }
        if !(self.tenant_share > 0.0 && self.tenant_share <= 1.0) {
            return Err(invalid("tenant_share", "must be above 0 and at most 1"));
        }
        if self.min_workers > self.max_workers {
            return Err(invalid("min_workers", "must not exceed max_workers"));
        }
        check_budget("memory", self.memory)?;
        if let Some(pressure) = self.pressure {
            check_budget("pressure.floor", pressure.floor)?;
            check_budget("pressure.relief", pressure.relief)?;
            let total_mb = self.probe.total_mb();
            let mb = |budget| MemoryLimit::new(budget, total_mb).limit_mb;
            if mb(pressure.relief) < mb(pressure.floor) {
                return Err(invalid(
                    "pressure.relief",
                    "must not be below pressure.floor",
                ));
            }
            if pressure.sample_every.is_zero() {
                return Err(invalid("pressure.sample_every", "must be longer than zero"));
            }
        }
        if self.devices.contains_key(&Device::Cpu) {
            return Err(invalid("devices", "must not name the CPU: see `memory`"));
        }
        if self.devices.values().any(|&mb| mb == 0) {
            return Err(invalid("devices", "must give each device at least 1 MiB"));
        }
        let durations = [
            ("expand_after", self.expand_after),
            ("idle_after", self.idle_after),
            ("default_deadline", self.default_deadline),
            ("step_timeout", self.step_timeout),
            ("load_timeout", self.load_timeout),
            ("restart.window", self.restart.window),
        ];
        for (field, value) in durations {
            if value.is_zero() {
                return Err(invalid(field, "must be longer than zero"));
            }
        }
        Ok(())
    }

    /// The cores that compute threads are pinned to; none where they are not.
    pub(super) fn cores(&self) -> Vec<Core> {
        let allowed = self.pin_threads.then(kernels::allowed_cores).flatten();
        allowed.unwrap_or_default()
    }
}

fn check_budget(field: &'static str, budget: MemoryBudget) -> Result<(), PoolError> {
    match budget {
        MemoryBudget::Fraction(share) if !(share > 0.0 && share <= 1.0) => {
            Err(invalid(field, "must be a fraction above 0 and at most 1"))
        }
        MemoryBudget::Megabytes(0) => Err(invalid(field, "must be at least 1 MiB")),
        MemoryBudget::Fraction(_) | MemoryBudget::Megabytes(_) => Ok(()),
    }
}

fn invalid(field: &'static str, reason: &str) -> PoolError {
    PoolError::InvalidConfig {
        field,
        reason: reason.to_owned(),
    }
}
