//! Requests that name a tenant: their line, in which tenants are served in turn, and their share
//! of the queue.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::capability::Capability;
use super::job::Job;
use super::sync::{AtomicUsize, Mutex, MutexGuard, Ordering};

/// Whom a request is made for.
pub(crate) type Tenant = Arc<str>;

/// Maps that have grown above this are given back when they are empty.
const KEPT: usize = 64;

struct Lines<C: Capability> {
    by_tenant: HashMap<Tenant, VecDeque<Job<C>>>,
    /// Whose turn is next. Every tenant with jobs is in it once, and `None` for all requests that
    /// name no tenant.
    turns: VecDeque<Option<Tenant>>,
}

/// The jobs of one lane that name a tenant. How many there are the permits bound; a tenant without
/// jobs takes no memory.
pub(crate) struct TenantLines<C: Capability> {
    lines: Mutex<Lines<C>>,
    len: AtomicUsize,
}

impl<C: Capability> TenantLines<C> {
    pub(crate) fn new() -> Self {
        Self {
            lines: Mutex::new(Lines {
                by_tenant: HashMap::new(),
                turns: VecDeque::new(),
            }),
            len: AtomicUsize::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines<C>> {
        // Nothing that can panic runs under the lock, and no job is dropped there.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::SeqCst)
    }

    /// Puts a job in its tenant's line, last.
    pub(crate) fn push(&self, tenant: &Tenant, job: Job<C>) {
        let mut lines = self.lock();
        if lines.turns.is_empty() {
            lines.turns.push_back(None);
        }
        if let Some(line) = lines.by_tenant.get_mut(tenant) {
            line.push_back(job);
        } else {
            lines.by_tenant.insert(Arc::clone(tenant), [job].into());
            lines.turns.push_back(Some(Arc::clone(tenant)));
        }
        self.len.fetch_add(1, Ordering::SeqCst);
    }

    /// Puts a job back in front of its tenant's line, whose turn it then is again.
    pub(crate) fn push_front(&self, tenant: &Tenant, job: Job<C>) {
        let mut lines = self.lock();
        if lines.turns.is_empty() {
            lines.turns.push_back(None);
        }
        let line = lines.by_tenant.entry(Arc::clone(tenant)).or_default();
        line.push_front(job);
        lines.give_turn_back(Some(tenant));
        self.len.fetch_add(1, Ordering::SeqCst);
    }

    /// It is the turn of those that name no tenant again.
    pub(crate) fn give_turn_back_to_others(&self) {
        if self.len() > 0 {
            self.lock().give_turn_back(None);
        }
    }

    /// The next job: one of each tenant in turn, `others` (of requests that name none) being one of
    /// them.
    pub(crate) fn pop(&self, others: impl Fn() -> Option<Job<C>>) -> Option<Job<C>> {
        if self.len() == 0 {
            return others();
        }
        let mut lines = self.lock();
        for _ in 0..lines.turns.len() {
            match lines.turns.pop_front() {
                Some(None) => {
                    lines.turns.push_back(None);
                    if let Some(job) = others() {
                        return Some(job);
                    }
                }
                Some(Some(tenant)) => {
                    let Some(line) = lines.by_tenant.get_mut(&tenant) else {
                        continue;
                    };
                    let job = line.pop_front();
                    if line.is_empty() {
                        lines.by_tenant.remove(&tenant);
                        lines.tidy();
                    } else {
                        lines.turns.push_back(Some(tenant));
                    }
                    if job.is_some() {
                        self.len.fetch_sub(1, Ordering::SeqCst);
                        return job;
                    }
                }
                None => break,
            }
        }
        others()
    }

    /// Takes out the jobs that nobody waits for any more; the others keep their order.
    pub(crate) fn take_dead(&self, now: Instant) -> Vec<Job<C>> {
        let mut dead = Vec::new();
        if self.len() == 0 {
            return dead;
        }
        let mut lines = self.lock();
        for line in lines.by_tenant.values_mut() {
            for _ in 0..line.len() {
                match line.pop_front() {
                    Some(job) if job.is_dead(now) => dead.push(job),
                    Some(job) => line.push_back(job),
                    None => break,
                }
            }
        }
        lines.by_tenant.retain(|_, line| !line.is_empty());
        let Lines { by_tenant, turns } = &mut *lines;
        turns.retain(|turn| {
            turn.as_ref()
                .is_none_or(|tenant| by_tenant.contains_key(tenant))
        });
        lines.tidy();
        self.len.fetch_sub(dead.len(), Ordering::SeqCst);
        dead
    }
}

impl<C: Capability> Lines<C> {
    fn give_turn_back(&mut self, tenant: Option<&Tenant>) {
        self.turns.retain(|turn| turn.as_ref() != tenant);
        self.turns.push_front(tenant.cloned());
    }

    /// Without tenants there are no turns to take, and no memory is kept for them.
    fn tidy(&mut self) {
        if self.by_tenant.is_empty() {
            self.turns.clear();
            if self.by_tenant.capacity() > KEPT {
                self.by_tenant.shrink_to_fit();
                self.turns.shrink_to_fit();
            }
        }
    }
}

/// How many requests each tenant has under way, and how many it may.
pub(crate) struct TenantShares {
    most: usize,
    under_way: Mutex<HashMap<Tenant, usize>>,
}

impl TenantShares {
    /// Each tenant may have `share` of `capacity`, at least one.
    pub(crate) fn new(capacity: usize, share: f64) -> Self {
        Self {
            // Rounded up: what a float loses above 2⁵³ requests is of no interest.
            most: ((capacity as f64 * share).ceil() as usize).clamp(1, capacity.max(1)),
            under_way: Mutex::new(HashMap::new()),
        }
    }

    /// How many requests one tenant may have under way.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Tenant, usize>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more request of a tenant, unless that has its share.
    pub(crate) fn try_take(&self, tenant: &Tenant) -> bool {
        let mut under_way = self.lock();
        match under_way.get_mut(tenant) {
            Some(count) if *count >= self.most => false,
            Some(count) => {
                *count += 1;
                true
            }
            None => {
                under_way.insert(Arc::clone(tenant), 1);
                true
            }
        }
    }

    pub(crate) fn give_back(&self, tenant: &Tenant) {
        let mut under_way = self.lock();
        if let Some(count) = under_way.get_mut(tenant) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(tenant);
                if under_way.is_empty() && under_way.capacity() > KEPT {
                    under_way.shrink_to_fit();
                }
            }
        }
    }
}
