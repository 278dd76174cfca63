//! The bound on a model's requests under way.

use std::sync::Arc;

use super::capability::Capability;
use super::lanes::Lanes;
use super::sync::{AtomicBool, AtomicUsize, Ordering};
use super::tenants::Tenant;

/// A fixed number of permits. Taking one never waits: a full queue is answered at once.
#[derive(Debug)]
pub(crate) struct Permits {
    capacity: usize,
    taken: AtomicUsize,
    /// Somebody wants to know when the last one is given back.
    watched: AtomicBool,
}

impl Permits {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            taken: AtomicUsize::new(0),
            watched: AtomicBool::new(false),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }

    /// From now on it is reported when the last permit is given back.
    pub(crate) fn watch(&self) {
        self.watched.store(true, Ordering::SeqCst);
    }

    /// Counts one more, and says whether that is within the bound.
    fn count(&self) -> bool {
        self.taken.fetch_add(1, Ordering::SeqCst) < self.capacity
    }

    /// Whether that was the last one, and somebody wants to know.
    fn give_back(&self) -> bool {
        self.taken.fetch_sub(1, Ordering::SeqCst) == 1 && self.watched.load(Ordering::SeqCst)
    }
}

/// The right to have one request under way, and the way to its lanes; given back when dropped.
pub(crate) struct Permit<C: Capability> {
    lanes: Arc<Lanes<C>>,
    /// Counted in its tenant's share.
    tenant: Option<Tenant>,
}

impl<C: Capability> Permit<C> {
    pub(crate) fn try_take(lanes: &Arc<Lanes<C>>) -> Option<Self> {
        // Counted first and dropped on excess: one atomic addition in the common case. One in
        // excess is given back like any other: it may be the last to go.
        let permit = Self {
            lanes: Arc::clone(lanes),
            tenant: None,
        };
        lanes.permits().count().then_some(permit)
    }

    /// Counts it in a tenant's share, unless that is used up.
    pub(crate) fn count_for(&mut self, tenant: &Tenant) -> bool {
        let counted = self.lanes.shares().try_take(tenant);
        if counted {
            self.tenant = Some(Arc::clone(tenant));
        }
        counted
    }

    pub(crate) fn tenant(&self) -> Option<&Tenant> {
        self.tenant.as_ref()
    }

    pub(crate) fn lanes(&self) -> &Arc<Lanes<C>> {
        &self.lanes
    }
}

impl<C: Capability> Drop for Permit<C> {
    fn drop(&mut self) {
        if let Some(tenant) = &self.tenant {
            self.lanes.shares().give_back(tenant);
        }
        if self.lanes.permits().give_back() {
            self.lanes.report_drained();
        }
    }
}
