//! The actor around one worker: it forwards requests, watches the thread and reports.

use std::cell::Cell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use crossbeam_utils::sync::Parker;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::board::{WorkerBoard, WorkerState};
use super::capability::Capability;
use super::compute::LoadContext;
use super::error::PoolError;
use super::events::EventKind;
use super::hand::Hand;
use super::inbox::Inbox;
use super::job::Job;
use super::memory::{Direction, Reservation, trim};
use super::registration::{PoolShared, Registration};
use super::supervisor::SupervisorMessage;
use super::worker::{Control, Orders, Outcome, Seat, serve, spawn_worker_thread};
use crate::models::ModelError;

/// A thread has this long to end after it has said that it is about to.
const JOIN_LIMIT: Duration = Duration::from_secs(5);

/// How many requests a proxy forwards before it lets other tasks run.
const AT_A_TIME: usize = 128;

/// The reason with which a proxy stops whose thread did not come back.
pub(crate) const ABANDONED: &str = "abandoned";

/// What a proxy is sent.
pub(crate) enum ProxyMessage {
    /// Requests for the model's lanes are in its inbox.
    Forward,
    /// An order from the supervisor.
    Command(ProxyCommand),
    /// News from the worker's thread.
    Report(WorkerReport),
}

/// What the supervisor may order, whatever the model's capability.
#[derive(Debug, Clone)]
pub(crate) enum ProxyCommand {
    /// Let the worker finish what it has in hand, then end.
    Retire,
    /// Answer what the worker has in hand with the error, and wait for its thread no longer.
    Abandon(PoolError),
    /// Put what the worker has in hand back in line, and wait for its thread no longer.
    PutBack,
}

impl From<ProxyCommand> for ProxyMessage {
    fn from(command: ProxyCommand) -> Self {
        Self::Command(command)
    }
}

impl TryFrom<ProxyMessage> for ProxyCommand {
    type Error = ();

    fn try_from(message: ProxyMessage) -> Result<Self, ()> {
        match message {
            ProxyMessage::Command(command) => Ok(command),
            ProxyMessage::Forward | ProxyMessage::Report(_) => Err(()),
        }
    }
}

/// What a worker's thread tells its proxy.
pub(crate) enum WorkerReport {
    /// The model is loaded.
    Ready,
    /// The thread is about to end; model and memory are given back.
    Exited(Outcome),
}

/// Why a proxy failed; the supervisor finds it in the supervision event.
#[derive(Debug, thiserror::Error)]
#[error("worker failed: {reason}")]
pub(crate) struct WorkerFailure {
    /// For loads that failed: what waiting callers are told.
    pub(crate) load_error: Option<PoolError>,
    /// A request that had killed before was all that the worker had in hand.
    pub(crate) killed: bool,
    pub(crate) reason: String,
}

/// The actor. Its state is [`ProxyState`].
pub(crate) struct Proxy<C: Capability> {
    pub(crate) registration: Arc<Registration<C>>,
}

/// What a proxy needs to start its worker.
pub(crate) struct ProxyArguments<C: Capability> {
    pub(crate) board: Arc<WorkerBoard>,
    pub(crate) inbox: Inbox<C>,
    pub(crate) reservation: Reservation,
}

pub(crate) struct ProxyState<C: Capability> {
    board: Arc<WorkerBoard>,
    hand: Arc<Hand<C>>,
    inbox: Inbox<C>,
    /// Empty; exchanged for the inbox's contents.
    spare: Vec<Job<C>>,
    orders: Orders,
    thread: Option<JoinHandle<()>>,
    /// Given up when it ends.
    counted: Option<CountedProxy>,
}

/// One more proxy, for as long as this lives.
struct CountedProxy(Arc<PoolShared>);

impl CountedProxy {
    fn new(pool: &Arc<PoolShared>) -> Self {
        pool.proxy_started();
        Self(Arc::clone(pool))
    }
}

impl Drop for CountedProxy {
    fn drop(&mut self) {
        self.0.proxy_ended();
    }
}

impl<C: Capability> Actor for Proxy<C> {
    type Msg = ProxyMessage;
    type State = ProxyState<C>;
    type Arguments = ProxyArguments<C>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        arguments: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let registration = &self.registration;
        let ProxyArguments {
            board,
            inbox,
            reservation,
        } = arguments;
        let hand = Arc::new(Hand::new(registration.info.name.clone()));
        let (sender, control) = unbounded();
        let parker = Parker::new();
        let orders = Orders::new(sender, parker.unparker().clone());
        let load_error = Arc::new(OnceLock::new());
        let brings_weights = reservation.is_last_holder();
        registration.pool.thread_started();
        let seat = Seat {
            registration: Arc::clone(registration),
            board: Arc::clone(&board),
            hand: Arc::clone(&hand),
            control,
            parker,
            proxy: myself,
            reservation: Some(reservation),
            load_error: Arc::clone(&load_error),
            loading_since: Instant::now(),
            release: Cell::new(None),
            outcome: None,
        };
        let thread = spawn_worker_thread(
            loader(
                Arc::clone(registration),
                Arc::clone(&board),
                brings_weights,
                load_error,
            ),
            board.name.clone(),
            move |model| serve(model, seat),
        )?;
        Ok(ProxyState {
            board,
            hand,
            inbox,
            spare: Vec::new(),
            orders,
            thread: Some(thread),
            counted: Some(CountedProxy::new(&registration.pool)),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ProxyMessage::Forward => self.forward(state).await,
            ProxyMessage::Command(ProxyCommand::Retire) => {
                state.orders.give(Control::Retire);
            }
            ProxyMessage::Command(ProxyCommand::Abandon(error)) => {
                state.hand.close(&error);
                myself.stop(Some(ABANDONED.to_owned()));
            }
            ProxyMessage::Command(ProxyCommand::PutBack) => {
                state.hand.put_back();
                myself.stop(Some(ABANDONED.to_owned()));
            }
            ProxyMessage::Report(WorkerReport::Ready) => {
                let supervisor = &self.registration.pool.supervisor;
                supervisor.cast(SupervisorMessage::Ready {
                    worker: state.board.id,
                });
            }
            ProxyMessage::Report(WorkerReport::Exited(outcome)) => {
                let panic_message = match state.thread.take() {
                    Some(thread) => join(thread).await,
                    None => None,
                };
                match self.failure(outcome, panic_message, &state.board) {
                    None => myself.stop(None),
                    Some(failure) => {
                        // Of a failure the supervisor is told before the state is freed, and may end first.
                        state.counted = None;
                        return Err(Box::new(failure));
                    }
                }
            }
        }
        Ok(())
    }
}

impl<C: Capability> Proxy<C> {
    /// Puts what is in the inbox in line.
    async fn forward(&self, state: &mut ProxyState<C>) {
        let lanes = &self.registration.lanes;
        if lanes.idle().count() == 0 && lanes.permits().taken() > 1 {
            // No worker waits for these: callers that are about to run may add theirs first.
            behind_others().await;
        }
        let mut jobs = state.inbox.take_all(std::mem::take(&mut state.spare));
        for (count, job) in (1..).zip(jobs.drain(..)) {
            lanes.push(job);
            if count % AT_A_TIME == 0 {
                tokio::task::yield_now().await;
            }
        }
        state.spare = jobs;
    }

    fn failure(
        &self,
        outcome: Outcome,
        panic_message: Option<String>,
        board: &WorkerBoard,
    ) -> Option<WorkerFailure> {
        let panicked = || panic_message.unwrap_or_else(|| "the thread panicked".to_owned());
        let (load_error, reason) = match outcome {
            Outcome::Retired => return None,
            Outcome::StepFailed(error) => (None, describe(&error)),
            Outcome::LoadFailed(source) => {
                let reason = describe(&source);
                (Some(source), reason)
            }
            Outcome::Panicked {
                while_loading: true,
            } => {
                let reason = format!("panicked while loading: {}", panicked());
                (Some(ModelError::Other(reason.clone())), reason)
            }
            Outcome::Panicked {
                while_loading: false,
            } => (None, format!("panicked: {}", panicked())),
        };
        let load_error = load_error.map(|source| PoolError::LoadFailed {
            model: self.registration.info.name.clone(),
            source,
        });
        Some(WorkerFailure {
            load_error,
            killed: board.was_killed(),
            reason,
        })
    }
}

/// The loader as it runs on the worker's thread.
fn loader<C: Capability>(
    registration: Arc<Registration<C>>,
    board: Arc<WorkerBoard>,
    brings_weights: bool,
    load_error: Arc<OnceLock<ModelError>>,
) -> impl FnOnce() -> Result<Box<C::Model>, ModelError> + Send {
    move || {
        board.set_state(WorkerState::Loading);
        registration
            .pool
            .events
            .emit(&registration.info.name, Some(board.id), EventKind::Loading);
        let passage = registration.memory.begin(Direction::Load, brings_weights);
        let context = LoadContext::new(registration.pool.config.compute_threads);
        let loaded = (registration.loader)(&context);
        // What it took to load, and was freed again, is not left with the process.
        trim();
        match &loaded {
            Ok(_) => registration.measured(board.id, Direction::Load, passage),
            Err(error) => {
                load_error.get_or_init(|| error.clone());
            }
        }
        loaded
    }
}

/// Lets the tasks run that are ready now. Unlike tokio's own `yield_now`, this does not look at
/// timers and sockets first, which costs a system call.
async fn behind_others() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Joins a thread that has said that it ends, off the async threads and for a bounded time. The
/// answer is its panic's message, if it panicked.
async fn join(thread: JoinHandle<()>) -> Option<String> {
    let joining = tokio::task::spawn_blocking(move || thread.join());
    let joined = tokio::time::timeout(JOIN_LIMIT, joining).await.ok()?.ok()?;
    let payload = joined.err()?;
    let message = payload
        .downcast_ref::<&str>()
        .map(|message| (*message).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned());
    // A payload is the model's own value, and may panic once more when it is dropped.
    drop(catch_unwind(AssertUnwindSafe(|| drop(payload))));
    Some(message.unwrap_or_else(|| "with a payload that is not text".to_owned()))
}

/// An error and its sources on one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
