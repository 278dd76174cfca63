//! The bound on a model's requests under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A fixed number of permits. Taking one never waits: a full queue is answered at once.
#[derive(Debug)]
pub(crate) struct Permits {
    capacity: usize,
    taken: AtomicUsize,
}

impl Permits {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            capacity,
            taken: AtomicUsize::new(0),
        })
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    pub(crate) fn try_take(self: &Arc<Self>) -> Option<Permit> {
        // Count first and take back on excess: one atomic addition in the common case.
        if self.taken.fetch_add(1, Ordering::AcqRel) < self.capacity {
            return Some(Permit {
                permits: Arc::clone(self),
            });
        }
        self.taken.fetch_sub(1, Ordering::AcqRel);
        None
    }
}

/// The right to have one request under way; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    permits: Arc<Permits>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.taken.fetch_sub(1, Ordering::AcqRel);
    }
}
