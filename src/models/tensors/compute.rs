//! The threads that a worker's tensor operations run on.

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::models::ModelError;
use crate::pool::core::StepContext;

/// A worker's own threads, as many as its share of the cores. What candle forks within
/// [`run`](Self::run) stays on them; outside of it, it would be taken up by the process's global pool.
#[derive(Debug, Default)]
pub(crate) struct Compute {
    pool: Option<ThreadPool>,
}

impl Compute {
    /// No threads yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Runs `work` on the threads that the step may use. A panic in it surfaces here.
    ///
    /// # Errors
    /// What `work` says, or that the system refuses threads.
    pub(crate) fn run<R: Send>(
        &mut self,
        context: &StepContext,
        work: impl FnOnce() -> Result<R, ModelError> + Send,
    ) -> Result<R, ModelError> {
        let fitting = self.pool.take();
        let fitting = fitting.filter(|pool| pool.current_num_threads() == context.threads);
        let pool = match fitting {
            Some(pool) => pool,
            // One thread of its own, too: on the worker's, candle would fork into the global pool.
            None => ThreadPoolBuilder::new()
                .num_threads(context.threads)
                .thread_name(|index| format!("modelpool-compute-{index}"))
                .build()
                .map_err(|error| ModelError::Other(format!("no threads to be had: {error}")))?,
        };
        self.pool.insert(pool).install(work)
    }
}
