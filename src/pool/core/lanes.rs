//! A model's queue: the channels that all its workers take from.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Instant;

use super::capability::Capability;
use super::error::PoolError;
use super::homes::Homes;
use super::idle::IdleWorkers;
use super::ids::{ModelId, WorkerId};
use super::job::{Job, Priority};
use super::metrics::ModelStats;
use super::permits::{Permit, Permits};
use super::supervisor::{SupervisorLink, SupervisorMessage};
use super::sync::{AtomicBool, AtomicUsize, Mutex, Ordering, Receiver, Sender, fence, unbounded};
use super::tenants::{Tenant, TenantLines, TenantShares};

/// One crossbeam channel, and beside it the lines of tenants. Unbounded: the permits bound what is
/// in them.
struct Lane<C: Capability> {
    sender: Sender<Job<C>>,
    receiver: Receiver<Job<C>>,
    tenants: TenantLines<C>,
}

impl<C: Capability> Lane<C> {
    fn new() -> Self {
        let (sender, receiver) = unbounded();
        Self {
            sender,
            receiver,
            tenants: TenantLines::new(),
        }
    }

    fn len(&self) -> usize {
        self.receiver.len() + self.tenants.len()
    }

    fn pop(&self) -> Option<Job<C>> {
        self.tenants.pop(|| self.receiver.try_recv().ok())
    }

    /// Puts a job in line again that was taken out and not used: its tenant's turn is not over.
    fn put_back(&self, job: Job<C>) {
        if let Some(tenant) = job.tenant().cloned() {
            self.tenants.push_front(&tenant, job);
        } else {
            self.push(job);
            self.tenants.give_turn_back_to_others();
        }
    }

    fn push(&self, job: Job<C>) {
        if let Some(tenant) = job.tenant().cloned() {
            self.tenants.push(&tenant, job);
            return;
        }
        // The receiver lives beside the sender, so this cannot fail; if it did, the job would be
        // dropped and find its ending there.
        drop(self.sender.send(job));
    }
}

/// Jobs in front of both lanes. There are few of them at any time, so a lock and a count do.
struct Front<C: Capability> {
    jobs: Mutex<VecDeque<Job<C>>>,
    len: AtomicUsize,
}

impl<C: Capability> Front<C> {
    fn new() -> Self {
        Self {
            jobs: Mutex::new(VecDeque::new()),
            len: AtomicUsize::new(0),
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut VecDeque<Job<C>>) -> T) -> T {
        // Nothing that can panic runs under the lock, and no job is dropped there.
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut jobs);
        self.len.store(jobs.len(), Ordering::SeqCst);
        changed
    }

    fn len(&self) -> usize {
        self.len.load(Ordering::SeqCst)
    }

    fn push(&self, job: Job<C>) {
        self.with(|jobs| jobs.push_back(job));
    }

    fn pop(&self) -> Option<Job<C>> {
        if self.len() == 0 {
            return None;
        }
        self.with(VecDeque::pop_front)
    }
}

/// The queue of one model. It outlives every worker, so that what waits survives their restarts.
pub(crate) struct Lanes<C: Capability> {
    model: ModelId,
    name: String,
    /// First in line: jobs that a dying worker had in hand, and those that had no room in a step.
    front: Front<C>,
    interactive: Lane<C>,
    batch: Lane<C>,
    permits: Permits,
    shares: TenantShares,
    stats: Arc<ModelStats>,
    supervisor: SupervisorLink,
    max_workers: usize,
    idle: IdleWorkers,
    homes: Homes,
    /// Proxies that the supervisor keeps; with none, queued work has to be reported to it.
    proxies: AtomicUsize,
    /// The supervisor has been told that work waits for busy workers, and looks into it.
    saturated: AtomicBool,
    /// Why no new request is accepted.
    refusing: OnceLock<PoolError>,
    /// Why nothing is put in line any more.
    closed: OnceLock<PoolError>,
    sweeping: AtomicBool,
    /// Callers that went away since the last sweep: their jobs may still be in line.
    gone: AtomicUsize,
}

impl<C: Capability> Lanes<C> {
    pub(crate) fn new(
        model: ModelId,
        name: String,
        capacity: usize,
        tenant_share: f64,
        max_workers: usize,
        stats: Arc<ModelStats>,
        supervisor: SupervisorLink,
    ) -> Self {
        Self {
            model,
            name,
            front: Front::new(),
            interactive: Lane::new(),
            batch: Lane::new(),
            permits: Permits::new(capacity),
            shares: TenantShares::new(capacity, tenant_share),
            stats,
            supervisor,
            max_workers,
            idle: IdleWorkers::default(),
            homes: Homes::default(),
            proxies: AtomicUsize::new(0),
            saturated: AtomicBool::new(false),
            refusing: OnceLock::new(),
            closed: OnceLock::new(),
            sweeping: AtomicBool::new(false),
            gone: AtomicUsize::new(0),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn stats(&self) -> &ModelStats {
        &self.stats
    }

    pub(crate) fn permits(&self) -> &Permits {
        &self.permits
    }

    pub(crate) fn shares(&self) -> &TenantShares {
        &self.shares
    }

    /// Accepts one more request of a tenant, or says at once why not.
    pub(crate) fn admit_for(
        self: &Arc<Self>,
        tenant: Option<&Tenant>,
    ) -> Result<Permit<C>, PoolError> {
        let mut permit = self.admit()?;
        let Some(tenant) = tenant else {
            return Ok(permit);
        };
        if permit.count_for(tenant) {
            return Ok(permit);
        }
        if self.gone.swap(0, Ordering::AcqRel) > 0 {
            self.sweep(Instant::now());
        }
        let counted = permit.count_for(tenant);
        counted.then_some(permit).ok_or_else(|| {
            self.stats.refused();
            PoolError::TenantOverloaded {
                model: self.name.clone(),
                tenant: tenant.to_string(),
                share: self.shares.most(),
            }
        })
    }

    /// Accepts one more request, or says at once why not.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Permit<C>, PoolError> {
        if let Some(permit) = Permit::try_take(self) {
            // After the permit was taken: whoever has begun to refuse and sees no permit taken
            // will not see one later.
            return match self.refusing.get() {
                Some(error) => Err(error.clone()),
                None => Ok(permit),
            };
        }
        if let Some(error) = self.refusing.get() {
            return Err(error.clone());
        }
        // Requests whose callers have gone may fill the queue while no worker takes them out. In a
        // flood of live ones a refusal costs no sweep.
        if self.gone.swap(0, Ordering::AcqRel) > 0 {
            self.sweep(Instant::now());
        }
        Permit::try_take(self).ok_or_else(|| {
            self.stats.refused();
            PoolError::Overloaded {
                model: self.name.clone(),
                capacity: self.permits.capacity(),
            }
        })
    }

    /// A caller has gone away before its answer came.
    pub(crate) fn caller_gone(&self) {
        self.gone.fetch_add(1, Ordering::AcqRel);
    }

    /// Puts a job in line.
    pub(crate) fn push(&self, job: Job<C>) {
        if let Some(error) = self.closed.get() {
            job.fail(error.clone());
            return;
        }
        let preferred = self.preferred(&job);
        match job.priority() {
            _ if job.is_suspect() => self.front.push(job),
            Priority::Interactive => self.interactive.push(job),
            Priority::Batch => self.batch.push(job),
        }
        self.arrived(preferred);
    }

    /// Which of the workers that wait now is best woken for a job, if that makes a difference.
    fn preferred(&self, job: &Job<C>) -> Option<WorkerId> {
        let request = job.request().filter(|_| self.idle.count() > 1)?;
        self.homes.find(&C::beginnings(request))
    }

    /// A worker has taken a request.
    pub(crate) fn taken(&self, request: &C::Request, worker: WorkerId) {
        self.homes.settle(&C::beginnings(request), worker);
    }

    /// Puts a job in line before others, which a worker had taken out and could not use. Bulk
    /// work has no front: it must not get before interactive requests that way.
    pub(crate) fn push_front(&self, job: Job<C>) {
        match job.priority() {
            Priority::Batch if !job.is_suspect() => self.batch.put_back(job),
            Priority::Batch | Priority::Interactive => self.front.push(job),
        }
        self.arrived(None);
    }

    /// A job was put in line, by whomever: somebody is to take it out.
    fn arrived(&self, preferred: Option<WorkerId>) {
        if !self.idle.wake(preferred) {
            self.report_if_saturated();
        }
        self.drain_if_closed();
    }

    fn drain_if_closed(&self) {
        // The lanes may have been closed and drained between the look and the push.
        if let Some(error) = self.closed.get() {
            self.fail_queued(error);
        }
    }

    /// Puts a job in line again that was dropped on its way, from whatever thread that happened on.
    pub(crate) fn take_back(&self, job: Job<C>) {
        self.stats.redelivered();
        self.push(job);
        // Pairs with the fence in `set_proxies`: either the supervisor sees the job when it looks
        // at the queue after the last proxy has gone, or the count read here is already zero.
        fence(Ordering::SeqCst);
        if self.proxies.load(Ordering::SeqCst) == 0 {
            self.supervisor
                .cast(SupervisorMessage::Demand { model: self.model });
        }
    }

    pub(crate) fn set_proxies(&self, count: usize) {
        self.proxies.store(count, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued_first() + self.queued_interactive() + self.queued_batch()
    }

    /// Jobs in front of both lanes.
    pub(crate) fn queued_first(&self) -> usize {
        self.front.len()
    }

    pub(crate) fn queued_interactive(&self) -> usize {
        self.interactive.len()
    }

    pub(crate) fn queued_batch(&self) -> usize {
        self.batch.len()
    }

    /// The workers that wait for work at this moment.
    pub(crate) fn idle(&self) -> &IdleWorkers {
        &self.idle
    }

    /// A worker takes no more work: if it was called for some just now, another is called instead.
    pub(crate) fn pass_on(&self) {
        if self.queued() > 0 {
            self.idle.wake_one();
        }
    }

    /// Tells the supervisor that work waits for workers that are all busy, unless it looks into
    /// that already or could start no more of them.
    pub(crate) fn report_if_saturated(&self) {
        let no_use = self.saturated.load(Ordering::Relaxed)
            || self.idle.count() > 0
            || self.proxies.load(Ordering::Relaxed) >= self.max_workers;
        if no_use || self.queued() == 0 {
            return;
        }
        if !self.saturated.swap(true, Ordering::AcqRel) {
            self.supervisor.cast(SupervisorMessage::Saturated {
                model: self.model,
                idle_epoch: self.idle.epoch(),
            });
        }
    }

    /// The supervisor has looked into it: from now on it is to be told again.
    pub(crate) fn not_saturated(&self) {
        self.saturated.store(false, Ordering::SeqCst);
        // Pairs with the one in `IdleWorkers::wake_one`, which follows every push.
        fence(Ordering::SeqCst);
        // Work may have come since it looked, and found that it need not report.
        self.report_if_saturated();
    }

    pub(crate) fn try_returned(&self) -> Option<Job<C>> {
        self.front.pop()
    }

    pub(crate) fn try_lane(&self, priority: Priority) -> Option<Job<C>> {
        let lane = match priority {
            Priority::Interactive => &self.interactive,
            Priority::Batch => &self.batch,
        };
        lane.pop()
    }

    /// Answers everything that waits with `error`.
    pub(crate) fn fail_queued(&self, error: &PoolError) -> usize {
        let mut failed = 0;
        let next = || {
            self.try_returned()
                .or_else(|| self.try_lane(Priority::Interactive))
                .or_else(|| self.try_lane(Priority::Batch))
        };
        while let Some(job) = next() {
            job.fail(error.clone());
            failed += 1;
        }
        failed
    }

    /// Accepts no new request; those that were accepted are served.
    pub(crate) fn refuse_new(&self, error: PoolError) {
        self.permits.watch();
        self.refusing.get_or_init(|| error);
        fence(Ordering::SeqCst);
    }

    /// Why no new request is accepted, if none is.
    pub(crate) fn refusing(&self) -> Option<&PoolError> {
        self.refusing.get()
    }

    /// The last request under way has ended, and somebody wants to know.
    pub(crate) fn report_drained(&self) {
        self.supervisor.cast(SupervisorMessage::Drained);
    }

    /// Accepts nothing more and answers what waits with `error`.
    pub(crate) fn close(&self, error: PoolError) -> usize {
        self.refuse_new(error.clone());
        // Only the first reason counts.
        let error = self.closed.get_or_init(|| error);
        self.fail_queued(error)
    }

    /// Ends the jobs in line that nobody waits for any more; the others keep their order.
    pub(crate) fn sweep(&self, now: Instant) {
        if self.sweeping.swap(true, Ordering::AcqRel) {
            return;
        }
        let keep = |job: Job<C>, line_up: &dyn Fn(Job<C>)| {
            if job.is_dead(now) {
                job.discard(now);
            } else {
                line_up(job);
                // A worker may have looked while the job was out of line.
                self.idle.wake_one();
            }
        };
        for _ in 0..self.front.len() {
            let Some(job) = self.front.pop() else {
                break;
            };
            keep(job, &|job| self.front.push(job));
        }
        for lane in [&self.interactive, &self.batch] {
            for job in lane.tenants.take_dead(now) {
                job.discard(now);
            }
            for _ in 0..lane.receiver.len() {
                let Ok(job) = lane.receiver.try_recv() else {
                    break;
                };
                keep(job, &|job| lane.push(job));
            }
        }
        self.sweeping.store(false, Ordering::Release);
        self.drain_if_closed();
        // A proxy may have looked while its job was out of line, and found nothing to report.
        self.report_if_saturated();
    }
}
