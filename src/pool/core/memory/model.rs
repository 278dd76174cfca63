//! A model's memory: estimated, reserved, measured.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::account::Account;
use super::device::Device;
use super::footprint::Footprint;
use super::ledger::Ledger;
use super::meter::{Direction, Measured, Measurement, Meter, Passage};
use crate::model::ModelInfo;
use crate::pool::core::ids::ModelId;

/// A model's memory: what it says of itself, what is reserved for it, and what was measured.
#[derive(Debug)]
pub(crate) struct ModelMemory {
    model: ModelId,
    name: String,
    device: Device,
    estimate: Footprint,
    account: Account,
    meter: Arc<Meter>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    measured: Measured,
    /// What workers are counted with.
    footprint: Footprint,
    /// What they are to be counted with from the supervisor's next decision on.
    corrected: Footprint,
    warned: bool,
}

impl ModelMemory {
    pub(crate) fn new(
        model: ModelId,
        info: &ModelInfo,
        ledger: Arc<Ledger>,
        meter: Arc<Meter>,
    ) -> Self {
        let estimate = Footprint::of(info);
        Self {
            model,
            name: info.name.clone(),
            device: info.device,
            estimate,
            account: Account::new(ledger),
            meter,
            known: Mutex::new(Known {
                measured: Measured::default(),
                footprint: estimate,
                corrected: estimate,
                warned: false,
            }),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where its workers' bytes are reserved.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// What its next worker is counted with.
    pub(crate) fn footprint(&self) -> Footprint {
        self.known().footprint
    }

    /// What was measured last.
    pub(crate) fn measured(&self) -> Measured {
        self.known().measured
    }

    /// A worker begins to load, or is about to free what it has. `None` where nothing can be
    /// measured: the resident set is unknown, or the model lies elsewhere.
    pub(crate) fn begin(&self, direction: Direction, with_weights: bool) -> Option<Passage> {
        match self.device {
            Device::Cpu => self.meter.begin(self.model, direction, with_weights),
            _ => None,
        }
    }

    /// The worker has loaded, or freed, what it had.
    pub(crate) fn end(&self, direction: Direction, passage: Passage) -> Option<Measurement> {
        let measurement = passage.end(self.estimate)?;
        let mut known = self.known();
        match direction {
            Direction::Release => known.measured.release = Some(measurement),
            Direction::Load => {
                known.measured.load = Some(measurement);
                let limit_bytes = self.account.ledger().limit_bytes();
                known.corrected = self.estimate.corrected(&measurement, limit_bytes);
                let excess_bytes = measurement.excess_bytes();
                if excess_bytes > 0 && !std::mem::replace(&mut known.warned, true) {
                    tracing::warn!(
                        model = self.name,
                        estimated_bytes = measurement.estimated_bytes,
                        resident_bytes = measurement.resident_bytes,
                        "the model takes more memory than it was estimated to"
                    );
                }
            }
        }
        Some(measurement)
    }

    /// Counts later workers with what was measured. The new figures, if they are new.
    pub(crate) fn correct(&self) -> Option<Footprint> {
        let mut known = self.known();
        if known.corrected == known.footprint {
            return None;
        }
        known.footprint = known.corrected;
        Some(known.footprint)
    }
}
