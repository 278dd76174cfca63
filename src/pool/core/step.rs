//! What a model is told about the step that it runs.

use std::sync::Arc;

use crate::kernels::Team;

/// What a model is told about the step that it runs, and the threads that it runs on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StepContext {
    /// How many threads the step may use: this worker's share of the pool's compute budget, at least 1.
    pub threads: usize,
    team: Arc<Team>,
}

impl StepContext {
    /// A step that may use `threads` threads; 0 is taken as 1. The pool makes its steps' own; this is
    /// for those who run a model without one.
    pub fn new(threads: usize) -> Self {
        Self::of(Arc::new(Team::new(threads)))
    }

    pub(crate) fn of(team: Arc<Team>) -> Self {
        Self {
            threads: team.size(),
            team,
        }
    }

    /// Runs `work` on the step's own threads and waits for it: as many threads as
    /// [`threads`](Self::threads) says, pinned to cores if
    /// [`pin_threads`](crate::PoolConfig::pin_threads) asks for that. What the work forks by way of
    /// rayon, as candle's operations on the CPU do, stays on them; elsewhere it would be done by the
    /// process's global threads, whatever the budget. A panic surfaces here.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.team.confine(work)
    }

    pub(crate) fn team(&self) -> &Team {
        &self.team
    }
}
