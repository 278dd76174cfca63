//! Which worker has served a request with the same beginning before.

use std::collections::HashMap;
use std::sync::PoisonError;

use super::ids::WorkerId;
use super::sync::{Mutex, MutexGuard};

/// How many beginnings are remembered; with more, all are forgotten and learnt anew.
const MOST: usize = 4096;

/// Remembers for the beginnings of requests which worker took such a one last: its cache may still
/// hold what it computed for it. A hint and no more: a beginning may be forgotten, and its worker
/// gone.
#[derive(Default)]
pub(crate) struct Homes {
    worker_of: Mutex<HashMap<u64, WorkerId>>,
}

impl Homes {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, WorkerId>> {
        // Nothing that can panic runs under the lock.
        self.worker_of
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker has taken a request with these beginnings.
    pub(crate) fn settle(&self, beginnings: &[u64], worker: WorkerId) {
        if beginnings.is_empty() {
            return;
        }
        let mut worker_of = self.lock();
        if worker_of.len() + beginnings.len() > MOST {
            worker_of.clear();
        }
        worker_of.extend(beginnings.iter().map(|beginning| (*beginning, worker)));
    }

    /// Who took a request with the longest of these beginnings, which come in order of length.
    pub(crate) fn find(&self, beginnings: &[u64]) -> Option<WorkerId> {
        if beginnings.is_empty() {
            return None;
        }
        let worker_of = self.lock();
        let longest_first = beginnings.iter().rev();
        longest_first
            .filter_map(|beginning| worker_of.get(beginning))
            .next()
            .copied()
    }
}
