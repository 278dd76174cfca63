//! The threads that one worker computes with.

use rayon::{ThreadPool, ThreadPoolBuilder};

/// Threads of one worker, of its own: workers of a process neither wait for each other's work nor
/// see each other's panics. A panic in one of the threads surfaces where the work was begun, and
/// the team goes on to serve.
#[derive(Debug)]
pub(crate) struct Team {
    pool: Option<ThreadPool>,
}

impl Team {
    /// A team of `threads`; of one, the worker's own thread, for 0 or 1 and where the system
    /// refuses threads.
    pub(crate) fn new(threads: usize) -> Self {
        if threads <= 1 {
            return Self { pool: None };
        }
        let built = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("modelpool-team-{index}"))
            .build();
        if let Err(error) = &built {
            tracing::warn!(threads, %error, "no threads to be had, computing on the worker's own");
        }
        Self { pool: built.ok() }
    }

    /// How many threads compute at the same time.
    pub(crate) fn threads(&self) -> usize {
        self.pool
            .as_ref()
            .map_or(1, ThreadPool::current_num_threads)
    }

    /// Runs `work` in the team: what it forks stays in the team. Free when called within `run`.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }
}
