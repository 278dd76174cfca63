//! A worker: one OS thread that owns one loaded model and serves until told to stop.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use crossbeam_utils::Backoff;
use crossbeam_utils::sync::{Parker, Unparker};
use ractor::ActorRef;

use super::board::{WorkerBoard, WorkerState};
use super::capability::{Capability, Engine, Outbox};
use super::error::PoolError;
use super::events::EventKind;
use super::hand::Hand;
use super::job::{Job, Priority};
use super::lanes::Lanes;
use super::memory::{Direction, Passage, Reservation, trim};
use super::proxy::{ProxyMessage, WorkerReport};
use super::registration::Registration;
use super::supervisor::SupervisorMessage;
use crate::models::ModelError;

/// Starts a worker's thread: names it, loads the model **on** it, then runs the loop with it.
///
/// A model that fails to load is logged and ends the thread before the loop is entered; the
/// loader and the loop share whatever they need to report that.
///
/// # Errors
/// [`PoolError::SpawnFailed`] if the operating system has no thread to give.
pub fn spawn_worker_thread<M, L, W>(
    model_loader: L,
    worker_name: impl Into<String>,
    worker_loop: W,
) -> Result<JoinHandle<()>, PoolError>
where
    L: FnOnce() -> Result<M, ModelError> + Send + 'static,
    W: FnOnce(M) + Send + 'static,
{
    let worker = worker_name.into();
    // A NUL in a thread's name would panic; model names are the user's.
    let thread_name = worker.replace('\0', "_");
    let name = worker.clone();
    std::thread::Builder::new()
        .name(thread_name)
        .spawn(move || match model_loader() {
            Ok(model) => worker_loop(model),
            Err(error) => tracing::warn!(worker = name, %error, "the model could not be loaded"),
        })
        .map_err(|source| PoolError::SpawnFailed {
            worker,
            source: Arc::new(source),
        })
}

/// An order to a worker's thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// Take no more work, finish what is in hand, end.
    Retire,
}

/// How a proxy gives orders to its worker, asleep or not. To drop it is an order to end.
pub(crate) struct Orders {
    /// Taken only by the drop.
    sender: Option<Sender<Control>>,
    unparker: Unparker,
}

impl Orders {
    pub(crate) fn new(sender: Sender<Control>, unparker: Unparker) -> Self {
        Self {
            sender: Some(sender),
            unparker,
        }
    }

    pub(crate) fn give(&self, order: Control) {
        if let Some(sender) = &self.sender {
            // A thread that has ended already has reported so.
            let _ = sender.send(order);
        }
        self.unparker.unpark();
    }
}

impl Drop for Orders {
    fn drop(&mut self) {
        drop(self.sender.take());
        self.unparker.unpark();
    }
}

/// How a worker's thread ended.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Retired,
    LoadFailed(ModelError),
    /// The model's step returned an error.
    StepFailed(ModelError),
    /// It panicked; the message is in the thread's join result.
    Panicked {
        while_loading: bool,
    },
}

/// A worker's place in the pool, held by its thread. Whichever way the thread ends, dropping the
/// seat is the last thing it does: by then the model is freed, so the memory is given back and
/// the proxy told.
pub(crate) struct Seat<C: Capability> {
    pub(crate) registration: Arc<Registration<C>>,
    pub(crate) board: Arc<WorkerBoard>,
    pub(crate) hand: Arc<Hand<C>>,
    pub(crate) control: Receiver<Control>,
    /// Where the thread sleeps when it has nothing to do.
    pub(crate) parker: Parker,
    pub(crate) proxy: ActorRef<ProxyMessage>,
    pub(crate) reservation: Option<Reservation>,
    /// What the loader, which runs before the seat is taken, found wrong.
    pub(crate) load_error: Arc<OnceLock<ModelError>>,
    pub(crate) loading_since: Instant,
    /// Measures what is given back when the model is freed; begun just before that.
    pub(crate) release: Cell<Option<Passage>>,
    pub(crate) outcome: Option<Outcome>,
}

impl<C: Capability> Seat<C> {
    fn lanes(&self) -> &Arc<Lanes<C>> {
        &self.registration.lanes
    }

    fn emit(&self, kind: EventKind) {
        let registration = &self.registration;
        registration
            .pool
            .events
            .emit(&registration.info.name, Some(self.board.id), kind);
    }
}

impl<C: Capability> fmt::Debug for Seat<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat")
            .field("worker", &self.board.id)
            .finish_non_exhaustive()
    }
}

impl<C: Capability> Seat<C> {
    /// The model is about to be freed.
    fn begin_release(&self) {
        let last = self
            .reservation
            .as_ref()
            .is_some_and(Reservation::is_last_holder);
        let memory = &self.registration.memory;
        self.release.set(memory.begin(Direction::Release, last));
    }

    /// The model is freed, or what there was of it: its pages go back to the system.
    fn end_release(&self) {
        trim();
        let (worker, passage) = (self.board.id, self.release.take());
        self.registration
            .measured(worker, Direction::Release, passage);
    }
}

impl<C: Capability> Drop for Seat<C> {
    fn drop(&mut self) {
        self.end_release();
        let loaded =
            self.outcome.is_some() || self.board.state() as u8 > WorkerState::Loading as u8;
        let outcome = match self.outcome.take() {
            Some(outcome) => outcome,
            None => match self.load_error.get() {
                Some(error) => Outcome::LoadFailed(error.clone()),
                None => Outcome::Panicked {
                    while_loading: !loaded,
                },
            },
        };
        self.board.set_state(WorkerState::Released);
        self.registration.pool.thread_ended();
        drop(self.reservation.take());
        // Either this sees that the worker was given up, or the supervisor, when it hears of the
        // proxy's end, sees that the thread has ended.
        if self.hand.is_closed() {
            self.registration
                .pool
                .supervisor
                .cast(SupervisorMessage::Returned {
                    worker: self.board.id,
                });
        }
        // With the proxy gone there is nobody left to tell.
        drop(
            self.proxy
                .send_message(ProxyMessage::Report(WorkerReport::Exited(outcome))),
        );
    }
}

/// Empties a hand when the loop is left, before the model is freed: what an unwinding thread had
/// in hand goes back to its lane at once.
struct EmptyOnDrop<'a, C: Capability>(&'a Hand<C>, &'a WorkerBoard);

impl<C: Capability> Drop for EmptyOnDrop<'_, C> {
    fn drop(&mut self) {
        self.1.set_killed(self.0.holds_only_suspects());
        self.0.drop_all();
    }
}

/// Begins to measure what the model's end gives back, whichever way the loop is left.
struct ReleaseOnDrop<'a, C: Capability>(&'a Seat<C>);

impl<C: Capability> Drop for ReleaseOnDrop<'_, C> {
    fn drop(&mut self) {
        self.0.begin_release();
    }
}

/// Serves with a loaded model until told to stop. Runs on the worker's thread.
pub(crate) fn serve<C: Capability>(model: Box<C::Model>, mut seat: Seat<C>) {
    if seat.hand.is_closed() {
        // Given up while it loaded: nobody knows this worker any more.
        drop(model);
        seat.outcome = Some(Outcome::Retired);
        return;
    }
    let load_time = seat.loading_since.elapsed();
    seat.lanes().stats().loaded(load_time);
    seat.board.set_state(WorkerState::Idle);
    // From this thread, as what follows: told by the supervisor it could come after `Busy`.
    seat.emit(EventKind::Ready { load_time });
    drop(
        seat.proxy
            .send_message(ProxyMessage::Report(WorkerReport::Ready)),
    );
    let outcome = {
        let hand = Arc::clone(&seat.hand);
        // Dropped in reverse: the jobs go back first, then the model is freed, then the seat.
        let mut engine = C::engine(model);
        let _release = ReleaseOnDrop(&seat);
        let _empty = EmptyOnDrop(&hand, &seat.board);
        let outcome = Loop {
            seat: &seat,
            interactive_turns: 0,
            compute_place: Cell::new(0),
            retiring: false,
        }
        .run(&mut engine);
        // To free the model has the same limit as a step.
        seat.board.begin_work(Instant::now());
        outcome
    };
    seat.outcome = Some(match outcome {
        Ok(()) => Outcome::Retired,
        Err(error) => Outcome::StepFailed(error),
    });
}

/// How long a worker waits for slow readers before it looks again.
const STALL_PAUSE: Duration = Duration::from_millis(2);

/// The one loop that serves all capabilities.
struct Loop<'a, C: Capability> {
    seat: &'a Seat<C>,
    /// How many turns the interactive lane has had since batch work began to wait.
    interactive_turns: usize,
    /// Where it computed last.
    compute_place: Cell<usize>,
    retiring: bool,
}

impl<C: Capability> Loop<'_, C> {
    fn run(mut self, engine: &mut C::Engine) -> Result<(), ModelError> {
        while !self.seat.hand.is_closed() {
            match self.seat.control.try_recv() {
                // Without a proxy nobody will ever send work or orders again.
                Ok(Control::Retire) | Err(TryRecvError::Disconnected) => self.retire(),
                Err(TryRecvError::Empty) => {}
            }
            let now = Instant::now();
            self.seat.board.begin_work(now);
            let dead = self.seat.hand.discard_dead(now);
            if !dead.is_empty() {
                dead.into_iter().for_each(|slot| engine.remove(slot));
                self.publish(engine);
            }
            if !self.retiring {
                self.admit(engine, now);
            }
            if self.seat.hand.len() > 0 {
                if self.seat.board.state() == WorkerState::Idle {
                    // Work was there already when it had loaded: it never had to wait.
                    self.busy();
                }
                self.step(engine)?;
            } else if self.retiring {
                return Ok(());
            } else {
                self.wait();
            }
        }
        Ok(())
    }

    fn retire(&mut self) {
        if self.retiring {
            return;
        }
        self.retiring = true;
        self.seat.board.set_state(WorkerState::Draining);
        self.seat.lanes().pass_on();
    }

    /// Takes what fits into the next step, from one lane: an interactive request does not share
    /// its step with bulk work, which would make it slower.
    fn admit(&mut self, engine: &mut C::Engine, now: Instant) {
        let lanes = self.seat.lanes();
        let hand = &self.seat.hand;
        let mut first = lanes.try_returned();
        if let Some(suspect) = first.take_if(|job| job.is_suspect()) {
            if suspect.is_dead(now) {
                suspect.discard(now);
            } else if hand.len() == 0 {
                // Alone, so that it can take no other request along if it kills again.
                self.take(engine, suspect, now);
            } else {
                // What runs is finished first; meanwhile a free worker may take the suspect.
                lanes.push_front(suspect);
            }
            return;
        }

        let first_in = |lane| first.as_ref().is_some_and(|job| job.priority() == lane);
        let batch_waits = first_in(Priority::Batch) || lanes.queued_batch() > 0;
        let interactive_waits = first_in(Priority::Interactive) || lanes.queued_interactive() > 0;
        let batch_turn =
            batch_waits && self.interactive_turns >= self.seat.registration.batch_turn_every();
        let lane = if batch_turn || !interactive_waits {
            Priority::Batch
        } else {
            Priority::Interactive
        };
        if let Some(job) = first.take_if(|job| job.priority() != lane) {
            lanes.push_front(job);
        }
        let mut taken = 0;
        while let Some(job) = first.take().or_else(|| lanes.try_lane(lane)) {
            if job.is_dead(now) {
                job.discard(now);
                continue;
            }
            let has_room = job
                .request()
                .is_some_and(|request| engine.has_room_for(request));
            if !has_room && hand.len() > 0 {
                // Back in line rather than kept: another worker may be free before this one.
                lanes.push_front(job);
                break;
            }
            if !self.take(engine, job, now) {
                break;
            }
            taken += 1;
        }
        match lane {
            Priority::Batch => self.interactive_turns = 0,
            Priority::Interactive if batch_waits && taken > 0 => self.interactive_turns += 1,
            Priority::Interactive => {}
        }
    }

    /// Takes a job up. A worker that was given up meanwhile puts it back in line.
    fn take(&self, engine: &mut C::Engine, job: Job<C>, now: Instant) -> bool {
        let Some(request) = job.request().cloned() else {
            return true;
        };
        let waited = job.waited(now);
        match self.seat.hand.put(job) {
            Ok(slot) => {
                let lanes = self.seat.lanes();
                lanes.stats().queued_for(waited);
                lanes.taken(&request, self.seat.board.id);
                engine.admit(slot, request);
                true
            }
            Err(job) => {
                self.seat.lanes().push_front(job);
                false
            }
        }
    }

    fn step(&self, engine: &mut C::Engine) -> Result<(), ModelError> {
        let seat = self.seat;
        let requests = seat.hand.len();
        let span = tracing::debug_span!(
            "step",
            model = seat.registration.info.name,
            worker = seat.board.id.0,
            requests
        );
        if !span.is_disabled() {
            seat.hand.for_each(|job| {
                let tell =
                    || tracing::debug!(job = job.id().0, worker = seat.board.id.0, "in step");
                match job.span() {
                    Some(request_span) => {
                        span.follows_from(request_span);
                        request_span.in_scope(tell);
                    }
                    None => tell(),
                }
            });
        }
        let _entered = span.entered();
        let started = Instant::now();
        let stalled;
        let outcome = {
            let share = seat
                .registration
                .pool
                .compute
                .share(self.compute_place.get());
            self.compute_place.set(share.place());
            let mut outbox = Outbox::new(&seat.hand);
            let outcome = engine.step(share.context(), &mut outbox);
            stalled = outbox.is_stalled();
            outcome
        };
        seat.board.end_work();
        if seat.hand.is_closed() {
            return outcome;
        }
        seat.lanes().stats().stepped(requests, started.elapsed());
        seat.board.set_answered(seat.hand.answered());
        self.publish(engine);
        if stalled {
            // Orders end the pause; a new request waits for it, or goes to another worker.
            seat.parker.park_timeout(STALL_PAUSE);
        }
        outcome
    }

    /// Shows what the engine has to tell of itself.
    fn publish(&self, engine: &mut C::Engine) {
        let report = engine.report();
        self.seat.lanes().stats().counted(report.tokens);
        if let Some(cache) = report.cache {
            self.seat.board.set_cache(cache);
        }
    }

    /// Shows that work was taken up.
    fn busy(&self) {
        self.seat.board.set_state(WorkerState::Busy);
        if self.seat.registration.pool.events.has_readers() {
            self.seat.emit(EventKind::Busy);
        }
    }

    /// Waits until there is work or an order.
    fn wait(&self) {
        let seat = self.seat;
        let lanes = seat.lanes();
        seat.board.end_work();
        if seat.board.state() != WorkerState::Idle {
            seat.board.set_state(WorkerState::Idle);
            if seat.registration.pool.events.has_readers() {
                seat.emit(EventKind::Idle);
            }
        }
        if seat.registration.pool.take_idle_wanted() {
            seat.registration
                .pool
                .supervisor
                .cast(SupervisorMessage::WorkerIdle);
        }
        // To look a few times is cheaper than to be woken.
        let backoff = Backoff::new();
        while !backoff.is_completed() {
            if lanes.queued() > 0 || !seat.control.is_empty() {
                return;
            }
            backoff.snooze();
        }
        // Woken by a job, by an order, or by the end of the proxy.
        lanes
            .idle()
            .wait(seat.board.id, &seat.parker, || lanes.queued() > 0);
    }
}
