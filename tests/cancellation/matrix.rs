//! The axes, and what each cell must come to.

use modelpool::pool::core::{Ending, PoolError};

/// How a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// With one answer.
    Once,
    /// With a stream of items.
    Stream,
}

impl Reply {
    pub const ALL: [Self; 2] = [Self::Once, Self::Stream];
}

/// Where the request is when it is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In its proxy's mailbox.
    Mailbox,
    /// In its model's lane, the one worker being busy.
    Lane,
    /// In the worker's hand with two others, in a step that has computed nothing yet.
    Batch,
    /// In the worker's hand by itself, nothing sent.
    BeforeFirstItem,
    /// In the worker's hand, its first item received.
    MidStream,
    /// Computed to the end, and let go at the very moment.
    RacingTheAnswer,
}

impl Place {
    pub const ALL: [Self; 6] = [
        Self::Mailbox,
        Self::Lane,
        Self::Batch,
        Self::BeforeFirstItem,
        Self::MidStream,
        Self::RacingTheAnswer,
    ];

    fn is_in_hand(self) -> bool {
        !matches!(self, Self::Mailbox | Self::Lane)
    }
}

/// What hits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The caller drops its future or its stream.
    FutureDropped,
    /// The caller's task is aborted.
    TaskAborted,
    /// Its deadline passes.
    Deadline,
    /// The pool shuts down, with time for what runs.
    Shutdown,
    /// The pool shuts down with no time at all, and the worker does not come back.
    ShutdownWithoutGrace,
    /// The worker panics.
    WorkerPanic,
    /// The worker's step runs longer than `step_timeout`.
    StepStalls,
    /// The model is unregistered, with time for what is under way.
    Unregister,
    /// The model is unregistered with no time at all.
    UnregisterWithoutGrace,
}

/// What the caller saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nothing: it has gone.
    Nothing,
    Answer,
    DeadlineExceeded,
    ShuttingDown,
    Interrupted,
    Stalled,
    GraceOver,
    SomethingElse,
}

impl Seen {
    pub fn of(outcome: &Result<(), PoolError>) -> Self {
        match outcome {
            Ok(()) => Self::Answer,
            Err(PoolError::DeadlineExceeded { .. }) => Self::DeadlineExceeded,
            Err(PoolError::ShuttingDown) => Self::ShuttingDown,
            Err(PoolError::Interrupted { .. }) => Self::Interrupted,
            Err(PoolError::Stalled { .. }) => Self::Stalled,
            Err(PoolError::GraceOver { .. }) => Self::GraceOver,
            Err(_) => Self::SomethingElse,
        }
    }
}

/// A caller's view and the books' entry, which must belong together.
pub type Outcome = (Seen, Ending);

const ANSWERED: Outcome = (Seen::Answer, Ending::Answered);
const CANCELLED: Outcome = (Seen::Nothing, Ending::Cancelled);
const EXPIRED: Outcome = (Seen::DeadlineExceeded, Ending::Expired);
const SHUT_DOWN: Outcome = (Seen::ShuttingDown, Ending::ShutDown);
const STALLED: Outcome = (Seen::Stalled, Ending::Stalled);
const GRACE_OVER: Outcome = (Seen::GraceOver, Ending::Unserved);
const INTERRUPTED: Outcome = (Seen::Interrupted, Ending::Interrupted);

/// What a cell may come to: one outcome, but for races. `Err` names a cell that cannot be.
pub fn expected(
    reply: Reply,
    place: Place,
    cause: Cause,
) -> Result<&'static [Outcome], &'static str> {
    if (reply, place) == (Reply::Once, Place::MidStream) {
        return Err("one answer has no middle: its first item is its ending");
    }
    let races = place == Place::RacingTheAnswer;
    Ok(match cause {
        // The answer may have been on its way when nobody was there to take it.
        Cause::FutureDropped | Cause::TaskAborted if races => {
            &[CANCELLED, (Seen::Nothing, Ending::Answered), ANSWERED]
        }
        Cause::FutureDropped | Cause::TaskAborted => &[CANCELLED],
        Cause::Deadline if races => &[
            EXPIRED,
            ANSWERED,
            (Seen::DeadlineExceeded, Ending::Answered),
        ],
        Cause::Deadline => &[EXPIRED],
        // What runs is finished; what waits is refused.
        Cause::Shutdown if place.is_in_hand() => &[ANSWERED],
        Cause::Shutdown => &[SHUT_DOWN],
        Cause::ShutdownWithoutGrace if races => &[SHUT_DOWN, ANSWERED],
        Cause::ShutdownWithoutGrace => &[SHUT_DOWN],
        // Its last item was sent before the worker died beside it.
        Cause::WorkerPanic if (reply, place) == (Reply::Stream, Place::MidStream) => &[INTERRUPTED],
        // Redelivered, or never in that worker's hand.
        Cause::WorkerPanic => &[ANSWERED],
        Cause::StepStalls if races => &[STALLED, ANSWERED],
        Cause::StepStalls if place.is_in_hand() => &[STALLED],
        // Another worker serves it while the stalled one keeps its memory.
        Cause::StepStalls => &[ANSWERED],
        // Whatever was accepted is served.
        Cause::Unregister => &[ANSWERED],
        Cause::UnregisterWithoutGrace if races => &[GRACE_OVER, ANSWERED],
        Cause::UnregisterWithoutGrace => &[GRACE_OVER],
    })
}
