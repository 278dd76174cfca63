//! What every served model says of itself, and how it is brought to a pool.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::models::ModelError;
use crate::pool::core::{Capability, PoolError};

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

/// Loads a model, on the thread of the worker that will own it; called once for each worker.
pub type Loader<C> =
    Arc<dyn Fn() -> Result<Box<<C as Capability>::Model>, ModelError> + Send + Sync>;

/// A model's own settings; those that are `None` are the pool's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ModelSettings {
    pub(crate) min_workers: Option<usize>,
    pub(crate) max_workers: Option<usize>,
    pub(crate) queue_capacity: Option<usize>,
    pub(crate) pinned: bool,
    pub(crate) step_timeout: Option<Duration>,
    pub(crate) load_timeout: Option<Duration>,
}

/// Everything that a pool needs to serve a model. To register it loads nothing.
pub struct ModelSpec<C: Capability> {
    pub(crate) info: ModelInfo,
    pub(crate) loader: Loader<C>,
    pub(crate) caller_side: C::CallerSide,
    pub(crate) settings: ModelSettings,
}

impl<C: Capability> fmt::Debug for ModelSpec<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelSpec")
            .field("capability", &C::NAME)
            .field("info", &self.info)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl<C: Capability> ModelSpec<C> {
    /// A model with its loader. The capability's own constructor, such as
    /// `ModelSpec::text_embedding`, is the more convenient one.
    pub fn with_caller_side(
        info: ModelInfo,
        caller_side: C::CallerSide,
        loader: Loader<C>,
    ) -> Self {
        Self {
            info,
            loader,
            caller_side,
            settings: ModelSettings::default(),
        }
    }

    /// The model's description.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Serves the model under another name, as when one model is registered twice.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.info.name = name.into();
        self
    }

    /// Keeps this many workers when the model is idle, once they were started.
    #[must_use]
    pub fn min_workers(mut self, workers: usize) -> Self {
        self.settings.min_workers = Some(workers);
        self
    }

    /// Starts at most this many workers.
    #[must_use]
    pub fn max_workers(mut self, workers: usize) -> Self {
        self.settings.max_workers = Some(workers);
        self
    }

    /// Allows this many requests under way at once; one more is refused.
    #[must_use]
    pub fn queue_capacity(mut self, requests: usize) -> Self {
        self.settings.queue_capacity = Some(requests);
        self
    }

    /// Keeps the model's workers when other models need room, and its last one when it is idle.
    #[must_use]
    pub fn pinned(mut self, pinned: bool) -> Self {
        self.settings.pinned = pinned;
        self
    }

    /// Gives up a worker whose step runs longer than this; see
    /// [`PoolConfig::step_timeout`](crate::PoolConfig::step_timeout).
    #[must_use]
    pub fn step_timeout(mut self, limit: Duration) -> Self {
        self.settings.step_timeout = Some(limit);
        self
    }

    /// Gives up a worker that loads for longer than this; see
    /// [`PoolConfig::load_timeout`](crate::PoolConfig::load_timeout).
    #[must_use]
    pub fn load_timeout(mut self, limit: Duration) -> Self {
        self.settings.load_timeout = Some(limit);
        self
    }

    pub(crate) fn validate(&self) -> Result<(), PoolError> {
        let invalid = |field, reason: &str| {
            Err(PoolError::InvalidConfig {
                field,
                reason: reason.to_owned(),
            })
        };
        if self.info.name.is_empty() {
            return invalid("name", "must not be empty");
        }
        if self.settings.max_workers == Some(0) {
            return invalid("max_workers", "must be at least 1");
        }
        if self.settings.queue_capacity == Some(0) {
            return invalid("queue_capacity", "must be at least 1");
        }
        if self.settings.step_timeout == Some(Duration::ZERO) {
            return invalid("step_timeout", "must be longer than zero");
        }
        if self.settings.load_timeout == Some(Duration::ZERO) {
            return invalid("load_timeout", "must be longer than zero");
        }
        Ok(())
    }
}
