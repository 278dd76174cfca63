//! How much of it may be reserved.

use serde::{Deserialize, Serialize};

use super::probe::query_system_memory_mb;

/// The share of memory that a pool may reserve when nothing else is configured.
pub const DEFAULT_MEMORY_FRACTION: f64 = 0.8;

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
