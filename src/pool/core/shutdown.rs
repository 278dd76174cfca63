//! The end of a pool, and what is told of it.

use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::oneshot;

/// What became of the work that was under way when a pool shut down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Requests that were in workers' hands and were still answered.
    pub answered: u64,
    /// Requests that waited and were refused with
    /// [`PoolError::ShuttingDown`](super::PoolError::ShuttingDown).
    pub refused: usize,
    /// Workers whose threads did not come back within the grace; their callers were answered
    /// with [`PoolError::ShuttingDown`](super::PoolError::ShuttingDown). Those among them that had
    /// been given up before, and whose callers have been answered since.
    pub abandoned: Vec<String>,
    /// How long the shutdown took.
    pub took: Duration,
}

/// A shutdown under way.
pub(crate) struct ShutdownState {
    replies: Vec<oneshot::Sender<ShutdownReport>>,
    report: ShutdownReport,
    answered_before: u64,
    started: Instant,
}

impl ShutdownState {
    pub(crate) fn new(
        reply: Option<oneshot::Sender<ShutdownReport>>,
        refused: usize,
        answered_before: u64,
    ) -> Self {
        Self {
            replies: reply.into_iter().collect(),
            report: ShutdownReport {
                refused,
                ..ShutdownReport::default()
            },
            answered_before,
            started: Instant::now(),
        }
    }

    pub(crate) fn also_tell(&mut self, reply: Option<oneshot::Sender<ShutdownReport>>) {
        self.replies.extend(reply);
    }

    pub(crate) fn abandon(&mut self, worker: &str) {
        let abandoned = &mut self.report.abandoned;
        if abandoned.iter().all(|known| known != worker) {
            abandoned.push(worker.to_owned());
        }
    }

    pub(crate) fn finish(mut self, answered: u64, refused_late: usize) {
        self.report.answered = answered.saturating_sub(self.answered_before);
        self.report.refused += refused_late;
        self.report.took = self.started.elapsed();
        for reply in self.replies {
            // Whoever asked may have stopped waiting.
            drop(reply.send(self.report.clone()));
        }
    }
}
