//! The crate's own files of the job's hand-offs, with other primitives and no actors.

#[path = "../../src/pool/core/capability.rs"]
pub mod capability;
#[path = "../../src/pool/core/error.rs"]
pub mod error;
#[path = "../../src/pool/core/hand.rs"]
pub mod hand;
#[path = "../../src/pool/core/homes.rs"]
pub mod homes;
#[path = "../../src/pool/core/idle.rs"]
pub mod idle;
#[path = "../../src/pool/core/ids.rs"]
pub mod ids;
#[path = "../../src/pool/core/inbox.rs"]
pub mod inbox;
#[path = "../../src/pool/core/job.rs"]
pub mod job;
#[path = "../../src/pool/core/lanes.rs"]
pub mod lanes;
#[path = "../../src/pool/core/metrics.rs"]
pub mod metrics;
#[path = "../../src/pool/core/permits.rs"]
pub mod permits;
#[path = "../../src/pool/core/report.rs"]
pub mod report;
#[path = "../../src/pool/core/step.rs"]
pub mod step;
#[path = "supervisor.rs"]
pub mod supervisor;
#[path = "sync.rs"]
pub mod sync;
#[path = "../../src/pool/core/tenants.rs"]
pub mod tenants;

/// What they need of the ledgers.
pub mod memory {
    pub use modelpool::Device;
}
