//! Memory that runs short for reasons outside of the pool.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limit::{MemoryBudget, MemoryLimit};

/// When memory counts as short, whoever has taken it.
///
/// Short memory stops growth (a model gets its first worker, no more), and idle workers are
/// retired, least valuable first, until as much is available again as `relief` says. Pinned models
/// and `min_workers` are respected.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PressureConfig {
    /// Memory is short once less than this is available. Default: 5 % of what the process may use.
    pub floor: MemoryBudget,
    /// It is short no more once so much is available. Default: 8 %.
    pub relief: MemoryBudget,
    /// How often to look, while any worker lives. Default 2 s.
    pub sample_every: Duration,
}

impl Default for PressureConfig {
    fn default() -> Self {
        Self {
            floor: MemoryBudget::Fraction(0.05),
            relief: MemoryBudget::Fraction(0.08),
            sample_every: Duration::from_secs(2),
        }
    }
}

/// How much is missing, and by which look at the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// How many bytes have to become available until there is enough.
    pub missing_bytes: u64,
    /// The number of the look: what was done for one is not done for it again.
    pub sample: u64,
}

/// Whether memory is short, with hysteresis between the two thresholds.
#[derive(Debug, Clone, Default)]
pub(crate) struct PressureGauge {
    floor_bytes: u64,
    relief_bytes: u64,
    samples: u64,
    available: Option<u64>,
    short: bool,
}

impl PressureGauge {
    /// A gauge on a machine of which the process may use `total_mb` MiB.
    pub(crate) fn new(config: &PressureConfig, total_mb: u64) -> Self {
        let bytes = |budget| {
            let limit = MemoryLimit::new(budget, total_mb);
            limit.limit_mb.saturating_mul(super::MIB)
        };
        Self {
            floor_bytes: bytes(config.floor),
            relief_bytes: bytes(config.relief),
            ..Self::default()
        }
    }

    /// Takes a look into account. Whether memory has just become short, or has ceased to be.
    pub(crate) fn sample(&mut self, available: Option<u64>) -> Option<bool> {
        self.samples += 1;
        self.available = available;
        let short = match available {
            Some(bytes) if self.short => bytes < self.relief_bytes,
            Some(bytes) => bytes < self.floor_bytes,
            None => false,
        };
        let changed = short != self.short;
        self.short = short;
        changed.then_some(short)
    }

    /// What was available at the last look, in bytes.
    pub(crate) fn available(&self) -> Option<u64> {
        self.available
    }

    /// What is missing, while memory is short.
    pub(crate) fn shortage(&self) -> Option<Shortage> {
        let available = self.available.filter(|_| self.short)?;
        Some(Shortage {
            missing_bytes: self.relief_bytes.saturating_sub(available),
            sample: self.samples,
        })
    }
}
