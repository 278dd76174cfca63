//! The actor that owns memory accounting and worker lifecycle: event in, policy, actions out.
//!
//! It is on no warm request's path, and nothing it does waits for a model: workers load on their
//! own threads and report.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::concurrency::JoinHandle;
use ractor::{
    Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, MessagingErr, SupervisionEvent,
};
use tokio::sync::oneshot;

use super::error::PoolError;
use super::events::EventKind;
use super::ids::{ModelId, WorkerId};
use super::memory::check_memory_available;
use super::metrics::reserved_bytes_gauge;
use super::policy::{
    Action, Exit, Policy, PolicyConfig, QueueView, RetireReason, StartReason, View, WorkerView,
};
use super::proxy::{ABANDONED, ProxyCommand, WorkerFailure, describe};
use super::registration::{AnyModel, PoolShared, QueuedJob, RegisteredDemand, WorkerHandle};
use super::shutdown::{ShutdownReport, ShutdownState};
use super::worker::{WorkerBoard, WorkerState};

/// What the supervisor is told.
pub(crate) enum SupervisorMessage {
    Register(Arc<dyn AnyModel>),
    /// A job for a model that had no worker when it was sent.
    Submit {
        model: ModelId,
        job: Box<dyn QueuedJob>,
    },
    /// Work waits for a model that may have no worker.
    Demand {
        model: ModelId,
    },
    /// Every worker of a model is busy, and work waits.
    Saturated {
        model: ModelId,
        idle_epoch: u64,
    },
    Ready {
        worker: WorkerId,
    },
    /// A worker has nothing to do, and the supervisor had asked to be told.
    WorkerIdle,
    /// A reservation was given back.
    MemoryFreed,
    Warm {
        model: ModelId,
        reply: oneshot::Sender<Result<(), PoolError>>,
    },
    Pin {
        model: ModelId,
        pinned: bool,
    },
    /// The time has come that the last decision named.
    Wake,
    Shutdown {
        grace: Duration,
        reply: Option<oneshot::Sender<ShutdownReport>>,
    },
    GraceOver,
}

/// How the rest of the pool reaches the supervisor.
#[derive(Clone)]
pub(crate) struct SupervisorLink(ActorRef<SupervisorMessage>);

impl fmt::Debug for SupervisorLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SupervisorLink")
            .field(&self.0.get_id())
            .finish()
    }
}

impl SupervisorLink {
    pub(crate) fn new(actor: ActorRef<SupervisorMessage>) -> Self {
        Self(actor)
    }

    /// Sends without waiting. A supervisor that is gone has nothing left to decide.
    pub(crate) fn cast(&self, message: SupervisorMessage) {
        drop(self.0.send_message(message));
    }

    #[cfg(feature = "testing")]
    pub(crate) fn is_stopped(&self) -> bool {
        self.0.get_status() == ractor::ActorStatus::Stopped
    }

    /// Sends without waiting, and gives the message back if the supervisor is gone.
    pub(crate) fn try_cast(&self, message: SupervisorMessage) -> Option<SupervisorMessage> {
        match self.0.send_message(message) {
            Err(MessagingErr::SendErr(message)) => Some(message),
            Ok(()) | Err(_) => None,
        }
    }
}

/// The actor; all it knows is in [`SupervisorState`].
pub(crate) struct Supervisor;

/// What the supervisor is started with. The pool's shared part needs the supervisor's own
/// reference, so it is made from it.
pub(crate) type MakeShared = Box<dyn FnOnce(SupervisorLink) -> Arc<PoolShared> + Send>;

struct Worker {
    handle: WorkerHandle,
    board: Arc<WorkerBoard>,
    retiring: Option<RetireReason>,
}

impl Worker {
    /// It takes requests out of its model's queue.
    fn serves(&self) -> bool {
        let state = self.board.state();
        self.retiring.is_none() && matches!(state, WorkerState::Idle | WorkerState::Busy)
    }
}

pub(crate) struct SupervisorState {
    pool: Arc<PoolShared>,
    policy: Policy,
    models: BTreeMap<ModelId, Arc<dyn AnyModel>>,
    workers: BTreeMap<WorkerId, Worker>,
    by_actor: HashMap<ActorId, WorkerId>,
    warming: BTreeMap<ModelId, Vec<oneshot::Sender<Result<(), PoolError>>>>,
    wake: Option<JoinHandle<Result<(), MessagingErr<SupervisorMessage>>>>,
    shutdown: Option<ShutdownState>,
}

impl Actor for Supervisor {
    type Msg = SupervisorMessage;
    type State = SupervisorState;
    type Arguments = (PolicyConfig, MakeShared, oneshot::Sender<Arc<PoolShared>>);

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        (config, make_shared, started): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let pool = make_shared(SupervisorLink::new(myself));
        // The pool that starts this actor waits for it.
        drop(started.send(Arc::clone(&pool)));
        Ok(SupervisorState {
            pool,
            policy: Policy::new(config),
            models: BTreeMap::new(),
            workers: BTreeMap::new(),
            by_actor: HashMap::new(),
            warming: BTreeMap::new(),
            wake: None,
            shutdown: None,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let now = Instant::now();
        match message {
            SupervisorMessage::Register(model) => {
                if state.shutdown.is_some() {
                    model.close(PoolError::ShuttingDown);
                }
                state.policy.register(model.id(), model.plan());
                state.models.insert(model.id(), model);
                return Ok(());
            }
            SupervisorMessage::Submit { model, job } => {
                job.enqueue();
                state.policy.demand(model);
            }
            SupervisorMessage::Demand { model } => state.policy.demand(model),
            SupervisorMessage::Saturated { model, idle_epoch } => {
                state.policy.saturated(model, idle_epoch, now);
            }
            SupervisorMessage::Ready { worker } => state.ready(worker, now),
            SupervisorMessage::WorkerIdle
            | SupervisorMessage::MemoryFreed
            | SupervisorMessage::Wake => {}
            SupervisorMessage::Warm { model, reply } => state.warm(model, reply),
            SupervisorMessage::Pin { model, pinned } => state.policy.pin(model, pinned),
            SupervisorMessage::Shutdown { grace, reply } => state.shut_down(grace, reply, &myself),
            SupervisorMessage::GraceOver => state.abandon_the_rest(),
        }
        state.settle(&myself, now).await;
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let now = Instant::now();
        match event {
            SupervisionEvent::ActorTerminated(actor, _, reason) => {
                let abandoned = reason.as_deref() == Some(ABANDONED);
                state.worker_ended(&actor, abandoned, now);
            }
            SupervisionEvent::ActorFailed(actor, error) => state.worker_failed(&actor, error, now),
            _ => return Ok(()),
        }
        state.settle(&myself, now).await;
        Ok(())
    }
}

impl SupervisorState {
    /// Decides and acts until there is nothing more to do now, then arms the next wake-up.
    async fn settle(&mut self, myself: &ActorRef<SupervisorMessage>, now: Instant) {
        if self.shutdown.is_some() {
            reserved_bytes_gauge().set(self.pool.ledger.reserved_bytes() as f64);
            self.finish_shutdown(myself);
            return;
        }
        let view = Snapshot {
            pool: &self.pool,
            models: &self.models,
            workers: &self.workers,
            now,
        };
        let mut decision = self.policy.decide(now, &view);
        if decision.wants_idle {
            self.pool.want_idle(true);
            // A worker that went idle between the decision and the wish would not be heard of.
            let view = Snapshot {
                pool: &self.pool,
                models: &self.models,
                workers: &self.workers,
                now,
            };
            let second = self.policy.decide(now, &view);
            decision.actions.extend(second.actions);
            decision.relaxed.extend(second.relaxed);
            decision.wake_at = match (decision.wake_at, second.wake_at) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        for model in &decision.relaxed {
            if let Some(model) = self.models.get(model) {
                model.not_saturated();
            }
        }
        for action in decision.actions {
            self.act(action, myself, now).await;
        }
        reserved_bytes_gauge().set(self.pool.ledger.reserved_bytes() as f64);
        if let Some(armed) = self.wake.take() {
            armed.abort();
        }
        self.wake = decision.wake_at.map(|at| {
            myself.send_after(at.saturating_duration_since(now), || {
                SupervisorMessage::Wake
            })
        });
    }

    async fn act(&mut self, action: Action, myself: &ActorRef<SupervisorMessage>, now: Instant) {
        match action {
            Action::Start {
                model,
                worker,
                reason,
            } => {
                if let Err(error) = self.start(model, worker, reason, myself).await {
                    tracing::warn!(
                        worker = worker.0,
                        error = describe(&error),
                        "worker not started"
                    );
                    self.emit(model, Some(worker), failed(&error));
                    self.policy.exited(worker, Exit::LoadFailed(error), now);
                    self.pool.supervisor.cast(SupervisorMessage::Wake);
                }
            }
            Action::Retire { worker, reason } => self.retire(worker, reason),
            Action::FailQueued { model, error } => self.refuse(model, &error),
        }
    }

    async fn start(
        &mut self,
        id: ModelId,
        worker: WorkerId,
        reason: StartReason,
        myself: &ActorRef<SupervisorMessage>,
    ) -> Result<(), PoolError> {
        let Some(model) = self.models.get(&id).cloned() else {
            return Err(PoolError::Internal(format!("no model {id}")));
        };
        let ledger = &self.pool.ledger;
        check_memory_available(&RegisteredDemand(&*model), ledger.reserved_mb(), 1)?;
        let bytes = model.plan().worker_bytes;
        let reservation = ledger
            .try_reserve(bytes)
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
            },
        );
        Ok(())
    }

    fn retire(&mut self, id: WorkerId, reason: RetireReason) {
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
    fn refuse(&mut self, id: ModelId, error: &PoolError) {
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

    fn ready(&mut self, id: WorkerId, now: Instant) {
        self.policy.ready(id, now);
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let model = worker.handle.model();
        for waiting in self.warming.remove(&model).unwrap_or_default() {
            drop(waiting.send(Ok(())));
        }
    }

    fn warm(&mut self, model: ModelId, reply: oneshot::Sender<Result<(), PoolError>>) {
        let serving = self
            .workers
            .values()
            .any(|worker| worker.handle.model() == model && worker.serves());
        if self.shutdown.is_some() {
            drop(reply.send(Err(PoolError::ShuttingDown)));
        } else if serving {
            drop(reply.send(Ok(())));
        } else {
            self.warming.entry(model).or_default().push(reply);
            self.policy.warm(model);
        }
    }

    /// Takes a worker whose proxy is gone off the books.
    fn remove(&mut self, actor: &ActorCell) -> Option<(WorkerId, Worker)> {
        let id = self.by_actor.remove(&actor.get_id())?;
        let worker = self.workers.remove(&id)?;
        if let Some(model) = self.models.get(&worker.handle.model()) {
            model.remove_route(id);
        }
        Some((id, worker))
    }

    fn worker_ended(&mut self, actor: &ActorCell, abandoned: bool, now: Instant) {
        let Some((id, worker)) = self.remove(actor) else {
            return;
        };
        self.policy.exited(id, Exit::Retired, now);
        let kind = match worker.retiring {
            _ if abandoned => EventKind::Abandoned,
            Some(RetireReason::Evicted) => EventKind::Evicted,
            _ => EventKind::Retired,
        };
        self.emit(worker.handle.model(), Some(id), kind);
    }

    fn worker_failed(&mut self, actor: &ActorCell, error: ActorProcessingErr, now: Instant) {
        let Some((id, worker)) = self.remove(actor) else {
            return;
        };
        let model = worker.handle.model();
        let (exit, reason) = match error.downcast::<WorkerFailure>() {
            Ok(failure) => {
                let exit = failure.load_error.map_or(Exit::Crashed, Exit::LoadFailed);
                (exit, failure.reason)
            }
            Err(error) => (Exit::Crashed, error.to_string()),
        };
        tracing::warn!(worker = worker.handle.name(), reason, "worker failed");
        self.emit(model, Some(id), EventKind::Failed { reason });
        let crashed = matches!(exit, Exit::Crashed);
        self.policy.exited(id, exit, now);

        let retry_after = self.policy.retry_after(model, now);
        if let Some(model) = self.models.get(&model) {
            model.stats().worker_failed();
            model.set_unavailable_until(retry_after.map(|after| now + after));
        }
        if let Some(retry_after) = retry_after {
            self.emit(model, None, EventKind::BreakerOpened { retry_after });
        } else if let Some(after) = self.policy.restart_after(model, now)
            && crashed
        {
            self.emit(model, None, EventKind::Restarting { after });
        }
    }

    fn shut_down(
        &mut self,
        grace: Duration,
        reply: Option<oneshot::Sender<ShutdownReport>>,
        myself: &ActorRef<SupervisorMessage>,
    ) {
        if let Some(under_way) = &mut self.shutdown {
            under_way.also_tell(reply);
            return;
        }
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
    fn abandon_the_rest(&mut self) {
        let Some(shutdown) = &mut self.shutdown else {
            return;
        };
        for worker in self.workers.values() {
            shutdown.abandon(&worker.board.name);
            worker
                .handle
                .order(ProxyCommand::Abandon(PoolError::ShuttingDown));
        }
    }

    fn finish_shutdown(&mut self, myself: &ActorRef<SupervisorMessage>) {
        if !self.workers.is_empty() {
            return;
        }
        let answered = self.answered();
        if let Some(shutdown) = self.shutdown.take() {
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

    fn answered(&self) -> u64 {
        self.models
            .values()
            .map(|model| model.stats().snapshot().answered)
            .sum()
    }

    fn emit(&self, model: ModelId, worker: Option<WorkerId>, kind: EventKind) {
        if let Some(model) = self.models.get(&model) {
            self.pool.events.emit(&model.info().name, worker, kind);
        }
    }
}

fn failed(error: &PoolError) -> EventKind {
    EventKind::Failed {
        reason: describe(error),
    }
}

/// The world as the policy sees it.
struct Snapshot<'a> {
    pool: &'a PoolShared,
    models: &'a BTreeMap<ModelId, Arc<dyn AnyModel>>,
    workers: &'a BTreeMap<WorkerId, Worker>,
    now: Instant,
}

impl Snapshot<'_> {
    fn is_served(&self, model: ModelId) -> bool {
        self.workers
            .values()
            .any(|worker| worker.handle.model() == model && worker.serves())
    }
}

impl View for Snapshot<'_> {
    fn limit_bytes(&self) -> u64 {
        self.pool.ledger.limit_bytes()
    }

    fn reserved_bytes(&self) -> u64 {
        self.pool.ledger.reserved_bytes()
    }

    fn queue(&self, id: ModelId) -> QueueView {
        let Some(model) = self.models.get(&id) else {
            return QueueView::default();
        };
        let queue = model.queue();
        if queue.queued == 0 || self.is_served(id) {
            return queue;
        }
        // Nobody takes out what is dead, and nothing is started or evicted for callers that have
        // gone.
        model.sweep(self.now);
        model.queue()
    }

    fn worker(&self, worker: WorkerId) -> WorkerView {
        self.workers
            .get(&worker)
            .map_or(WorkerView::default(), |worker| WorkerView {
                idle_since: worker.board.idle_since(),
                answered: worker.board.answered(),
            })
    }

    fn never_fits(&self, id: ModelId) -> PoolError {
        let Some(model) = self.models.get(&id) else {
            return PoolError::Internal(format!("no model {id}"));
        };
        match check_memory_available(&RegisteredDemand(&**model), 0, 1) {
            Err(error) => error,
            Ok(()) => PoolError::Internal(format!("{} fits after all", model.info().name)),
        }
    }
}
