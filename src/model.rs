//! What every served model says of itself.

use serde::{Deserialize, Serialize};

/// What the pool knows of a model before it is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelInfo {
    /// The model's name: unique in its pool, shown in status, events, logs and metrics.
    pub name: String,
    /// What one worker of this model takes when loaded and at work, in MiB: weights, activations
    /// and caches.
    pub est_memory_allocation_mb: u64,
}

impl ModelInfo {
    /// Describes a model of which one worker takes `est_memory_allocation_mb` MiB.
    pub fn new(name: impl Into<String>, est_memory_allocation_mb: u64) -> Self {
        Self {
            name: name.into(),
            est_memory_allocation_mb,
        }
    }
}

/// A loaded model. It is born, runs and dies on one worker's thread, so it need not be `Send`.
pub trait CandleModel: 'static {
    /// The model's description, the same as it was registered with.
    fn info(&self) -> &ModelInfo;
}
