//! What all parts of one pool share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::pool::core::compute::ComputeBudget;
use crate::pool::core::config::PoolConfig;
use crate::pool::core::events::EventBus;
use crate::pool::core::memory::{Ledgers, Meter, PressureGauge};
use crate::pool::core::supervisor::SupervisorLink;

/// What all parts of one pool share.
pub(crate) struct PoolShared {
    pub(crate) config: PoolConfig,
    pub(crate) ledgers: Ledgers,
    pub(crate) meter: Arc<Meter>,
    pressure: Mutex<PressureGauge>,
    pub(crate) events: EventBus,
    pub(crate) compute: ComputeBudget,
    pub(crate) supervisor: SupervisorLink,
    /// The zero of the times on the workers' boards.
    pub(crate) epoch: Instant,
    threads: AtomicUsize,
    proxies: AtomicUsize,
    idle_wanted: AtomicBool,
}

impl PoolShared {
    pub(crate) fn new(config: PoolConfig, ledgers: Ledgers, supervisor: SupervisorLink) -> Self {
        let total_mb = ledgers.cpu().limit().total_mb;
        let pressure = config
            .pressure
            .map_or_else(PressureGauge::default, |config| {
                PressureGauge::new(&config, total_mb)
            });
        Self {
            meter: Meter::new(Arc::clone(&config.probe)),
            pressure: Mutex::new(pressure),
            ledgers,
            events: EventBus::new(),
            compute: ComputeBudget::new(config.compute_threads, config.cores()),
            supervisor,
            epoch: Instant::now(),
            threads: AtomicUsize::new(0),
            proxies: AtomicUsize::new(0),
            idle_wanted: AtomicBool::new(false),
            config,
        }
    }

    /// Whether memory is short outside of the pool.
    pub(crate) fn pressure(&self) -> MutexGuard<'_, PressureGauge> {
        self.pressure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn thread_started(&self) {
        self.threads.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn thread_ended(&self) {
        self.threads.fetch_sub(1, Ordering::AcqRel);
    }

    /// Worker threads that have not ended, abandoned ones among them.
    pub(crate) fn threads(&self) -> usize {
        self.threads.load(Ordering::Acquire)
    }

    pub(crate) fn proxy_started(&self) {
        self.proxies.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn proxy_ended(&self) {
        self.proxies.fetch_sub(1, Ordering::AcqRel);
    }

    /// Proxies that have not ended.
    #[cfg(feature = "testing")]
    pub(crate) fn proxies(&self) -> usize {
        self.proxies.load(Ordering::Acquire)
    }

    /// Asks workers to report when they become idle: a model waits for memory.
    pub(crate) fn want_idle(&self, wanted: bool) {
        self.idle_wanted.store(wanted, Ordering::Release);
    }

    pub(crate) fn take_idle_wanted(&self) -> bool {
        self.idle_wanted.load(Ordering::Acquire) && self.idle_wanted.swap(false, Ordering::AcqRel)
    }
}
