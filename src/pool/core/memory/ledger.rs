//! The book of reserved bytes of one device.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::MIB;
use super::account::WeightsShare;
use super::limit::MemoryLimit;

type ReleaseHook = Box<dyn Fn() + Send + Sync>;

/// The book of reserved bytes of one pool. [`Reservation`]s add to it and, when dropped, subtract;
/// nothing else does.
pub struct Ledger {
    limit: MemoryLimit,
    reserved: AtomicU64,
    peak: AtomicU64,
    on_release: ReleaseHook,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("limit", &self.limit)
            .field("reserved", &self.reserved)
            .field("peak", &self.peak)
            .finish_non_exhaustive()
    }
}

impl Ledger {
    /// An empty book. `on_release` is called after each release, on the thread that released; it
    /// must not block.
    pub fn new(limit: MemoryLimit, on_release: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            limit,
            reserved: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            on_release: Box::new(on_release),
        })
    }

    /// The limit that reservations keep to.
    pub fn limit(&self) -> MemoryLimit {
        self.limit
    }

    /// The limit, in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.limit.limit_mb.saturating_mul(MIB)
    }

    /// What is reserved now, in bytes.
    pub fn reserved_bytes(&self) -> u64 {
        self.reserved.load(Ordering::Acquire)
    }

    /// What is reserved now, in MiB, rounded up.
    pub fn reserved_mb(&self) -> u64 {
        self.reserved_bytes().div_ceil(MIB)
    }

    /// The most that was ever reserved at once, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.peak.load(Ordering::Acquire)
    }

    /// Sets `bytes` aside, or `None` where that would exceed the limit.
    pub fn try_reserve(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        let limit = self.limit_bytes();
        let before = self
            .reserved
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |reserved| {
                reserved.checked_add(bytes).filter(|&sum| sum <= limit)
            })
            .ok()?;
        self.peak.fetch_max(before + bytes, Ordering::AcqRel);
        Some(Reservation {
            ledger: Arc::clone(self),
            bytes,
            weights: None,
        })
    }
}

/// Bytes set aside in a [`Ledger`] until this is dropped.
#[derive(Debug)]
#[must_use = "dropping a reservation releases its bytes"]
pub struct Reservation {
    ledger: Arc<Ledger>,
    bytes: u64,
    /// The weights that it shares with reservations of other workers, released after its own bytes.
    weights: Option<WeightsShare>,
}

impl Reservation {
    /// How many bytes are set aside, not counting those of shared weights.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether shared weights are released with it, as far as can be said while others may come
    /// and go; `false` where nothing is shared.
    pub(crate) fn is_last_holder(&self) -> bool {
        self.weights.as_ref().is_some_and(WeightsShare::is_last)
    }

    /// Makes `bytes` of it, or all that it has, a reservation apart. The ledger's sum stays as it is.
    pub(super) fn split_off(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self {
            ledger: Arc::clone(&self.ledger),
            bytes,
            weights: None,
        }
    }

    /// Holds shared weights for as long as this lives.
    pub(super) fn share(&mut self, weights: WeightsShare) {
        self.weights = Some(weights);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.ledger.reserved.fetch_sub(self.bytes, Ordering::AcqRel);
        (self.ledger.on_release)();
    }
}
