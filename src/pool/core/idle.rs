//! The workers of a model that wait for work.

use std::sync::PoisonError;

use super::ids::WorkerId;
use super::sync::{AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, Parker, Unparker, fence};

/// Who waits for work, the one that began last on top: it is woken first, its caches are warm,
/// and those below it stay idle long enough to be retired.
///
/// A worker enters, looks at the queue once more, and parks; whoever puts a job in line looks here
/// afterwards. Both have a sequentially consistent fence between their two steps, so one of them
/// sees the other: no job waits beside a sleeping worker.
#[derive(Debug, Default)]
pub(crate) struct IdleWorkers {
    stack: Mutex<Vec<(WorkerId, Unparker)>>,
    /// The stack's height, to be read without the lock: callers look at it for every job.
    count: AtomicUsize,
    /// How often a worker has begun to wait.
    epoch: AtomicU64,
}

impl IdleWorkers {
    fn lock(&self) -> MutexGuard<'_, Vec<(WorkerId, Unparker)>> {
        // Nothing that can panic runs under the lock.
        self.stack.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// A worker waits until it is woken, by a job or by whoever else has its unparker; not at all
    /// if work has come since it last looked.
    pub(crate) fn wait(&self, worker: WorkerId, parker: &Parker, work_waits: impl Fn() -> bool) {
        self.enter(worker, parker.unparker().clone());
        if !work_waits() {
            parker.park();
        }
        self.leave(worker);
    }

    fn enter(&self, worker: WorkerId, unparker: Unparker) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        let mut stack = self.lock();
        stack.push((worker, unparker));
        self.count.store(stack.len(), Ordering::SeqCst);
        drop(stack);
        fence(Ordering::SeqCst);
    }

    /// A worker waits no longer, whoever woke it.
    fn leave(&self, worker: WorkerId) {
        let mut stack = self.lock();
        stack.retain(|(waiting, _)| *waiting != worker);
        self.count.store(stack.len(), Ordering::SeqCst);
    }

    /// Wakes one worker, if any waits: a job was put in line.
    pub(crate) fn wake_one(&self) -> bool {
        self.wake(None)
    }

    /// The same; of several workers, `preferred` if it is among them.
    pub(crate) fn wake(&self, preferred: Option<WorkerId>) -> bool {
        fence(Ordering::SeqCst);
        if self.count.load(Ordering::SeqCst) == 0 {
            return false;
        }
        let woken = {
            let mut stack = self.lock();
            let place = stack
                .iter()
                .position(|(waiting, _)| Some(*waiting) == preferred);
            let woken = match place {
                Some(place) => Some(stack.remove(place)),
                None => stack.pop(),
            };
            self.count.store(stack.len(), Ordering::SeqCst);
            woken
        };
        // Outside the lock: waking is a system call.
        let Some((_, unparker)) = woken else {
            return false;
        };
        unparker.unpark();
        true
    }
}
