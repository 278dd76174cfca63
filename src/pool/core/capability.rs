//! What a capability is to the machine.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::hand::Hand;
use super::report::EngineReport;
use super::step::StepContext;
use crate::models::ModelError;

/// Something that models can be asked, such as to embed a text.
///
/// A capability is data and one adapter: the request, what comes back, and an [`Engine`] that
/// drives a loaded model in steps. Queues, workers, supervision and memory are the pool's.
pub trait Capability: Sized + Send + Sync + 'static {
    /// The capability's name in status, logs and metrics.
    const NAME: &'static str;
    /// The trait object that its models implement, such as `dyn TextEmbeddingCapable`.
    type Model: ?Sized + 'static;
    /// What is asked: plain data, ready for the model.
    type Request: fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What comes back: once for a request that is asked, any number of times for one that is streamed.
    type Item: fmt::Debug + Serialize + DeserializeOwned + Send + 'static;
    /// What handles of a model need on the caller's side, such as its tokenizer.
    type CallerSide: Send + Sync + 'static;
    /// Drives a loaded model.
    type Engine: Engine<Self>;

    /// A request as small as can be, that any healthy model of this capability serves: what
    /// [`Pool::probe`](super::Pool::probe) sends. Called where it may block. Default: none.
    ///
    /// # Errors
    /// What keeps the caller's side from preparing it.
    fn probe_request(caller_side: &Self::CallerSide) -> Result<Option<Self::Request>, ModelError> {
        let _ = caller_side;
        Ok(None)
    }

    /// Marks of the request's beginnings, the shortest first: a worker that has served a request
    /// with one of them is quicker with this one. Of several workers that wait, the request wakes
    /// the one that took the longest of them last. Default: none.
    fn beginnings(request: &Self::Request) -> Vec<u64> {
        let _ = request;
        Vec::new()
    }

    /// Wraps a loaded model. Called on the worker's thread.
    fn engine(model: Box<Self::Model>) -> Self::Engine;
}

/// Which of a worker's requests is meant. Valid from `admit` until it is finished or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub(crate) usize);

/// Drives one loaded model in steps on the worker's thread.
///
/// A step is short: a batch for embeddings, one decode iteration for text, one denoising step for
/// images. Between steps the worker looks at cancellations, deadlines and orders to retire.
pub trait Engine<C: Capability>: 'static {
    /// Whether the request still fits beside those admitted. Asked before each
    /// [`admit`](Self::admit); an engine that holds nothing must take any request.
    fn has_room_for(&self, request: &C::Request) -> bool;

    /// Takes a request in. It is served by the steps that follow, until it is finished through
    /// the [`Outbox`] or [removed](Self::remove).
    fn admit(&mut self, slot: Slot, request: Arc<C::Request>);

    /// Forgets a request whose caller has gone.
    fn remove(&mut self, slot: Slot);

    /// Does the next piece of work, answering through `outbox`.
    ///
    /// # Errors
    /// An error means that the model itself is broken: the worker ends and is restarted, and its
    /// requests go back into the queue. An error of one request goes to [`Outbox::fail`].
    fn step(&mut self, context: &StepContext, outbox: &mut Outbox<'_, C>)
    -> Result<(), ModelError>;

    /// What there is to tell of the work since the last time; asked after each step, and after
    /// requests were removed.
    fn report(&mut self) -> EngineReport {
        EngineReport::default()
    }
}

/// Where an engine puts what it has computed.
pub struct Outbox<'a, C: Capability> {
    hand: &'a Hand<C>,
    stalled: bool,
}

impl<C: Capability> fmt::Debug for Outbox<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

impl<'a, C: Capability> Outbox<'a, C> {
    pub(crate) fn new(hand: &'a Hand<C>) -> Self {
        Self {
            hand,
            stalled: false,
        }
    }

    /// Whether the caller reads items as they come; otherwise he [asked](super::ModelHandle::ask)
    /// for one answer, which is the item that the request is finished with.
    pub fn is_stream(&self, slot: Slot) -> bool {
        self.hand.is_stream(slot)
    }

    /// Whether the reader of a stream has room for another item. An engine leaves a sequence
    /// alone while it has not: a slow reader slows only itself.
    pub fn has_room(&self, slot: Slot) -> bool {
        self.hand.has_room(slot)
    }

    /// How long ago a request was accepted from its caller.
    pub fn age(&self, slot: Slot) -> Duration {
        self.hand.age(slot, Instant::now())
    }

    /// Sends one item of a stream that goes on. `false` when nobody reads it any more, or when
    /// the reader has no room; the request is then best left alone until the next step.
    pub fn emit(&mut self, slot: Slot, item: C::Item) -> bool {
        self.hand.emit(slot, item)
    }

    /// Sends one item of a stream that may be sent again, such as how far the work is: a request of
    /// which nothing else was sent is tried anew if its worker dies. `false` as for
    /// [`emit`](Self::emit).
    pub fn tell(&mut self, slot: Slot, item: C::Item) -> bool {
        self.hand.tell(slot, item)
    }

    /// Says that this step could do nothing, since no reader has room: the worker then waits a
    /// moment before the next.
    pub fn stall(&mut self) {
        self.stalled = true;
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Sends the only or last item: the request is answered.
    pub fn finish(&mut self, slot: Slot, item: C::Item) {
        self.hand.finish(slot, item);
    }

    /// Ends the request with an error of its own.
    pub fn fail(&mut self, slot: Slot, error: ModelError) {
        self.hand.fail(slot, error);
    }
}
