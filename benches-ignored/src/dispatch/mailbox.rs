//! The second contender: the same channel and threads, behind one actor's mailbox for each thread.
//! The third is this one with threads that take many messages at once, as a pool's workers do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::Sender;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::Contender;
use super::bare::{Bare, Message};
use crate::Failure;

/// Passes what it is sent on into the channel.
struct Forwarder {
    queue: Sender<Message>,
}

impl Actor for Forwarder {
    type Msg = Message;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Message>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        _: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        self.queue
            .send(message)
            .map_err(|_| "the workers have gone")?;
        Ok(())
    }
}

/// Sends to the forwarders in turn.
#[derive(Clone)]
pub(crate) struct Mailbox {
    forwarders: Arc<[ActorRef<Message>]>,
    next: Arc<AtomicUsize>,
}

impl Mailbox {
    /// Starts the threads as [`Bare::start`] does, and an actor for each.
    pub(crate) async fn start(workers: usize, step_limit: usize) -> Result<Self, Failure> {
        let bare = Bare::start(workers, step_limit)?;
        let mut forwarders = Vec::new();
        for _ in 0..workers {
            let queue = bare.queue().clone();
            let (forwarder, _) = Actor::spawn(None, Forwarder { queue }, ()).await?;
            forwarders.push(forwarder);
        }
        Ok(Self {
            forwarders: forwarders.into(),
            next: Arc::default(),
        })
    }
}

impl Contender for Mailbox {
    async fn ask(&self, request: u64) -> Result<u64, Failure> {
        let (message, answer) = Message::new(request);
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.forwarders.len();
        self.forwarders[turn]
            .send_message(message)
            .map_err(|_| "the forwarder has gone")?;
        Ok(answer.await?)
    }
}
