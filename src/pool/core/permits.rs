//! The bound on a model's requests under way.

use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::capability::Capability;
use super::lanes::Lanes;
use super::sync::{AtomicUsize, Ordering};

/// A fixed number of permits. Taking one never waits: a full queue is answered at once.
#[derive(Debug)]
pub(crate) struct Permits {
    capacity: usize,
    taken: CachePadded<AtomicUsize>,
}

impl Permits {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            taken: CachePadded::new(AtomicUsize::new(0)),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    fn try_take(&self) -> bool {
        // Count first and take back on excess: one atomic addition in the common case.
        let free = self.taken.fetch_add(1, Ordering::AcqRel) < self.capacity;
        if !free {
            self.give_back();
        }
        free
    }

    fn give_back(&self) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The right to have one request under way, and the way to its lanes; given back when dropped.
pub(crate) struct Permit<C: Capability> {
    lanes: Arc<Lanes<C>>,
}

impl<C: Capability> Permit<C> {
    pub(crate) fn try_take(lanes: &Arc<Lanes<C>>) -> Option<Self> {
        lanes.permits().try_take().then(|| Self {
            lanes: Arc::clone(lanes),
        })
    }

    pub(crate) fn lanes(&self) -> &Arc<Lanes<C>> {
        &self.lanes
    }
}

impl<C: Capability> Drop for Permit<C> {
    fn drop(&mut self) {
        self.lanes.permits().give_back();
    }
}
