//! The only place that counts bytes: what there is, what may be reserved, and who holds it.

mod account;
mod cgroup;
mod demand;
mod device;
mod files;
mod footprint;
mod ledger;
mod ledgers;
mod limit;
mod meter;
mod model;
mod pressure;
mod probe;
mod trim;

pub use account::{Account, HeldWeights};
pub use demand::{MemoryDemand, check_memory_available};
pub use device::{Device, UnknownDevice};
pub use files::SystemFiles;
pub use footprint::Footprint;
pub use ledger::{Ledger, Reservation};
pub(crate) use ledgers::Ledgers;
pub use limit::{DEFAULT_MEMORY_FRACTION, MemoryBudget, MemoryLimit};
pub(crate) use meter::{Direction, Meter, Passage};
pub use meter::{Measured, Measurement};
pub(crate) use model::ModelMemory;
pub(crate) use pressure::PressureGauge;
pub use pressure::{PressureConfig, Shortage};
pub use probe::{FixedProbe, MemoryProbe, SystemProbe, query_system_memory_mb};
pub(crate) use trim::trim;

/// Bytes in one MiB, the unit of the public figures.
pub const MIB: u64 = 1024 * 1024;
