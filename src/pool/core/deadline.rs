//! The timers with which callers wait for their answers.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use tokio::runtime::{self, Handle};
use tokio::time::{Sleep, sleep_until};

/// How many timers are kept.
const KEPT: usize = 1024;

/// Whom a timer wakes: the task that waits with it now.
#[derive(Debug, Default)]
struct Alarm(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    task: Option<Waker>,
    /// The timer has called since the last look; it wants to be polled to call again.
    rang: bool,
}

impl Alarm {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that can panic runs under the lock but the clone of a waker, before any change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it wakes this task. Whether it rang before.
    fn wake_next(&self, task: &Waker) -> bool {
        let mut waiting = self.lock();
        if !waiting.task.as_ref().is_some_and(|old| old.will_wake(task)) {
            waiting.task = Some(task.clone());
        }
        std::mem::take(&mut waiting.rang)
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        let task = {
            let mut waiting = self.lock();
            waiting.rang = true;
            waiting.task.take()
        };
        // Not under the lock: it runs the executor's code.
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// A timer, and the runtime that it belongs to.
#[derive(Debug)]
struct Timer {
    runtime: Option<runtime::Id>,
    sleep: Pin<Box<Sleep>>,
    alarm: Arc<Alarm>,
}

impl Timer {
    fn new(runtime: Option<runtime::Id>, at: Instant) -> Self {
        let alarm = Alarm::default();
        // Not polled yet, it does not run.
        alarm.lock().rang = true;
        Self {
            runtime,
            sleep: Box::pin(sleep_until(at.into())),
            alarm: Arc::new(alarm),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.alarm.wake_next(context.waker()) {
            return Poll::Pending;
        }
        let alarm = Waker::from(Arc::clone(&self.alarm));
        let mut context = Context::from_waker(&alarm);
        self.sleep.as_mut().poll(&mut context)
    }
}

/// Timers of requests that were answered in time, left running.
///
/// To arm a timer and to disarm it takes a lock of the runtime's each, but one that runs is put off
/// without: the next request, whose deadline is later, takes it over.
#[derive(Debug, Default)]
pub(crate) struct SpareTimers(Mutex<Vec<Timer>>);

impl SpareTimers {
    fn lock(&self) -> MutexGuard<'_, Vec<Timer>> {
        // Nothing that can panic runs under the lock, and no timer is dropped there.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A timer of this runtime.
    fn take(&self, at: Instant) -> Timer {
        let runtime = Handle::try_current().ok().map(|handle| handle.id());
        loop {
            let spare = self.lock().pop();
            match spare {
                Some(mut timer) if timer.runtime == runtime => {
                    timer.sleep.as_mut().reset(at.into());
                    return timer;
                }
                // It would end with its own runtime.
                Some(_) => {}
                None => return Timer::new(runtime, at),
            }
        }
    }

    fn give_back(&self, timer: Timer) {
        // Dropped without the lock: the last waker of a task frees that task.
        let task = timer.alarm.lock().task.take();
        drop(task);
        let mut timers = self.lock();
        if timers.len() < KEPT {
            timers.push(timer);
        } else {
            drop(timers);
            drop(timer);
        }
    }
}

/// The moment until which a caller waits.
pub(crate) struct Deadline<'a> {
    at: Instant,
    spare: &'a SpareTimers,
    /// Taken when it is first waited for.
    timer: Option<Timer>,
}

impl<'a> Deadline<'a> {
    pub(crate) fn new(at: Instant, spare: &'a SpareTimers) -> Self {
        Self {
            at,
            spare,
            timer: None,
        }
    }

    /// Ready when it has passed; until then the task is woken for it. Not to be polled again after.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (at, spare) = (self.at, self.spare);
        let timer = self.timer.get_or_insert_with(|| spare.take(at));
        let passed = timer.poll(context);
        if passed.is_ready() {
            // It does not run any more.
            self.timer = None;
        }
        passed
    }
}

impl Drop for Deadline<'_> {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            self.spare.give_back(timer);
        }
    }
}
