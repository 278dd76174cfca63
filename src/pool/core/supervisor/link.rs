//! What the supervisor is told, and how it is reached.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorRef, MessagingErr};
use tokio::sync::oneshot;

use crate::pool::core::drain::DrainReport;
use crate::pool::core::error::PoolError;
use crate::pool::core::ids::{ModelId, WorkerId};
use crate::pool::core::registration::{AnyModel, QueuedJob};
use crate::pool::core::shutdown::ShutdownReport;

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
    /// The thread of a worker that was given up has ended.
    Returned {
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
    /// A model is to give up its workers, to be loaded anew or to leave the pool.
    Drain {
        model: ModelId,
        leave: bool,
        grace: Duration,
        reply: oneshot::Sender<DrainReport>,
    },
    /// No request of a model that drains is under way any more.
    Drained,
    DrainOver {
        number: u64,
    },
    Pin {
        model: ModelId,
        pinned: bool,
    },
    /// Whether it still answers.
    Ping {
        reply: oneshot::Sender<()>,
    },
    /// What a model takes was measured.
    Measured {
        model: ModelId,
    },
    /// It is time to look at how much memory is left.
    LookAtMemory,
    /// How much memory is left, in bytes.
    MemoryLeft(Option<u64>),
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
