//! A request on its way, from acceptance to its one ending.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::capability::Capability;
use super::error::PoolError;
use super::ids::JobId;
use super::lanes::Lanes;
use super::metrics::Ending;
use super::permits::Permit;
use super::tenants::Tenant;

/// A request that was in hand when this many workers died is not tried again.
pub(crate) const MAX_KILLS: u32 = 2;

/// Which of a model's two lanes a request waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Priority {
    /// Somebody waits for the answer. The default of single requests.
    #[default]
    Interactive,
    /// Bulk work: served when no interactive request waits, and at least one turn in every few.
    /// The default of batches.
    Batch,
}

/// Where the answer goes. Sending never blocks, so that it may be done from a `Drop`.
pub(crate) enum ReplyPort<T> {
    Once(oneshot::Sender<Result<T, PoolError>>),
    /// Holds one place more than the stream's buffer, so that the last item always fits.
    Stream(mpsc::Sender<Result<T, PoolError>>),
}

impl<T> ReplyPort<T> {
    fn is_closed(&self) -> bool {
        match self {
            Self::Once(port) => port.is_closed(),
            Self::Stream(port) => port.is_closed(),
        }
    }

    fn send_last(self, reply: Result<T, PoolError>) {
        // A caller that has gone away is no error.
        match self {
            Self::Once(port) => drop(port.send(reply)),
            Self::Stream(port) => drop(port.try_send(reply)),
        }
    }
}

/// A request's span. Where nobody listens there is none, and it takes hardly any room.
pub(crate) struct JobSpan(Option<Box<tracing::Span>>);

impl From<tracing::Span> for JobSpan {
    fn from(span: tracing::Span) -> Self {
        Self((!span.is_disabled()).then(|| Box::new(span)))
    }
}

/// What a job is made of.
pub(crate) struct JobParts<C: Capability> {
    pub(crate) id: JobId,
    pub(crate) request: Arc<C::Request>,
    pub(crate) reply: ReplyPort<C::Item>,
    pub(crate) priority: Priority,
    pub(crate) accepted: Instant,
    pub(crate) deadline: Instant,
    pub(crate) span: JobSpan,
    pub(crate) permit: Permit<C>,
}

impl<C: Capability> JobParts<C> {
    /// How a request has ended whose caller does not wait any more.
    fn unheard(&self, now: Instant) -> Ending {
        if now >= self.deadline {
            Ending::Expired
        } else {
            Ending::Cancelled
        }
    }
}

struct Inner<C: Capability> {
    parts: JobParts<C>,
    /// How many workers died while they had this job in hand.
    kills: u32,
    in_hand: bool,
    items_sent: u64,
}

/// A request, its reply port, deadline, span and permit, travelling as one.
///
/// A job has exactly one ending, by construction: `answer`, `fail` and `discard` consume it, and
/// one that is dropped without any of them (a dead mailbox, an unwinding thread) puts itself back
/// into its lane, or ends in a typed error where that is no use any more.
pub(crate) struct Job<C: Capability> {
    // Not boxed: it would be freed on another thread than it was allocated on, which allocators
    // are slow at.
    inner: Option<Inner<C>>,
}

impl<C: Capability> Job<C> {
    pub(crate) fn new(parts: JobParts<C>) -> Self {
        Self {
            inner: Some(Inner {
                parts,
                kills: 0,
                in_hand: false,
                items_sent: 0,
            }),
        }
    }

    fn parts(&self) -> Option<&JobParts<C>> {
        self.inner.as_ref().map(|inner| &inner.parts)
    }

    pub(crate) fn id(&self) -> JobId {
        self.parts().map_or(JobId(0), |parts| parts.id)
    }

    pub(crate) fn request(&self) -> Option<&Arc<C::Request>> {
        self.parts().map(|parts| &parts.request)
    }

    pub(crate) fn home(&self) -> Option<Arc<Lanes<C>>> {
        self.parts().map(|parts| Arc::clone(parts.permit.lanes()))
    }

    pub(crate) fn priority(&self) -> Priority {
        self.parts()
            .map_or(Priority::Interactive, |parts| parts.priority)
    }

    pub(crate) fn tenant(&self) -> Option<&Tenant> {
        self.parts().and_then(|parts| parts.permit.tenant())
    }

    pub(crate) fn span(&self) -> Option<&tracing::Span> {
        self.parts().and_then(|parts| parts.span.0.as_deref())
    }

    pub(crate) fn waited(&self, now: Instant) -> Duration {
        self.parts().map_or(Duration::ZERO, |parts| {
            now.saturating_duration_since(parts.accepted)
        })
    }

    /// Nobody waits for it any more, or it is past its deadline.
    pub(crate) fn is_dead(&self, now: Instant) -> bool {
        self.parts()
            .is_none_or(|parts| parts.reply.is_closed() || now >= parts.deadline)
    }

    /// A worker died with it: it is served alone, so that it cannot take others along.
    pub(crate) fn is_suspect(&self) -> bool {
        self.inner.as_ref().is_some_and(|inner| inner.kills > 0)
    }

    /// A worker takes it up. From here on, to be dropped counts as the worker's death.
    pub(crate) fn take_in_hand(&mut self) {
        if let Some(inner) = &mut self.inner {
            inner.in_hand = true;
        }
    }

    /// Its caller reads items as they come, and not just one answer.
    pub(crate) fn is_stream(&self) -> bool {
        let reply = self.parts().map(|parts| &parts.reply);
        matches!(reply, Some(ReplyPort::Stream(_)))
    }

    /// A worker puts it down unharmed: to be dropped does not count as the worker's death.
    pub(crate) fn put_down(&mut self) {
        if let Some(inner) = &mut self.inner {
            inner.in_hand = false;
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        match self.parts().map(|parts| &parts.reply) {
            // One place is kept for the ending.
            Some(ReplyPort::Stream(port)) => port.capacity() > 1,
            Some(ReplyPort::Once(_)) | None => false,
        }
    }

    /// Sends one item of a stream. `false` if nobody reads, or there is no room.
    pub(crate) fn emit(&mut self, item: C::Item) -> bool {
        let sent = self.tell(item);
        if let Some(inner) = &mut self.inner {
            inner.items_sent += u64::from(sent);
        }
        sent
    }

    /// The same for an item that may be sent again: the job can still be tried anew.
    pub(crate) fn tell(&mut self, item: C::Item) -> bool {
        if !self.has_room() {
            return false;
        }
        match self.parts().map(|parts| &parts.reply) {
            Some(ReplyPort::Stream(port)) => port.try_send(Ok(item)).is_ok(),
            Some(ReplyPort::Once(_)) | None => false,
        }
    }

    /// Ends the job with its (last) item.
    pub(crate) fn answer(self, item: C::Item) {
        self.end(Ending::Answered, Ok(item));
    }

    /// Ends the job with an error.
    pub(crate) fn fail(self, error: PoolError) {
        let ending = Ending::of(&error);
        self.end(ending, Err(error));
    }

    /// Ends a job that [is dead](Self::is_dead).
    pub(crate) fn discard(self, now: Instant) {
        let Some(parts) = self.parts() else {
            return;
        };
        let ending = parts.unheard(now);
        let model = parts.permit.lanes().name().to_owned();
        let allowed = parts.deadline.saturating_duration_since(parts.accepted);
        self.end(ending, Err(PoolError::DeadlineExceeded { model, allowed }));
    }

    fn end(mut self, ending: Ending, reply: Result<C::Item, PoolError>) {
        let Some(inner) = self.inner.take() else {
            return;
        };
        let parts = inner.parts;
        let ending = if ending == Ending::Answered && parts.reply.is_closed() {
            parts.unheard(Instant::now())
        } else {
            ending
        };
        let stats = parts.permit.lanes().stats();
        stats.ended(ending, parts.accepted.elapsed());
        let tell = || tracing::trace!(ending = ending.as_str(), "request ended");
        match &parts.span.0 {
            Some(span) => span.in_scope(tell),
            None => tell(),
        }
        // The permit is free before the caller can know the answer and ask again.
        drop(parts.permit);
        parts.reply.send_last(reply);
    }
}

impl<C: Capability> Drop for Job<C> {
    fn drop(&mut self) {
        let Some(mut inner) = self.inner.take() else {
            return;
        };
        if inner.in_hand {
            inner.in_hand = false;
            inner.kills += 1;
        }
        let (kills, items_sent) = (inner.kills, inner.items_sent);
        let home = Arc::clone(inner.parts.permit.lanes());
        let job = Self { inner: Some(inner) };
        let now = Instant::now();
        let model = || home.name().to_owned();
        if job.is_dead(now) {
            job.discard(now);
        } else if items_sent > 0 {
            job.fail(PoolError::Interrupted {
                model: model(),
                items_sent,
            });
        } else if kills >= MAX_KILLS {
            job.fail(PoolError::Poisoned {
                model: model(),
                kills,
            });
        } else {
            home.take_back(job);
        }
    }
}
