//! What the policy is told once: its settings, and the models.

use std::time::Duration;

use crate::pool::core::config::RestartConfig;
use crate::pool::core::ids::ModelId;
use crate::pool::core::memory::{Device, Footprint};

/// The settings that decisions depend on.
#[derive(Debug, Clone)]
pub struct PolicyConfig {
    /// See [`PoolConfig::cold_start_workers`](crate::pool::core::PoolConfig::cold_start_workers).
    pub cold_start_workers: usize,
    /// See [`PoolConfig::expand_after`](crate::pool::core::PoolConfig::expand_after).
    pub expand_after: Duration,
    /// See [`PoolConfig::idle_after`](crate::pool::core::PoolConfig::idle_after).
    pub idle_after: Duration,
    /// See [`PoolConfig::max_stalled_workers`](crate::pool::core::PoolConfig::max_stalled_workers).
    pub max_stalled_workers: usize,
    /// See [`RestartConfig`].
    pub restart: RestartConfig,
    /// Seeds the jitter.
    pub seed: u64,
}

/// What the policy knows of a registered model.
#[derive(Debug, Clone)]
pub struct ModelPlan {
    /// The model's name, for errors.
    pub name: String,
    /// It is to come in the place of this model, beside which it has to fit: it takes no room from
    /// that one, and if there is none it is told so instead of waiting.
    pub replaces: Option<ModelId>,
    /// Where its memory lies.
    pub device: Device,
    /// What its workers reserve.
    pub footprint: Footprint,
    /// Never retire below this for idleness or eviction.
    pub min_workers: usize,
    /// Never start above this.
    pub max_workers: usize,
    /// A pinned model keeps its workers when others need room, and its last one when idle.
    pub pinned: bool,
    /// How long a step may take; [`Duration::MAX`] for as long as it likes.
    pub step_timeout: Duration,
    /// How long a load may take; [`Duration::MAX`] for as long as it likes.
    pub load_timeout: Duration,
}
