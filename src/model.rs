//! What every served model says of itself, and how it is brought to a pool.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::models::ModelError;
use crate::pool::core::{Capability, Device, LoadContext, MIB, PoolError, Shared};

/// What the pool knows of a model before it is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelInfo {
    /// The model's name: unique in its pool, shown in status, events, logs and metrics.
    pub name: String,
    /// What one worker of this model takes when it is the only one, loaded and at work, in MiB:
    /// weights, activations and caches.
    pub est_memory_allocation_mb: u64,
    /// How much of that is weights which never change and which all workers of the model share, in
    /// bytes: they are loaded and counted once. 0, the default, where each worker loads its own.
    #[serde(default)]
    pub shared_weights_bytes: u64,
    /// Where the model's memory lies. Default: [`Device::Cpu`].
    #[serde(default)]
    pub device: Device,
}

impl ModelInfo {
    /// Describes a model of which each worker takes `est_memory_allocation_mb` MiB.
    pub fn new(name: impl Into<String>, est_memory_allocation_mb: u64) -> Self {
        Self {
            name: name.into(),
            est_memory_allocation_mb,
            shared_weights_bytes: 0,
            device: Device::Cpu,
        }
    }

    /// Describes a model by the bytes of its weights, which all of its workers share, and by what
    /// each worker has of its own: activations, caches, buffers.
    pub fn from_bytes(name: impl Into<String>, weights_bytes: u64, worker_bytes: u64) -> Self {
        let mib = weights_bytes
            .div_ceil(MIB)
            .saturating_add(worker_bytes.div_ceil(MIB));
        Self::new(name, mib).shared_weights(weights_bytes)
    }

    /// Says that so many bytes of the estimate are weights that all workers share. The loader must
    /// see to it that they do: [`ModelSpec::sharing`] makes one that does.
    #[must_use]
    pub fn shared_weights(mut self, bytes: u64) -> Self {
        self.shared_weights_bytes = bytes;
        self
    }

    /// Says that the model's memory lies on `device`.
    #[must_use]
    pub fn on(mut self, device: Device) -> Self {
        self.device = device;
        self
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

/// The same, told where its heavy work is to be done.
pub(crate) type LoaderIn<C> =
    Arc<dyn Fn(&LoadContext) -> Result<Box<<C as Capability>::Model>, ModelError> + Send + Sync>;

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
    pub(crate) loader: LoaderIn<C>,
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
            loader: Arc::new(move |_| loader()),
            caller_side,
            settings: ModelSettings::default(),
        }
    }

    /// A model whose workers share their weights: `load_weights` runs when the first worker starts,
    /// the others are made from what it gave, and with the last worker it is freed. What it forks by
    /// way of rayon stays on threads that the pool starts for it. `make_worker`
    /// runs on each worker's thread and makes what that worker owns.
    ///
    /// What of the estimate is weights is said with [`ModelInfo::from_bytes`] or
    /// [`ModelInfo::shared_weights`]; without, each worker is counted with all of it. The
    /// capability's own constructor, such as `ModelSpec::text_embedding_shared`, is the more
    /// convenient one.
    pub fn sharing<W: Send + Sync + 'static>(
        info: ModelInfo,
        caller_side: C::CallerSide,
        load_weights: impl Fn() -> Result<W, ModelError> + Send + Sync + 'static,
        make_worker: impl Fn(Arc<W>) -> Result<Box<C::Model>, ModelError> + Send + Sync + 'static,
    ) -> Self {
        let weights = Shared::new(load_weights);
        let loader = move |context: &LoadContext| {
            make_worker(weights.get_blocking_by(|load| context.run(load))?)
        };
        Self {
            info,
            loader: Arc::new(loader),
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

    /// Serves the model from `device`'s memory, where its loader must put it.
    #[must_use]
    pub fn on(mut self, device: Device) -> Self {
        self.info.device = device;
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
        let estimate = self.info.est_memory_allocation_mb.saturating_mul(MIB);
        if self.info.shared_weights_bytes > estimate {
            return invalid(
                "shared_weights_bytes",
                "must not exceed est_memory_allocation_mb, which they are part of",
            );
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
