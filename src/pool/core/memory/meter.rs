//! What loading and freeing a model does to the resident set of the process.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::footprint::Footprint;
use super::probe::MemoryProbe;
use crate::pool::core::ids::ModelId;

/// What a load or a release did to the process's resident set, beside what was estimated. Workers
/// of one model that load at the same time are measured together.
///
/// The figure is the whole process's, so what the service itself allocated meanwhile is in it.
/// While another model of the pool was loaded or freed, nothing is measured at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Measurement {
    /// How many workers loaded, or ended.
    pub workers: usize,
    /// The weights that workers share were loaded or freed with them.
    pub with_weights: bool,
    /// What was estimated for that, in bytes.
    pub estimated_bytes: u64,
    /// How many bytes the resident set grew, or after a release shrank, by; 0 if it did not.
    pub resident_bytes: u64,
}

impl Measurement {
    /// How many bytes more than estimated were taken. Differences of up to a quarter or 64 MiB are
    /// what the allocator and the rest of the process do, and count as none.
    pub fn excess_bytes(&self) -> u64 {
        let tolerated = (self.estimated_bytes / 4).max(64 * super::MIB);
        match self.resident_bytes.checked_sub(self.estimated_bytes) {
            Some(excess) if excess > tolerated => excess,
            _ => 0,
        }
    }
}

/// Whether memory is taken or given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Load,
    Release,
}

/// From the first worker that begins to the last that ends.
struct Window {
    model: ModelId,
    direction: Direction,
    resident_before: u64,
    under_way: usize,
    workers: usize,
    with_weights: bool,
    /// Another model's load or release fell into it, or a load failed.
    spoiled: bool,
}

/// Measures what happens alone.
pub(crate) struct Meter {
    probe: Arc<dyn MemoryProbe>,
    window: Mutex<Option<Window>>,
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}

impl Meter {
    pub(crate) fn new(probe: Arc<dyn MemoryProbe>) -> Arc<Self> {
        Arc::new(Self {
            probe,
            window: Mutex::new(None),
        })
    }

    fn window(&self) -> MutexGuard<'_, Option<Window>> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker of `model` begins to load, or is about to free what it has. `None` where the
    /// resident set cannot be known.
    pub(crate) fn begin(
        self: &Arc<Self>,
        model: ModelId,
        direction: Direction,
        with_weights: bool,
    ) -> Option<Passage> {
        let mut open = self.window();
        let window = match &mut *open {
            Some(window) => window,
            none => none.insert(Window {
                model,
                direction,
                resident_before: self.probe.resident_bytes()?,
                under_way: 0,
                workers: 0,
                with_weights: false,
                spoiled: false,
            }),
        };
        window.spoiled |= window.model != model || window.direction != direction;
        window.under_way += 1;
        window.workers += 1;
        window.with_weights |= with_weights;
        Some(Passage {
            meter: Arc::clone(self),
            ended: false,
        })
    }

    fn leave(&self, ended: bool, footprint: Footprint) -> Option<Measurement> {
        let mut open = self.window();
        let window = open.as_mut()?;
        window.spoiled |= !ended;
        window.under_way -= 1;
        if window.under_way > 0 {
            return None;
        }
        let window = open.take()?;
        if window.spoiled {
            return None;
        }
        let before = window.resident_before;
        let after = self.probe.resident_bytes()?;
        let resident_bytes = match window.direction {
            Direction::Load => after.saturating_sub(before),
            Direction::Release => before.saturating_sub(after),
        };
        let own = footprint.worker_bytes.saturating_mul(window.workers as u64);
        let weights = if window.with_weights {
            footprint.weights_bytes
        } else {
            0
        };
        Some(Measurement {
            workers: window.workers,
            with_weights: window.with_weights,
            estimated_bytes: own.saturating_add(weights),
            resident_bytes,
        })
    }
}

/// One worker's way through a load or a release. To drop it says that it did not come to its end.
#[derive(Debug)]
pub(crate) struct Passage {
    meter: Arc<Meter>,
    ended: bool,
}

impl Passage {
    /// It came to its end. The measurement, if it was the last of its kind and nothing else
    /// happened meanwhile; `footprint` is the model's estimate.
    pub(crate) fn end(mut self, footprint: Footprint) -> Option<Measurement> {
        self.ended = true;
        self.meter.leave(true, footprint)
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.meter.leave(false, Footprint::default());
        }
    }
}

/// What was measured of a model, last time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Measured {
    /// The last load that could be measured.
    pub load: Option<Measurement>,
    /// The last release that could be measured.
    pub release: Option<Measurement>,
}
