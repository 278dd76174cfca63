//! Threads that compute together.

use std::sync::OnceLock;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::cores::{self, Core};

/// Threads of their own for one worker at a time: workers of a process neither wait for each other's
/// work nor see each other's panics. A panic in one of the threads surfaces where the work was begun,
/// and the team goes on to serve.
///
/// The threads are started when there is something to do for them.
#[derive(Debug)]
pub(crate) struct Team {
    threads: usize,
    /// Where each thread runs; empty where the system may choose.
    cores: Vec<Core>,
    /// `None` where the system refused threads.
    pool: OnceLock<Option<ThreadPool>>,
}

impl Team {
    /// A team of `threads`, at least one.
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            threads: threads.max(1),
            cores: Vec::new(),
            pool: OnceLock::new(),
        }
    }

    /// A team of one thread for each of `cores`, which runs on that core and no other.
    pub(crate) fn pinned(cores: Vec<Core>) -> Self {
        Self {
            threads: cores.len().max(1),
            cores,
            pool: OnceLock::new(),
        }
    }

    /// How many threads it is meant to have.
    pub(crate) fn size(&self) -> usize {
        self.threads
    }

    /// How many threads compute at the same time: 1 where the system refused more.
    pub(crate) fn threads(&self) -> usize {
        match self.threads {
            1 => 1,
            _ => self.pool().map_or(1, ThreadPool::current_num_threads),
        }
    }

    /// Runs `work` in the team: what it forks stays in the team. Free when called within `run`, and
    /// where one thread is all there is to it.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        if self.threads == 1 {
            self.run_alone(work)
        } else {
            self.confine(work)
        }
    }

    /// Runs `work` that forks nothing: on the asking thread, unless the team's own are pinned.
    pub(crate) fn run_alone<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        if self.cores.is_empty() {
            work()
        } else {
            self.confine(work)
        }
    }

    /// Runs `work` on the team's threads, be it one: whatever it forks by way of rayon does not get
    /// into the process's global pool.
    pub(crate) fn confine<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match self.pool() {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    fn pool(&self) -> Option<&ThreadPool> {
        let build = || {
            let cores = self.cores.clone();
            let built = ThreadPoolBuilder::new()
                .num_threads(self.threads)
                .thread_name(|index| format!("modelpool-team-{index}"))
                .start_handler(move |index| {
                    if let Some(&core) = cores.get(index) {
                        cores::pin(core);
                    }
                })
                .build();
            if let Err(error) = &built {
                let threads = self.threads;
                tracing::warn!(threads, %error, "no threads to be had, computing on the worker's own");
            }
            built.ok()
        };
        self.pool.get_or_init(build).as_ref()
    }
}
