//! A model's place in a ledger: its weights are reserved once, for as long as any worker holds them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::footprint::Footprint;
use super::ledger::{Ledger, Reservation};

/// The weights of a model, set aside once.
#[derive(Debug)]
struct Weights {
    reservation: Reservation,
    /// Workers whose reservations share this one.
    holders: AtomicUsize,
}

/// A worker's part in its model's weights. With the last one dropped, their bytes are free.
#[derive(Debug)]
pub(super) struct WeightsShare(Arc<Weights>);

impl WeightsShare {
    fn new(weights: &Arc<Weights>) -> Self {
        weights.holders.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(weights))
    }

    pub(super) fn is_last(&self) -> bool {
        self.0.holders.load(Ordering::Acquire) == 1
    }
}

impl Drop for WeightsShare {
    fn drop(&mut self) {
        self.0.holders.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The weights of a model that some worker holds. While this lives they stay reserved, so that what
/// was decided because of them is still so when it is carried out.
#[derive(Debug, Clone)]
pub struct HeldWeights(Arc<Weights>);

impl HeldWeights {
    /// How many bytes are set aside for them.
    pub fn bytes(&self) -> u64 {
        self.0.reservation.bytes()
    }

    /// How many workers hold them: loading, serving, on their way out or abandoned.
    pub fn holders(&self) -> usize {
        self.0.holders.load(Ordering::Acquire)
    }
}

/// Reserves memory for the workers of one model.
#[derive(Debug)]
pub struct Account {
    ledger: Arc<Ledger>,
    weights: Mutex<Weak<Weights>>,
}

impl Account {
    /// An account of a model of which no worker lives.
    pub fn new(ledger: Arc<Ledger>) -> Self {
        Self {
            ledger,
            weights: Mutex::default(),
        }
    }

    /// The ledger that the account is kept in.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// The model's weights, if they are reserved now.
    pub fn weights(&self) -> Option<HeldWeights> {
        let weights = self.weights.lock().unwrap_or_else(PoisonError::into_inner);
        weights.upgrade().map(HeldWeights)
    }

    /// What one more worker would add to the ledger now, in bytes.
    pub fn missing_bytes(&self, footprint: Footprint) -> u64 {
        match self.weights() {
            Some(_) => footprint.worker_bytes,
            None => footprint.alone(),
        }
    }

    /// Sets aside what one more worker needs: its own bytes, and the weights unless another worker
    /// holds them. `None` where that would exceed the limit.
    pub fn try_reserve(&self, footprint: Footprint) -> Option<Reservation> {
        if footprint.weights_bytes == 0 {
            return self.ledger.try_reserve(footprint.worker_bytes);
        }
        let mut held = self.weights.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut own, weights) = match held.upgrade() {
            Some(weights) => (self.ledger.try_reserve(footprint.worker_bytes)?, weights),
            None => {
                let mut own = self.ledger.try_reserve(footprint.alone())?;
                let reservation = own.split_off(footprint.weights_bytes);
                let weights = Arc::new(Weights {
                    reservation,
                    holders: AtomicUsize::new(0),
                });
                *held = Arc::downgrade(&weights);
                (own, weights)
            }
        };
        own.share(WeightsShare::new(&weights));
        Some(own)
    }
}
