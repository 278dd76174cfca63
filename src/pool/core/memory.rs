//! The only place that counts bytes: the probe, the limit and the ledger.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use sysinfo::{
    MemoryRefreshKind, Pid, Process, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System,
};

use super::error::PoolError;
use crate::model::ModelInfo;

/// Bytes in one MiB, the unit of the public figures.
pub const MIB: u64 = 1024 * 1024;

/// The share of memory that a pool may reserve when nothing else is configured.
pub const DEFAULT_MEMORY_FRACTION: f64 = 0.8;

/// Tells how much memory the process may use. A trait, so that a test can set the machine's size.
pub trait MemoryProbe: Send + Sync + 'static {
    /// What the process may use in all, in MiB.
    fn total_mb(&self) -> u64;
}

/// The machine as it is: the smaller of physical memory and the container's limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemProbe;

impl MemoryProbe for SystemProbe {
    fn total_mb(&self) -> u64 {
        query_system_memory_mb()
    }
}

/// A machine of a fixed size.
#[derive(Debug, Clone, Copy)]
pub struct FixedProbe {
    /// What the process may use in all, in MiB.
    pub total_mb: u64,
}

impl MemoryProbe for FixedProbe {
    fn total_mb(&self) -> u64 {
        self.total_mb
    }
}

/// What this process may use, in MiB: the smaller of physical memory and the container's limit
/// (cgroup v1 or v2). Page cache plays no part: this is a size, not what is free.
///
/// Only memory and this one process are refreshed, so a call costs microseconds. On a system whose memory cannot be
/// read the answer is 0, with which no model fits until the budget is given in megabytes.
pub fn query_system_memory_mb() -> u64 {
    let Ok(mut system) = System::new_with_specifics(
        RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram()),
    ) else {
        return 0;
    };
    let pid = Pid::from_u32(std::process::id());
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&[pid]),
        false,
        ProcessRefreshKind::nothing().without_tasks(),
    );
    // A container's limit is on the root of its own hierarchy, a service's on its own group.
    let groups = [
        system.cgroup_limits(),
        system.process(pid).and_then(Process::cgroup_limits),
    ];
    groups
        .into_iter()
        .flatten()
        .map(|limits| limits.total_memory)
        // sysinfo answers 0 where there is no limit.
        .filter(|&bytes| bytes > 0)
        .fold(system.total_memory(), u64::min)
        / MIB
}

/// How much of the process's memory the pool may reserve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum MemoryBudget {
    /// This share of what the process may use: above 0, at most 1.
    Fraction(f64),
    /// This many MiB.
    Megabytes(u64),
}

impl Default for MemoryBudget {
    fn default() -> Self {
        Self::Fraction(DEFAULT_MEMORY_FRACTION)
    }
}

/// A budget applied to a machine, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryLimit {
    /// What may be reserved.
    pub limit_mb: u64,
    /// What the process may use in all.
    pub total_mb: u64,
}

impl MemoryLimit {
    /// The limit that `budget` sets on a machine of `total_mb` MiB.
    pub fn new(budget: MemoryBudget, total_mb: u64) -> Self {
        let limit_mb = match budget {
            // A float holds every realistic count of MiB exactly; the product is cut, not rounded up.
            MemoryBudget::Fraction(share) => (total_mb as f64 * share.clamp(0.0, 1.0)) as u64,
            MemoryBudget::Megabytes(megabytes) => megabytes,
        };
        Self { limit_mb, total_mb }
    }

    /// The default limit on this machine: 80 % of [`query_system_memory_mb`].
    pub fn system() -> Self {
        Self::new(MemoryBudget::default(), query_system_memory_mb())
    }
}

/// Something that wants memory under a limit: a model by itself counts against this machine's
/// default limit, a registered model against its pool's.
pub trait MemoryDemand {
    /// The model.
    fn info(&self) -> &ModelInfo;

    /// The limit that applies to it.
    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::system()
    }
}

impl MemoryDemand for ModelInfo {
    fn info(&self) -> &ModelInfo {
        self
    }
}

/// Whether `num_workers` more workers of `model` fit beside `current_usage_mb` MiB:
/// `current_usage_mb + num_workers × est_memory_allocation_mb` must not exceed the limit, which
/// is 80 % of what the process may use unless the pool is configured otherwise.
///
/// # Errors
/// [`PoolError::MemoryExhausted`] with the figures.
pub fn check_memory_available(
    model: &impl MemoryDemand,
    current_usage_mb: u64,
    num_workers: usize,
) -> Result<(), PoolError> {
    let MemoryLimit { limit_mb, total_mb } = model.memory_limit();
    let info = model.info();
    let need_mb = info
        .est_memory_allocation_mb
        .saturating_mul(num_workers as u64);
    if current_usage_mb.saturating_add(need_mb) <= limit_mb {
        return Ok(());
    }
    Err(PoolError::MemoryExhausted {
        model: info.name.clone(),
        workers: num_workers,
        need_mb,
        current_mb: current_usage_mb,
        limit_mb,
        total_mb,
    })
}

type ReleaseHook = Box<dyn Fn() + Send + Sync>;

/// The book of reserved bytes of one pool. [`Reservation`]s add to it and, when dropped, subtract;
/// nothing else does.
pub struct Ledger {
    limit: MemoryLimit,
    reserved: AtomicU64,
    peak: AtomicU64,
    on_release: ReleaseHook,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("limit", &self.limit)
            .field("reserved", &self.reserved)
            .field("peak", &self.peak)
            .finish_non_exhaustive()
    }
}

impl Ledger {
    /// An empty book. `on_release` is called after each release, on the thread that released; it
    /// must not block.
    pub fn new(limit: MemoryLimit, on_release: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            limit,
            reserved: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            on_release: Box::new(on_release),
        })
    }

    /// The limit that reservations keep to.
    pub fn limit(&self) -> MemoryLimit {
        self.limit
    }

    /// The limit, in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.limit.limit_mb.saturating_mul(MIB)
    }

    /// What is reserved now, in bytes.
    pub fn reserved_bytes(&self) -> u64 {
        self.reserved.load(Ordering::Acquire)
    }

    /// What is reserved now, in MiB, rounded up.
    pub fn reserved_mb(&self) -> u64 {
        self.reserved_bytes().div_ceil(MIB)
    }

    /// The most that was ever reserved at once, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.peak.load(Ordering::Acquire)
    }

    /// Sets `bytes` aside, or `None` where that would exceed the limit.
    pub fn try_reserve(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        let limit = self.limit_bytes();
        let before = self
            .reserved
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |reserved| {
                reserved.checked_add(bytes).filter(|&sum| sum <= limit)
            })
            .ok()?;
        self.peak.fetch_max(before + bytes, Ordering::AcqRel);
        Some(Reservation {
            ledger: Arc::clone(self),
            bytes,
        })
    }
}

/// Bytes set aside in a [`Ledger`] until this is dropped.
#[derive(Debug)]
#[must_use = "dropping a reservation releases its bytes"]
pub struct Reservation {
    ledger: Arc<Ledger>,
    bytes: u64,
}

impl Reservation {
    /// How many bytes are set aside.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.ledger.reserved.fetch_sub(self.bytes, Ordering::AcqRel);
        (self.ledger.on_release)();
    }
}
