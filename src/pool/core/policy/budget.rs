//! Memory as one decision spends it.

use super::Policy;
use super::model::Phase;
use super::view::View;

/// Memory as one decision spends it.
pub(super) struct Budget {
    /// Unreserved, and not promised to a model that waits.
    pub(super) free: u64,
    /// Held by workers that are on their way out, and not promised.
    pub(super) coming: u64,
}

impl Budget {
    pub(super) fn new(policy: &Policy, view: &impl View) -> Self {
        let coming = policy
            .workers
            .values()
            .filter(|worker| worker.phase == Phase::Retiring)
            .filter_map(|worker| policy.models.get(&worker.model))
            .map(|model| model.plan.worker_bytes)
            .sum();
        Self {
            free: view.limit_bytes().saturating_sub(view.reserved_bytes()),
            coming,
        }
    }

    pub(super) fn take(&mut self, bytes: u64) -> bool {
        let fits = bytes <= self.free;
        if fits {
            self.free -= bytes;
        }
        fits
    }

    /// Keeps `bytes` for a model that waits: first what is free, then what is coming.
    pub(super) fn hold(&mut self, bytes: u64) {
        let from_free = bytes.min(self.free);
        self.free -= from_free;
        self.coming = self.coming.saturating_sub(bytes - from_free);
    }
}
