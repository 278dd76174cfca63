//! What is told of a model that gave up its workers.

use std::time::Duration;

use serde::Serialize;

/// What became of a model's work while it gave up its workers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DrainReport {
    /// Requests that were answered meanwhile.
    pub answered: u64,
    /// Requests that were left when the grace was over, and were told
    /// [`PoolError::GraceOver`](super::PoolError::GraceOver).
    pub refused: usize,
    /// Workers whose threads did not come back within the grace. They keep their memory until they
    /// do.
    pub abandoned: Vec<String>,
    /// How long it took.
    pub took: Duration,
}
