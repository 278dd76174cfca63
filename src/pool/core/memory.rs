//! The only place that counts bytes: what there is, what may be reserved, and who holds it.

mod account;
mod demand;
mod device;
mod footprint;
mod ledger;
mod ledgers;
mod limit;
mod probe;

pub use account::{Account, HeldWeights};
pub use demand::{MemoryDemand, check_memory_available};
pub use device::{Device, UnknownDevice};
pub use footprint::Footprint;
pub use ledger::{Ledger, Reservation};
pub(crate) use ledgers::Ledgers;
pub use limit::{DEFAULT_MEMORY_FRACTION, MemoryBudget, MemoryLimit};
pub use probe::{FixedProbe, MemoryProbe, SystemProbe, query_system_memory_mb};

/// Bytes in one MiB, the unit of the public figures.
pub const MIB: u64 = 1024 * 1024;
