//! The machine, generic over capability: nothing here knows what a model computes.

mod board;
mod capability;
mod catalogue;
mod compute;
mod config;
mod deadline;
mod drain;
mod error;
mod events;
mod hand;
mod handle;
mod health;
mod homes;
mod idle;
mod ids;
mod inbox;
mod job;
mod lanes;
mod memory;
mod metrics;
mod permits;
// Public for its tests (see `testing::policy`), and no part of the crate's face.
#[doc(hidden)]
pub mod policy;
mod pool;
mod proxy;
mod registration;
mod report;
mod shared;
mod shutdown;
mod status;
mod step;
mod supervisor;
mod sync;
mod tenants;
mod worker;

pub use board::WorkerState;
pub use capability::{Capability, Engine, Outbox, Slot};
pub(crate) use compute::LoadContext;
pub use config::{PoolConfig, RestartConfig};
pub use drain::DrainReport;
pub use error::PoolError;
pub use events::{EventKind, EventStream, PoolEvent};
pub use handle::{Admission, ItemStream, ModelHandle, RequestOptions};
pub use health::{Health, ModelCondition, ModelHealth};
pub use ids::{JobId, ModelId, WorkerId};
pub use job::Priority;
pub use memory::{
    Account, DEFAULT_MEMORY_FRACTION, Device, FixedProbe, Footprint, HeldWeights, Ledger, MIB,
    Measured, Measurement, MemoryBudget, MemoryDemand, MemoryLimit, MemoryProbe, PressureConfig,
    Reservation, Shortage, SystemFiles, SystemProbe, UnknownDevice, check_memory_available,
    query_system_memory_mb,
};
pub use metrics::{Ending, PoolMetrics};
pub use policy::{RetireReason, StartReason};
pub use pool::Pool;
pub use registration::WorkerHandle;
pub use report::{CacheStatus, EngineReport, TokenCounts};
pub use shared::{Shared, offload};
pub use shutdown::ShutdownReport;
pub use status::{MemoryStatus, ModelStatus, PoolStatus, QueueStatus, WorkerStatus};
pub use step::StepContext;
pub use worker::spawn_worker_thread;
