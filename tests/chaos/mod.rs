//! Requests of all kinds to several models in one pool, while workers panic, hang and fail to load,
//! memory is short, callers go away, queues are flooded and the pool is reconfigured.
//!
//! The plan is drawn from a seed: what is asked, by whom, and what goes wrong when. How threads
//! interleave is the machine's; what must hold holds in every order.

mod caller;
mod disruption;
mod figures;
mod models;
mod plan;
mod run;

pub use plan::Plan;
pub use run::run;
