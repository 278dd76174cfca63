//! Requests on their way to a proxy.

use std::sync::{Arc, PoisonError};

use super::capability::Capability;
use super::job::Job;
use super::sync::{Mutex, MutexGuard};

/// What an inbox keeps of its memory when it is empty.
const KEPT: usize = 256;

struct Contents<C: Capability> {
    jobs: Vec<Job<C>>,
    /// The proxy has ended.
    closed: bool,
}

struct Shared<C: Capability>(Mutex<Contents<C>>);

impl<C: Capability> Shared<C> {
    fn lock(&self) -> MutexGuard<'_, Contents<C>> {
        // Nothing that can panic runs under the lock, and no job is dropped there.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An inbox, and how it is filled. How many jobs are in it the permits bound.
pub(crate) fn inbox<C: Capability>() -> (InboxSender<C>, Inbox<C>) {
    let shared = Arc::new(Shared(Mutex::new(Contents {
        jobs: Vec::new(),
        closed: false,
    })));
    (InboxSender(Arc::clone(&shared)), Inbox(shared))
}

/// What callers have of a proxy's inbox.
pub(crate) struct InboxSender<C: Capability>(Arc<Shared<C>>);

impl<C: Capability> Clone for InboxSender<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: Capability> InboxSender<C> {
    /// Puts a job in, and says whether the proxy is to be told: only the first of those that it
    /// has not taken out yet is worth a message.
    ///
    /// # Errors
    /// The job, if the proxy has ended.
    pub(crate) fn put(&self, job: Job<C>) -> Result<bool, Job<C>> {
        let mut contents = self.0.lock();
        if contents.closed {
            drop(contents);
            return Err(job);
        }
        contents.jobs.push(job);
        Ok(contents.jobs.len() == 1)
    }
}

/// The proxy's own side. When it is dropped, the jobs that are still in it go back to their lanes.
pub(crate) struct Inbox<C: Capability>(Arc<Shared<C>>);

impl<C: Capability> Inbox<C> {
    /// Takes all jobs out, in exchange for an empty vector.
    pub(crate) fn take_all(&self, mut spare: Vec<Job<C>>) -> Vec<Job<C>> {
        spare.clear();
        spare.shrink_to(KEPT);
        std::mem::replace(&mut self.0.lock().jobs, spare)
    }
}

impl<C: Capability> Drop for Inbox<C> {
    fn drop(&mut self) {
        let jobs = {
            let mut contents = self.0.lock();
            contents.closed = true;
            std::mem::take(&mut contents.jobs)
        };
        // Not under the lock: they run on from here.
        drop(jobs);
    }
}
