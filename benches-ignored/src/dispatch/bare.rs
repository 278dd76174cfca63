//! The first contender: a shared channel to OS threads, and nothing else.

use crossbeam_channel::{Receiver, Sender, unbounded};
use tokio::sync::oneshot;

use super::Contender;
use crate::Failure;

/// A request and where its answer goes.
pub(super) struct Message {
    request: u64,
    reply: oneshot::Sender<u64>,
}

impl Message {
    /// A message, and the place where its answer will come.
    pub(super) fn new(request: u64) -> (Self, oneshot::Receiver<u64>) {
        let (reply, answer) = oneshot::channel();
        (Self { request, reply }, answer)
    }
}

/// Sends straight into the channel.
#[derive(Clone)]
pub(super) struct Bare {
    queue: Sender<Message>,
}

impl Bare {
    /// Starts the threads, each of which takes up to `step_limit` of the waiting messages before
    /// it answers them. They end when the last sender is gone.
    pub(super) fn start(workers: usize, step_limit: usize) -> Result<Self, Failure> {
        let (queue, work) = unbounded();
        for number in 0..workers {
            let work = work.clone();
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || serve(&work, step_limit))?;
        }
        Ok(Self { queue })
    }

    /// The channel that the threads take from.
    pub(super) fn queue(&self) -> &Sender<Message> {
        &self.queue
    }
}

impl Contender for Bare {
    async fn ask(&self, request: u64) -> Result<u64, Failure> {
        let (message, answer) = Message::new(request);
        self.queue
            .send(message)
            .map_err(|_| "the workers have gone")?;
        Ok(answer.await?)
    }
}

fn serve(work: &Receiver<Message>, step_limit: usize) {
    let mut taken = Vec::with_capacity(step_limit);
    while let Ok(first) = work.recv() {
        taken.push(first);
        taken.extend(work.try_iter().take(step_limit - 1));
        for message in taken.drain(..) {
            // A caller that has gone away is no error.
            let _ = message.reply.send(message.request);
        }
    }
}
