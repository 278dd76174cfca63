//! What a model is told about the step that it runs, and how the cores are divided.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What a model is told about the step that it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepContext {
    /// How many threads the step may use: this worker's share of the pool's compute budget, at least 1.
    pub threads: usize,
}

impl StepContext {
    /// A step that may use `threads` threads; 0 is taken as 1.
    pub fn new(threads: usize) -> Self {
        Self {
            threads: threads.max(1),
        }
    }
}

/// The threads that a pool's models compute with, divided among the workers that are busy now.
#[derive(Debug)]
pub(crate) struct ComputeBudget {
    threads: usize,
    busy: AtomicUsize,
}

impl ComputeBudget {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            threads,
            busy: AtomicUsize::new(0),
        }
    }

    /// Takes part in the division until the share is dropped.
    pub(crate) fn share(&self) -> ComputeShare<'_> {
        let busy = self.busy.fetch_add(1, Ordering::AcqRel) + 1;
        ComputeShare {
            budget: self,
            threads: self.threads / busy,
        }
    }
}

/// One busy worker's part of the budget.
pub(crate) struct ComputeShare<'a> {
    budget: &'a ComputeBudget,
    threads: usize,
}

impl ComputeShare<'_> {
    pub(crate) fn context(&self) -> StepContext {
        StepContext::new(self.threads)
    }
}

impl Drop for ComputeShare<'_> {
    fn drop(&mut self) {
        self.budget.busy.fetch_sub(1, Ordering::AcqRel);
    }
}
