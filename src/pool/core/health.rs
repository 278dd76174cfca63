//! Whether a pool lives and can serve, told from what it does.

use std::time::Duration;

use serde::Serialize;

use super::board::WorkerState;
use super::status::ModelStatus;

/// A pool's health at one moment, as [`Pool::health`](super::Pool::health) found it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// How long the supervisor took to answer; `None` if it did not in the time that was given.
    pub supervisor_answered_in: Option<Duration>,
    /// The pool accepts no more work.
    pub shutting_down: bool,
    /// The models, in the order of their registration.
    pub models: Vec<ModelHealth>,
}

impl Health {
    /// The supervisor is there and answers. A pool that is not live stays so: start the process
    /// anew.
    pub fn is_live(&self) -> bool {
        self.supervisor_answered_in.is_some()
    }

    /// It is live, and a request to any of its models would be taken up. A model that is not loaded
    /// is ready: its first request loads it.
    pub fn is_ready(&self) -> bool {
        self.is_live() && !self.shutting_down && self.models.iter().all(ModelHealth::is_ready)
    }
}

/// A model's part in its pool's health.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ModelHealth {
    /// Its name.
    pub name: String,
    /// What a request would meet.
    pub condition: ModelCondition,
    /// Threads that were given up and have not returned.
    pub abandoned_workers: usize,
}

/// What a request to a model would meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum ModelCondition {
    /// A worker that serves.
    Serving,
    /// A worker that loads.
    Loading,
    /// No worker; it would start one.
    Cold,
    /// No worker, and an open breaker: a refusal.
    Unavailable {
        /// For this long.
        retry_after: Duration,
    },
    /// No worker, and too many threads that have not returned: a refusal.
    Stalled {
        /// How many.
        threads: usize,
    },
}

impl ModelHealth {
    pub(crate) fn of(status: &ModelStatus, max_stalled_workers: usize) -> Self {
        let count = |wanted: &[WorkerState]| {
            let workers = status.workers.iter();
            workers
                .filter(|worker| wanted.contains(&worker.state))
                .count()
        };
        let threads = count(&[WorkerState::Abandoned]);
        let condition = if count(&[WorkerState::Idle, WorkerState::Busy]) > 0 {
            ModelCondition::Serving
        } else if let Some(retry_after) = status.unavailable_for {
            ModelCondition::Unavailable { retry_after }
        } else if count(&[WorkerState::Reserved, WorkerState::Loading]) > 0 {
            ModelCondition::Loading
        } else if threads >= max_stalled_workers {
            ModelCondition::Stalled { threads }
        } else {
            ModelCondition::Cold
        };
        Self {
            name: status.name.clone(),
            condition,
            abandoned_workers: threads,
        }
    }

    /// A request would be taken up.
    pub fn is_ready(&self) -> bool {
        !matches!(
            self.condition,
            ModelCondition::Unavailable { .. } | ModelCondition::Stalled { .. }
        )
    }
}
