//! The stream of everything that happens to workers.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures_util::{Stream, StreamExt};
use serde::Serialize;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use super::ids::WorkerId;
use super::memory::Measurement;
use super::policy::{RetireReason, StartReason};

/// How many events a slow reader may fall behind before it misses some.
const BACKLOG: usize = 1024;

/// Something that happened in the pool.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PoolEvent {
    /// When.
    pub at: SystemTime,
    /// To which model; empty for what concerns the pool as a whole.
    pub model: String,
    /// To which of its workers, where it concerns one.
    pub worker: Option<WorkerId>,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub enum EventKind {
    /// Memory was set aside for a worker.
    Reserved {
        /// How much.
        bytes: u64,
        /// What the worker is for.
        reason: StartReason,
    },
    /// The worker's thread has begun to load the model.
    Loading,
    /// The worker serves.
    Ready {
        /// How long loading took.
        load_time: Duration,
    },
    /// The worker has taken up work.
    Busy,
    /// The worker has nothing to do.
    Idle,
    /// Loading failed, or the worker crashed.
    Failed {
        /// Why.
        reason: String,
    },
    /// A worker is to be started in place of one that crashed, not before this wait is over.
    Restarting {
        /// The backoff.
        after: Duration,
    },
    /// The model failed too often and is refused for a while.
    BreakerOpened {
        /// How long.
        retry_after: Duration,
    },
    /// The worker was told to end.
    Retiring {
        /// Why.
        reason: RetireReason,
    },
    /// The worker ended as told; its memory is free again.
    Retired,
    /// The worker ended to make room for another model.
    Evicted,
    /// The worker's step or load exceeded its limit: it is given up, and its callers are answered.
    Stalled {
        /// The limit.
        after: Duration,
        /// It was a load.
        while_loading: bool,
    },
    /// The worker's thread did not come back in time; its memory stays reserved until it does.
    Abandoned,
    /// The thread of an abandoned worker has ended after all; its memory is free again.
    Returned,
    /// Everything that waited for the model was answered with an error.
    Refused {
        /// How many requests.
        requests: usize,
        /// What their callers were told.
        reason: String,
    },
    /// What the model's workers took when they loaded, beside what was estimated. Only where it
    /// can be measured.
    LoadMeasured(Measurement),
    /// What the process gave back when workers ended.
    ReleaseMeasured(Measurement),
    /// Memory has become short outside of the pool: nothing grows, and idle workers are retired.
    /// Concerns no model by itself.
    PressureBegan {
        /// What is left, in MiB.
        available_mb: u64,
    },
    /// Memory is not short any more.
    PressureEnded {
        /// What is left, in MiB.
        available_mb: u64,
    },
    /// This reader fell behind and missed some events.
    Missed {
        /// How many.
        events: u64,
    },
}

/// Where events are put in.
#[derive(Debug, Clone)]
pub(crate) struct EventBus {
    sender: broadcast::Sender<PoolEvent>,
    readers: Arc<AtomicUsize>,
}

impl EventBus {
    pub(crate) fn new() -> Self {
        let (sender, _) = broadcast::channel(BACKLOG);
        Self {
            sender,
            readers: Arc::new(AtomicUsize::new(0)),
        }
    }

    /// Whether anybody reads: what happens at every step is not even put together otherwise.
    pub(crate) fn has_readers(&self) -> bool {
        self.readers.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn emit(&self, model: &str, worker: Option<WorkerId>, kind: EventKind) {
        tracing::debug!(model, worker = worker.map(|id| id.0), event = ?kind, "pool event");
        if self.has_readers() {
            let event = PoolEvent {
                at: SystemTime::now(),
                model: model.to_owned(),
                worker,
                kind,
            };
            // The last reader may have gone just now.
            drop(self.sender.send(event));
        }
    }

    pub(crate) fn subscribe(&self) -> EventStream {
        let received = BroadcastStream::new(self.sender.subscribe());
        self.readers.fetch_add(1, Ordering::Relaxed);
        EventStream {
            received,
            _reader: Reader(Arc::clone(&self.readers)),
        }
    }
}

struct Reader(Arc<AtomicUsize>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The pool's events, from the moment of [`Pool::events`](super::Pool::events) on. Ends when the
/// pool is gone.
pub struct EventStream {
    received: BroadcastStream<PoolEvent>,
    _reader: Reader,
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}

impl EventStream {
    /// The next event; `None` when the pool is gone.
    pub async fn next(&mut self) -> Option<PoolEvent> {
        StreamExt::next(self).await
    }
}

impl Stream for EventStream {
    type Item = PoolEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<PoolEvent>> {
        let received = Pin::new(&mut self.received).poll_next(context);
        received.map(|received| {
            received.map(|event| {
                event.unwrap_or_else(|BroadcastStreamRecvError::Lagged(events)| PoolEvent {
                    at: SystemTime::now(),
                    model: String::new(),
                    worker: None,
                    kind: EventKind::Missed { events },
                })
            })
        })
    }
}
