//! The workers: how they start, serve and end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::{ActorCell, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use super::{SupervisorMessage, SupervisorState};
use crate::pool::core::board::{WorkerBoard, WorkerState};
use crate::pool::core::error::PoolError;
use crate::pool::core::events::EventKind;
use crate::pool::core::ids::{ModelId, WorkerId};
use crate::pool::core::memory::check_memory_available;
use crate::pool::core::policy::{Exit, RetireReason, StartReason};
use crate::pool::core::proxy::{ProxyCommand, WorkerFailure, describe};
use crate::pool::core::registration::{RegisteredDemand, WorkerHandle};

pub(super) struct Worker {
    pub(super) handle: WorkerHandle,
    pub(super) board: Arc<WorkerBoard>,
    pub(super) retiring: Option<RetireReason>,
    /// It exceeded a limit: its failure has been counted.
    pub(super) given_up: bool,
}

impl Worker {
    /// It takes requests out of its model's queue.
    pub(super) fn serves(&self) -> bool {
        let state = self.board.state();
        self.retiring.is_none() && matches!(state, WorkerState::Idle | WorkerState::Busy)
    }
}

impl SupervisorState {
    pub(super) async fn start(
        &mut self,
        id: ModelId,
        worker: WorkerId,
        reason: StartReason,
        myself: &ActorRef<SupervisorMessage>,
    ) -> Result<(), PoolError> {
        let Some(model) = self.models.get(&id).cloned() else {
            return Err(PoolError::Internal(format!("no model {id}")));
        };
        let memory = model.memory();
        let account = memory.account();
        let current_mb = account.ledger().reserved_mb();
        check_memory_available(&RegisteredDemand(&*model), current_mb, 1)?;
        let footprint = memory.footprint();
        let bytes = account.missing_bytes(footprint);
        let reservation = account
            .try_reserve(footprint)
            .ok_or_else(|| PoolError::Internal("memory was reserved past the ledger".to_owned()))?;
        self.emit(id, Some(worker), EventKind::Reserved { bytes, reason });
        let (handle, board) = model.spawn(worker, reservation, myself.get_cell()).await?;
        self.by_actor.insert(handle.cell().get_id(), worker);
        self.workers.insert(
            worker,
            Worker {
                handle,
                board,
                retiring: None,
                given_up: false,
            },
        );
        Ok(())
    }

    pub(super) fn retire(&mut self, id: WorkerId, reason: RetireReason) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        worker.retiring = Some(reason);
        worker.handle.order(ProxyCommand::Retire);
        let model = worker.handle.model();
        // Its proxy gets no more requests; what it has been sent already it still forwards.
        if let Some(model) = self.models.get(&model) {
            model.retire_route(id);
        }
        self.emit(model, Some(id), EventKind::Retiring { reason });
    }

    /// Answers everybody who waits for a model.
    pub(super) fn refuse(&mut self, id: ModelId, error: &PoolError) {
        let Some(model) = self.models.get(&id) else {
            return;
        };
        let requests = model.fail_queued(error);
        let reason = describe(error);
        self.emit(id, None, EventKind::Refused { requests, reason });
        for waiting in self.warming.remove(&id).unwrap_or_default() {
            drop(waiting.send(Err(error.clone())));
        }
    }

    pub(super) fn ready(&mut self, id: WorkerId, now: Instant) {
        self.policy.ready(id, now);
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let model = worker.handle.model();
        for waiting in self.warming.remove(&model).unwrap_or_default() {
            drop(waiting.send(Ok(())));
        }
    }

    pub(super) fn warm(&mut self, model: ModelId, reply: oneshot::Sender<Result<(), PoolError>>) {
        let serving = self
            .workers
            .values()
            .any(|worker| worker.handle.model() == model && worker.serves());
        if self.shutdown.is_some() || !self.models.contains_key(&model) {
            // A model that has just been unregistered is gone as if the pool was.
            drop(reply.send(Err(PoolError::ShuttingDown)));
        } else if serving {
            drop(reply.send(Ok(())));
        } else {
            self.warming.entry(model).or_default().push(reply);
            self.policy.warm(model);
        }
    }

    /// Takes a worker whose proxy is gone off the books.
    pub(super) fn remove(&mut self, actor: &ActorCell) -> Option<(WorkerId, Worker)> {
        let id = self.by_actor.remove(&actor.get_id())?;
        let worker = self.workers.remove(&id)?;
        Some((id, worker))
    }

    fn forget(&self, model: ModelId, worker: WorkerId) {
        if let Some(model) = self.models.get(&model) {
            model.remove_route(worker);
        }
    }

    pub(super) fn worker_ended(&mut self, actor: &ActorCell, abandoned: bool, now: Instant) {
        let Some((id, worker)) = self.remove(actor) else {
            return;
        };
        let model = worker.handle.model();
        if abandoned && worker.board.state() != WorkerState::Released {
            self.emit(model, Some(id), EventKind::Abandoned);
            if let Some(model) = self.models.get(&model) {
                model.abandon_route(&worker.board);
                let abandoned = (Arc::clone(model), worker.board);
                self.abandoned.insert(id, abandoned);
            }
            return;
        }
        self.forget(model, id);
        self.policy.exited(id, Exit::Retired, now);
        let kind = match worker.retiring {
            _ if abandoned || worker.given_up => EventKind::Returned,
            Some(RetireReason::Evicted) => EventKind::Evicted,
            _ => EventKind::Retired,
        };
        self.emit(model, Some(id), kind);
    }

    /// A step or a load exceeds its limit: a thread cannot be killed, so its callers are answered
    /// without it.
    pub(super) fn give_up(
        &mut self,
        model: ModelId,
        id: WorkerId,
        after: Duration,
        while_loading: bool,
        now: Instant,
    ) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        worker.given_up = true;
        tracing::warn!(
            worker = worker.handle.name(),
            ?after,
            while_loading,
            "worker stalled"
        );
        if let Some(model) = self.models.get(&model) {
            model.abandon_route(&worker.board);
            model.stats().worker_stalled();
            let error = PoolError::Stalled {
                model: model.info().name.clone(),
                after,
            };
            worker.handle.order(ProxyCommand::Abandon(error));
        }
        let stalled = EventKind::Stalled {
            after,
            while_loading,
        };
        self.emit(model, Some(id), stalled);
        self.failure_counted(model, !while_loading, now);
    }

    /// The thread of a worker that was given up has ended after all.
    pub(super) fn returned(&mut self, id: WorkerId, now: Instant) {
        let Some((model, _)) = self.abandoned.remove(&id) else {
            // Its proxy has not ended yet; when it has, the thread is seen to have ended too.
            return;
        };
        self.policy.exited(id, Exit::Retired, now);
        // It may have been unregistered since.
        model.remove_route(id);
        let name = &model.info().name;
        self.pool.events.emit(name, Some(id), EventKind::Returned);
    }

    pub(super) fn worker_failed(
        &mut self,
        actor: &ActorCell,
        error: ActorProcessingErr,
        now: Instant,
    ) {
        let Some((id, worker)) = self.remove(actor) else {
            return;
        };
        let model = worker.handle.model();
        self.forget(model, id);
        let (exit, reason) = match error.downcast::<WorkerFailure>() {
            Ok(failure) => {
                let exit = match failure.load_error {
                    Some(error) => Exit::LoadFailed(error),
                    None if failure.killed => Exit::Killed,
                    None => Exit::Crashed,
                };
                (exit, failure.reason)
            }
            Err(error) => (Exit::Crashed, error.to_string()),
        };
        tracing::warn!(worker = worker.handle.name(), reason, "worker failed");
        self.emit(model, Some(id), EventKind::Failed { reason });
        let crashed = matches!(exit, Exit::Crashed | Exit::Killed);
        self.policy.exited(id, exit, now);
        if !worker.given_up {
            self.failure_counted(model, crashed, now);
        }
    }

    /// Shows what the policy makes of one more failure of a model.
    fn failure_counted(&mut self, model: ModelId, restarts: bool, now: Instant) {
        let retry_after = self.policy.retry_after(model, now);
        if let Some(model) = self.models.get(&model) {
            model.stats().worker_failed();
            model.set_unavailable_until(retry_after.map(|after| now + after));
        }
        if let Some(retry_after) = retry_after {
            self.emit(model, None, EventKind::BreakerOpened { retry_after });
        } else if let Some(after) = self.policy.restart_after(model, now)
            && restarts
        {
            self.emit(model, None, EventKind::Restarting { after });
        }
    }
}
