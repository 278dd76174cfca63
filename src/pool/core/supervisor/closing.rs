//! The end of the pool.

use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::oneshot;

use super::{SupervisorMessage, SupervisorState};
use crate::pool::core::error::PoolError;
use crate::pool::core::policy::Action;
use crate::pool::core::proxy::ProxyCommand;
use crate::pool::core::shutdown::{ShutdownReport, ShutdownState};

impl SupervisorState {
    pub(super) fn shut_down(
        &mut self,
        grace: Duration,
        reply: Option<oneshot::Sender<ShutdownReport>>,
        myself: &ActorRef<SupervisorMessage>,
    ) {
        if let Some(under_way) = &mut self.shutdown {
            under_way.also_tell(reply);
            return;
        }
        self.cut_drains_short();
        let answered_before = self.answered();
        let refused = self
            .models
            .values()
            .map(|model| model.close(PoolError::ShuttingDown))
            .sum();
        self.shutdown = Some(ShutdownState::new(reply, refused, answered_before));
        for waiting in std::mem::take(&mut self.warming).into_values().flatten() {
            drop(waiting.send(Err(PoolError::ShuttingDown)));
        }
        for action in self.policy.close() {
            if let Action::Retire { worker, reason } = action {
                self.retire(worker, reason);
            }
        }
        drop(myself.send_after(grace, || SupervisorMessage::GraceOver));
    }

    /// Threads cannot be killed: what they have in hand is answered without them.
    pub(super) fn abandon_the_rest(&mut self) {
        let Some(shutdown) = &mut self.shutdown else {
            return;
        };
        for worker in self.workers.values() {
            worker.board.abandon();
            shutdown.abandon(&worker.board.name);
            worker
                .handle
                .order(ProxyCommand::Abandon(PoolError::ShuttingDown));
        }
    }

    pub(super) fn finish_shutdown(&mut self, myself: &ActorRef<SupervisorMessage>) {
        if !self.workers.is_empty() {
            return;
        }
        let answered = self.answered();
        if let Some(mut shutdown) = self.shutdown.take() {
            for (_, board) in self.abandoned.values() {
                shutdown.abandon(&board.name);
            }
            // Jobs that were on their way to a proxy when it ended have come back since.
            let late: usize = self
                .models
                .values()
                .map(|model| model.fail_queued(&PoolError::ShuttingDown))
                .sum();
            shutdown.finish(answered, late);
            myself.stop(None);
        }
    }

    pub(super) fn answered(&self) -> u64 {
        self.models
            .values()
            .map(|model| model.stats().snapshot().answered)
            .sum()
    }
}
