//! A model that does as it is told, and a head count, for tests of the pool and of services that
//! embed it.
//!
//! A [`Steering`] makes models whose loads, steps and releases each announce themselves and can
//! be told to wait, fail or panic, so that a test forces the interleaving that it is about and
//! never has to sleep.

mod babbler;
mod dauber;
pub mod kernels;
pub mod ocr;
pub mod pictures;
mod recital;
mod steering;

pub use babbler::Babbler;
pub use dauber::Dauber;
pub use recital::{Recital, RecitalEngine, RecitalModel, RecitalRequest};
pub use steering::{Act, Point, Steering};

/// The pure scheduler of text generation, and its parts.
pub use crate::pool::capabilities::text_to_text::scheduling;
/// The pure policy, and what it works on.
pub use crate::pool::core::policy;

/// What is left of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Census {
    /// Worker threads that have not ended.
    pub threads: usize,
    /// Places taken in the models' queues.
    pub permits: usize,
    /// Requests in the models' queues.
    pub queued: usize,
    /// Bytes reserved in the ledger.
    pub reserved_bytes: u64,
    /// Workers that sleep until there is work.
    pub asleep: usize,
    /// Proxy actors that have not ended.
    pub proxies: usize,
    /// The supervisor has not stopped.
    pub supervisor_alive: bool,
}

impl Census {
    /// What a pool should leave behind.
    pub const NOTHING: Self = Self {
        threads: 0,
        permits: 0,
        queued: 0,
        reserved_bytes: 0,
        asleep: 0,
        proxies: 0,
        supervisor_alive: false,
    };
}
