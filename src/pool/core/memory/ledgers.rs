//! The ledgers of one pool, one for each device.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::device::Device;
use super::ledger::Ledger;
use super::limit::MemoryLimit;

/// The ledgers of one pool.
#[derive(Debug)]
pub(crate) struct Ledgers {
    cpu: Arc<Ledger>,
    others: BTreeMap<Device, Arc<Ledger>>,
}

impl Ledgers {
    /// Empty books: the CPU's under `limit`, and one for each device of `devices` and the MiB that
    /// may be reserved there. `on_release` is called as in [`Ledger::new`].
    pub(crate) fn new(
        limit: MemoryLimit,
        devices: &BTreeMap<Device, u64>,
        on_release: impl Fn() + Clone + Send + Sync + 'static,
    ) -> Self {
        let of_device = |&limit_mb: &u64| {
            let limit = MemoryLimit {
                limit_mb,
                total_mb: limit_mb,
            };
            Ledger::new(limit, on_release.clone())
        };
        let others = devices
            .iter()
            .map(|(&device, limit_mb)| (device, of_device(limit_mb)))
            .collect();
        Self {
            cpu: Ledger::new(limit, on_release),
            others,
        }
    }

    /// The CPU's.
    pub(crate) fn cpu(&self) -> &Arc<Ledger> {
        &self.cpu
    }

    /// A device's, if it was given a budget.
    pub(crate) fn of(&self, device: Device) -> Option<&Arc<Ledger>> {
        match device {
            Device::Cpu => Some(&self.cpu),
            _ => self.others.get(&device),
        }
    }

    /// All of them, the CPU's first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Device, &Arc<Ledger>)> {
        let others = self.others.iter().map(|(&device, ledger)| (device, ledger));
        std::iter::once((Device::Cpu, &self.cpu)).chain(others)
    }

    /// What is reserved on all devices together, in bytes.
    #[cfg(feature = "testing")]
    pub(crate) fn reserved_bytes(&self) -> u64 {
        self.iter().map(|(_, ledger)| ledger.reserved_bytes()).sum()
    }
}
