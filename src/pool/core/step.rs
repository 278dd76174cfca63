//! What a model is told about the step that it runs.

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
