//! The names of the crate's `sync` module, made of the checker's primitives.

use std::collections::VecDeque;

use shuttle::sync::Condvar;
pub use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
pub use shuttle::sync::{Arc, Mutex, MutexGuard};

/// A channel without bounds, of which the lanes need three functions.
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    let queue = Arc::new(Mutex::new(VecDeque::new()));
    (Sender(Arc::clone(&queue)), Receiver(queue))
}

pub struct Sender<T>(Arc<Mutex<VecDeque<T>>>);

impl<T> Sender<T> {
    pub fn send(&self, item: T) -> Result<(), T> {
        self.0.lock().unwrap().push_back(item);
        Ok(())
    }
}

pub struct Receiver<T>(Arc<Mutex<VecDeque<T>>>);

impl<T> Receiver<T> {
    pub fn try_recv(&self) -> Result<T, ()> {
        self.0.lock().unwrap().pop_front().ok_or(())
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// Where a thread sleeps. A wake-up that comes first is kept.
#[derive(Default)]
pub struct Parker(Unparker);

#[derive(Clone, Default)]
pub struct Unparker(Arc<(Mutex<bool>, Condvar)>);

impl std::fmt::Debug for Unparker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unparker")
    }
}

impl Parker {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn unparker(&self) -> &Unparker {
        &self.0
    }

    pub fn park(&self) {
        let (woken, changed) = &*self.0.0;
        let mut woken = woken.lock().unwrap();
        while !*woken {
            woken = changed.wait(woken).unwrap();
        }
        *woken = false;
    }
}

impl Unparker {
    pub fn unpark(&self) {
        let (woken, changed) = &*self.0;
        *woken.lock().unwrap() = true;
        changed.notify_one();
    }
}
