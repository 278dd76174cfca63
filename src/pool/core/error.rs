//! Everything that a caller can be told instead of an answer.

use std::sync::Arc;
use std::time::Duration;

use super::memory::Device;
use crate::images::ImageError;
use crate::models::ModelError;

/// Why a request, a registration or the pool itself failed.
///
/// Errors are cheap to clone: one failed load answers every caller that waited for it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The model does not fit into the pool's memory limit.
    #[error(
        "{workers} worker(s) of model {model} need {need_mb} MiB; {current_mb} MiB are in use \
         and the limit is {limit_mb} of {total_mb} MiB"
    )]
    MemoryExhausted {
        /// The model.
        model: String,
        /// How many workers were wanted.
        workers: usize,
        /// What they need together, in MiB.
        need_mb: u64,
        /// What is reserved already, in MiB.
        current_mb: u64,
        /// What may be reserved in all, in MiB.
        limit_mb: u64,
        /// What the process may use, in MiB.
        total_mb: u64,
    },
    /// The model is to run on a device for which the pool has no budget.
    #[error("model {model} is to run on {device}, for which the pool has no budget")]
    NoDeviceBudget {
        /// The model.
        model: String,
        /// The device.
        device: Device,
    },
    /// The operating system refused a thread for the worker.
    #[error("no thread could be started for worker {worker}")]
    SpawnFailed {
        /// The worker's name.
        worker: String,
        /// What the operating system said.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The model could not be loaded.
    #[error("model {model} could not be loaded")]
    LoadFailed {
        /// The model.
        model: String,
        /// What was wrong.
        #[source]
        source: ModelError,
    },
    /// The model failed too often of late and is left alone for a while.
    #[error("model {model} failed too often; it may be tried again in {retry_after:?}")]
    Unavailable {
        /// The model.
        model: String,
        /// After this time a request is let through to try it again.
        retry_after: Duration,
    },
    /// The model's queue is full.
    #[error("the queue of model {model} is full ({capacity} requests)")]
    Overloaded {
        /// The model.
        model: String,
        /// How many requests may be under way at once.
        capacity: usize,
    },
    /// The tenant has its share of the model's queue under way.
    #[error("tenant {tenant} has {share} requests of model {model} under way, which is its share")]
    TenantOverloaded {
        /// The model.
        model: String,
        /// The tenant.
        tenant: String,
        /// How many requests one tenant may have under way at once.
        share: usize,
    },
    /// The request's deadline passed before its answer came.
    #[error("no answer from model {model} within {allowed:?}")]
    DeadlineExceeded {
        /// The model.
        model: String,
        /// The time that the request had.
        allowed: Duration,
    },
    /// The request was in hand when its worker died, twice, and is not tried again.
    #[error("the request was in hand when workers of model {model} died, {kills} times")]
    Poisoned {
        /// The model.
        model: String,
        /// How many workers died with it.
        kills: u32,
    },
    /// The worker died after part of the stream had been sent.
    #[error("the stream of model {model} broke off after {items_sent} items")]
    Interrupted {
        /// The model.
        model: String,
        /// How many items had been sent.
        items_sent: u64,
    },
    /// The request was in a step that ran longer than the model's `step_timeout`, or waited for a
    /// load that ran longer than its `load_timeout`. It is not tried again; of a stream, items may
    /// have been sent before.
    #[error("a worker of model {model} was given up after {after:?} without a sign of life")]
    Stalled {
        /// The model.
        model: String,
        /// The limit that was exceeded.
        after: Duration,
    },
    /// Too many of the model's threads were given up and have not returned: each keeps its memory,
    /// so no more are started.
    #[error("{threads} stalled threads of model {model} have not returned; it gets no more")]
    TooManyStalled {
        /// The model.
        model: String,
        /// How many there are.
        threads: usize,
    },
    /// The model's capability has no request that could be sent as a probe.
    #[error("model {model} cannot be probed: {capability} has no probe request")]
    NoProbe {
        /// The model.
        model: String,
        /// Its capability's name.
        capability: &'static str,
    },
    /// The pool is shutting down, or has shut down.
    #[error("the pool is shutting down")]
    ShuttingDown,
    /// A model of this name is registered already.
    #[error("a model named {model} is registered already")]
    AlreadyRegistered {
        /// The name.
        model: String,
    },
    /// The handle belongs to another pool, or its model was unregistered.
    #[error("model {model} is not registered in this pool")]
    NotRegistered {
        /// The model.
        model: String,
    },
    /// The request was under way when its model was unregistered or replaced, and was not answered
    /// within the grace.
    #[error("model {model} left the pool, and {grace:?} of grace were not enough")]
    GraceOver {
        /// The model.
        model: String,
        /// The grace.
        grace: Duration,
    },
    /// The model is being replaced or unregistered already.
    #[error("model {model} is being replaced or unregistered already")]
    Changing {
        /// The model.
        model: String,
    },
    /// The request cannot be served as it is.
    #[error("invalid request: {field} {reason}")]
    InvalidRequest {
        /// The part of the request at fault.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// An input is larger than the model is configured to take.
    #[error("the input has {bytes} bytes, the limit is {limit}")]
    InputTooLarge {
        /// The input's size.
        bytes: usize,
        /// The model's `max_input_bytes`.
        limit: usize,
    },
    /// A request's picture cannot be had, is damaged, or exceeds the limits.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A setting has a value that the pool cannot work with.
    #[error("invalid configuration: {field} {reason}")]
    InvalidConfig {
        /// The setting.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The model ran and found fault with this one request.
    #[error("model {model} could not serve the request")]
    Model {
        /// The model.
        model: String,
        /// What was wrong.
        #[source]
        source: ModelError,
    },
    /// The runtime could not start or reach one of the pool's own parts.
    #[error("internal failure: {0}")]
    Internal(String),
}
