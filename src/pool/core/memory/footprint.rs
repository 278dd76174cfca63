//! What the workers of a model take.

use serde::{Deserialize, Serialize};

use super::MIB;
use super::meter::Measurement;
use crate::model::ModelInfo;

/// What the workers of a model take, in bytes. Whole MiB, so that the figures add up in the unit
/// in which they are checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    /// The weights, which all workers of the model share and which are reserved once.
    pub weights_bytes: u64,
    /// What each worker has of its own.
    pub worker_bytes: u64,
}

impl Footprint {
    /// What a model says of itself.
    pub fn of(info: &ModelInfo) -> Self {
        let alone = info.est_memory_allocation_mb.saturating_mul(MIB);
        let weights_bytes = whole_mib(info.shared_weights_bytes).min(alone);
        Self {
            weights_bytes,
            worker_bytes: alone - weights_bytes,
        }
    }

    /// What later workers are counted with, after a load that was measured. One that took more than
    /// was estimated is believed, unless the model could not be served at all then.
    pub(crate) fn corrected(self, measured: &Measurement, limit_bytes: u64) -> Self {
        let excess = measured.excess_bytes();
        if excess == 0 {
            return self;
        }
        let mut corrected = self;
        if measured.with_weights {
            let weights = self.weights_bytes.saturating_add(excess);
            corrected.weights_bytes = whole_mib(weights);
        } else {
            let each = excess / measured.workers.max(1) as u64;
            corrected.worker_bytes = whole_mib(self.worker_bytes.saturating_add(each));
        }
        if corrected.alone() > limit_bytes {
            return self;
        }
        corrected
    }

    /// What one worker takes when it is the only one.
    pub fn alone(&self) -> u64 {
        self.weights_bytes.saturating_add(self.worker_bytes)
    }
}

/// `bytes`, rounded up to whole MiB.
fn whole_mib(bytes: u64) -> u64 {
    bytes.div_ceil(MIB).saturating_mul(MIB)
}
