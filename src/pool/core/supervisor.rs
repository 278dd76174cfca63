//! The actor that owns memory accounting and worker lifecycle: event in, policy, actions out.
//!
//! It is on no warm request's path, and nothing it does waits for a model: workers load on their
//! own threads and report.

mod closing;
mod draining;
mod link;
mod pressure;
mod snapshot;
mod workers;

pub(crate) use link::{SupervisorLink, SupervisorMessage};

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use ractor::concurrency::JoinHandle;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, MessagingErr, SupervisionEvent};
use tokio::sync::oneshot;

use super::board::WorkerBoard;
use super::catalogue::Catalogue;
use super::error::PoolError;
use super::events::EventKind;
use super::ids::{ModelId, WorkerId};
use super::metrics::{memory_pressure_gauge, reserved_bytes_gauge};
use super::policy::{Action, Exit, Policy, PolicyConfig};
use super::proxy::{ABANDONED, describe};
use super::registration::{AnyModel, PoolShared};
use super::shutdown::ShutdownState;
use draining::Drain;
use pressure::Sampler;
use snapshot::Snapshot;
use workers::Worker;

/// The actor; all it knows is in [`SupervisorState`].
pub(crate) struct Supervisor;

/// What the supervisor is started with. The pool's shared part needs the supervisor's own
/// reference, so it is made from it.
pub(crate) type MakeShared = Box<dyn FnOnce(SupervisorLink) -> Arc<PoolShared> + Send>;

pub(crate) struct SupervisorState {
    pool: Arc<PoolShared>,
    catalogue: Arc<Catalogue>,
    policy: Policy,
    models: BTreeMap<ModelId, Arc<dyn AnyModel>>,
    workers: BTreeMap<WorkerId, Worker>,
    /// Workers that were given up and whose threads have not returned.
    abandoned: BTreeMap<WorkerId, (Arc<dyn AnyModel>, Arc<WorkerBoard>)>,
    drains: BTreeMap<u64, Drain>,
    last_drain: u64,
    by_actor: HashMap<ActorId, WorkerId>,
    warming: BTreeMap<ModelId, Vec<oneshot::Sender<Result<(), PoolError>>>>,
    sampler: Option<Sampler>,
    wake: Option<JoinHandle<Result<(), MessagingErr<SupervisorMessage>>>>,
    shutdown: Option<ShutdownState>,
}

impl Actor for Supervisor {
    type Msg = SupervisorMessage;
    type State = SupervisorState;
    type Arguments = (
        PolicyConfig,
        MakeShared,
        Arc<Catalogue>,
        oneshot::Sender<Arc<PoolShared>>,
    );

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        (config, make_shared, catalogue, started): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let pool = make_shared(SupervisorLink::new(myself));
        // The pool that starts this actor waits for it.
        drop(started.send(Arc::clone(&pool)));
        let sampler = pool.config.pressure.map(Sampler::new);
        Ok(SupervisorState {
            pool,
            catalogue,
            policy: Policy::new(config),
            models: BTreeMap::new(),
            workers: BTreeMap::new(),
            abandoned: BTreeMap::new(),
            drains: BTreeMap::new(),
            last_drain: 0,
            by_actor: HashMap::new(),
            warming: BTreeMap::new(),
            sampler,
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
            SupervisorMessage::Ping { reply } => {
                // Whoever asked may have stopped waiting.
                let _ = reply.send(());
                return Ok(());
            }
            SupervisorMessage::Submit { model, job } => {
                state.look_before_cold_start(now);
                job.enqueue();
                state.policy.demand(model);
            }
            SupervisorMessage::Demand { model } => {
                state.look_before_cold_start(now);
                state.policy.demand(model);
            }
            SupervisorMessage::Saturated { model, idle_epoch } => {
                state.policy.saturated(model, idle_epoch, now);
            }
            SupervisorMessage::Ready { worker } => state.ready(worker, now),
            SupervisorMessage::Returned { worker } => state.returned(worker, now),
            SupervisorMessage::Drain {
                model,
                leave,
                grace,
                reply,
            } => state.drain(model, leave, grace, reply, &myself),
            SupervisorMessage::DrainOver { number } => state.drain_over(number),
            SupervisorMessage::WorkerIdle
            | SupervisorMessage::Drained
            | SupervisorMessage::MemoryFreed
            | SupervisorMessage::Wake => {}
            SupervisorMessage::Measured { model } => state.correct(model),
            SupervisorMessage::LookAtMemory => {
                state.look_at_memory();
                return Ok(());
            }
            SupervisorMessage::MemoryLeft(bytes) => state.memory_left(bytes),
            SupervisorMessage::Warm { model, reply } => {
                state.look_before_cold_start(now);
                state.warm(model, reply);
            }
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
            SupervisionEvent::ActorTerminated(actor, proxy_state, reason) => {
                // First of all: what is still in its inbox goes back in line.
                drop(proxy_state);
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
            self.show_reserved();
            self.finish_shutdown(myself);
            return;
        }
        self.advance_drains();
        let (mut wake_at, wants_idle) = self.decide_and_act(myself, now).await;
        if wants_idle {
            self.pool.want_idle(true);
            // A worker that went idle between the decision and the wish would not be heard of.
            (wake_at, _) = self.decide_and_act(myself, now).await;
        }
        self.show_reserved();
        self.arm_sampler(myself);
        if let Some(armed) = self.wake.take() {
            armed.abort();
        }
        self.wake = wake_at.map(|at| {
            myself.send_after(at.saturating_duration_since(now), || {
                SupervisorMessage::Wake
            })
        });
    }

    /// One decision, carried out: when to decide again, and whether to be told of idle workers.
    async fn decide_and_act(
        &mut self,
        myself: &ActorRef<SupervisorMessage>,
        now: Instant,
    ) -> (Option<Instant>, bool) {
        let view = Snapshot {
            pool: &self.pool,
            models: &self.models,
            workers: &self.workers,
            now,
            held: RefCell::default(),
        };
        let decision = self.policy.decide(now, &view);
        // Weights that the decision has counted on are not released before it is carried out.
        let held = view.held.into_inner();
        for model in &decision.relaxed {
            if let Some(model) = self.models.get(model) {
                model.not_saturated();
            }
        }
        for action in decision.actions {
            self.act(action, myself, now).await;
        }
        drop(held);
        (decision.wake_at, decision.wants_idle)
    }

    /// Counts a model's later workers with what was measured.
    fn correct(&mut self, id: ModelId) {
        let corrected = self
            .models
            .get(&id)
            .and_then(|model| model.memory().correct());
        if let Some(footprint) = corrected {
            self.policy.resize(id, footprint);
        }
    }

    fn show_reserved(&self) {
        for (device, ledger) in self.pool.ledgers.iter() {
            reserved_bytes_gauge(device).set(ledger.reserved_bytes() as f64);
        }
        let short = self.pool.pressure().shortage().is_some();
        memory_pressure_gauge().set(f64::from(u8::from(short)));
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
            Action::Abandon {
                model,
                worker,
                after,
                while_loading,
            } => self.give_up(model, worker, after, while_loading, now),
            Action::FailQueued { model, error } => self.refuse(model, &error),
        }
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
