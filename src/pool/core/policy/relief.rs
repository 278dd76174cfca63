//! Who goes when memory is short outside of the pool.

use std::collections::BTreeSet;
use std::time::Instant;

use super::Policy;
use super::action::{Decision, RetireReason};
use super::view::View;
use crate::pool::core::ids::{ModelId, WorkerId};
use crate::pool::core::memory::Device;

impl Policy {
    /// Retires idle workers, least valuable first, until what is missing will be free; all of
    /// them, if they are not enough. Once for each look at the machine: what comes of it shows in
    /// the next.
    pub(super) fn relieve(&mut self, now: Instant, view: &impl View, decision: &mut Decision) {
        let Some(shortage) = view.shortage() else {
            return;
        };
        if shortage.sample == self.relieved {
            return;
        }
        self.relieved = shortage.sample;
        let none = BTreeSet::new();
        let on_cpu = |id: &&ModelId| {
            let model = self.models.get(id);
            model.is_some_and(|model| model.plan.device == Device::Cpu)
        };
        let coming: u64 = self
            .active
            .iter()
            .filter(on_cpu)
            .map(|&id| self.freed(id, &none, view))
            .sum();
        let missing = shortage.missing_bytes.saturating_sub(coming);
        if missing == 0 {
            return;
        }
        let candidates = self.evictable(Device::Cpu, None, now, view);
        let victims: Vec<WorkerId> = match self.choose(&candidates, missing, view) {
            Some((victims, _)) => victims.into_iter().collect(),
            None => candidates.iter().map(|found| found.worker).collect(),
        };
        for worker in victims {
            self.retire(worker, RetireReason::Pressure, decision);
        }
    }
}
