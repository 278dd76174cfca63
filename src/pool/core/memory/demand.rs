//! Whether more workers fit.

use super::limit::MemoryLimit;
use crate::model::ModelInfo;
use crate::pool::core::error::PoolError;

/// Something that wants memory under a limit: a model by itself counts against this machine's
/// default limit, a registered model against its pool's.
pub trait MemoryDemand {
    /// The model.
    fn info(&self) -> &ModelInfo;

    /// The limit that applies to it.
    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::system()
    }

    /// What `workers` more of it need together, in MiB. For a model by itself, whose workers may
    /// share nothing, that is so many times its
    /// [`est_memory_allocation_mb`](ModelInfo::est_memory_allocation_mb).
    fn need_mb(&self, workers: usize) -> u64 {
        let estimate_mb = self.info().est_memory_allocation_mb;
        estimate_mb.saturating_mul(workers as u64)
    }
}

impl MemoryDemand for ModelInfo {
    fn info(&self) -> &ModelInfo {
        self
    }
}

/// Whether `num_workers` more workers of `model` fit beside `current_usage_mb` MiB:
/// `current_usage_mb + num_workers × est_memory_allocation_mb` must not exceed the limit, which
/// is 80 % of what the process may use unless the pool is configured otherwise. For a model of a
/// pool, weights that are reserved already are not needed again.
///
/// # Errors
/// [`PoolError::MemoryExhausted`] with the figures.
pub fn check_memory_available(
    model: &impl MemoryDemand,
    current_usage_mb: u64,
    num_workers: usize,
) -> Result<(), PoolError> {
    let MemoryLimit { limit_mb, total_mb } = model.memory_limit();
    let need_mb = model.need_mb(num_workers);
    if current_usage_mb.saturating_add(need_mb) <= limit_mb {
        return Ok(());
    }
    Err(PoolError::MemoryExhausted {
        model: model.info().name.clone(),
        workers: num_workers,
        need_mb,
        current_mb: current_usage_mb,
        limit_mb,
        total_mb,
    })
}
