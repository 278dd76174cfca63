//! Jobs, lanes and a worker's loop, as small as the pool's own can be made.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shuttle::sync::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::machine::capability::{Capability, Engine, Outbox, Slot};
use crate::machine::error::PoolError;
use crate::machine::hand::Hand;
use crate::machine::ids::{ModelId, WorkerId};
use crate::machine::job::{Job, JobParts, Priority, ReplyPort};
use crate::machine::lanes::Lanes;
use crate::machine::metrics::{ModelStats, PoolMetrics};
use crate::machine::permits::Permit;
use crate::machine::step::StepContext;
use crate::machine::supervisor::SupervisorLink;
use crate::machine::sync::{Parker, Unparker};
use crate::models::ModelError;

/// Runs `scenario` in this many interleavings drawn at random, and in as many that favour few
/// switches at the worst places.
pub fn explore(interleavings: usize, scenario: impl Fn() + Send + Sync + Copy + 'static) {
    let mut config = shuttle::Config::default();
    config.silence_warnings = true;
    let random = shuttle::scheduler::RandomScheduler::new_from_seed(1, interleavings);
    shuttle::Runner::new(random, config.clone()).run(scenario);
    let few_switches = shuttle::scheduler::PctScheduler::new_from_seed(2, 3, interleavings);
    shuttle::Runner::new(few_switches, config).run(scenario);
}

/// A capability that echoes.
pub struct Echo;

impl Capability for Echo {
    const NAME: &'static str = "echo";
    type Model = ();
    type Request = u64;
    type Item = u64;
    type CallerSide = ();
    type Engine = NoEngine;

    fn engine(_model: Box<()>) -> NoEngine {
        NoEngine
    }
}

/// The workers here drive no engine.
pub struct NoEngine;

impl Engine<Echo> for NoEngine {
    fn has_room_for(&self, _request: &u64) -> bool {
        false
    }

    fn admit(&mut self, _slot: Slot, _request: Arc<u64>) {}

    fn remove(&mut self, _slot: Slot) {}

    fn step(
        &mut self,
        _context: &StepContext,
        _outbox: &mut Outbox<'_, Echo>,
    ) -> Result<(), ModelError> {
        Ok(())
    }
}

pub type Answer = oneshot::Receiver<Result<u64, PoolError>>;

/// The lanes of one model, and what the supervisor hears of them.
#[derive(Clone)]
pub struct Rig {
    pub lanes: Arc<Lanes<Echo>>,
    pub supervisor: SupervisorLink,
}

impl Rig {
    pub fn new(capacity: usize, max_workers: usize) -> Self {
        let supervisor = SupervisorLink::default();
        let lanes = Lanes::new(
            ModelId(1),
            "echo".to_owned(),
            capacity,
            1.0,
            max_workers,
            Arc::new(ModelStats::new("echo")),
            supervisor.clone(),
        );
        Self {
            lanes: Arc::new(lanes),
            supervisor,
        }
    }

    /// What a handle does: a place in the queue, then a job.
    pub fn admit(
        &self,
        request: u64,
        priority: Priority,
    ) -> Result<(Job<Echo>, Answer), PoolError> {
        Ok(self.job(self.lanes.admit()?, request, priority))
    }

    fn job(&self, permit: Permit<Echo>, request: u64, priority: Priority) -> (Job<Echo>, Answer) {
        let (reply, answer) = oneshot::channel();
        let accepted = Instant::now();
        let job = Job::new(JobParts {
            id: self.lanes.stats().accepted(),
            request: Arc::new(request),
            reply: ReplyPort::Once(reply),
            priority,
            accepted,
            deadline: accepted + Duration::from_secs(3600),
            span: tracing::Span::none().into(),
            permit,
        });
        (job, answer)
    }

    /// Puts a request of a tenant in line.
    pub fn push_for(&self, tenant: &str, request: u64, priority: Priority) -> Answer {
        let permit = self.lanes.admit_for(Some(&tenant.into()));
        let (job, answer) = self.job(permit.expect("there is room"), request, priority);
        self.lanes.push(job);
        answer
    }

    /// Puts a request in line.
    pub fn push(&self, request: u64, priority: Priority) -> Answer {
        let (job, answer) = self.admit(request, priority).expect("there is room");
        self.lanes.push(job);
        answer
    }

    pub fn metrics(&self) -> PoolMetrics {
        self.lanes.stats().snapshot()
    }

    /// Nothing waits, nobody holds a place, and each request has had one ending.
    pub fn assert_rest(&self) {
        let metrics = self.metrics();
        assert_eq!(metrics.accepted, metrics.ended(), "{metrics:?}");
        assert_eq!(self.lanes.permits().taken(), 0, "permits");
        assert_eq!(self.lanes.queued(), 0, "queued");
    }
}

/// A flag that threads wait for.
#[derive(Clone, Default)]
pub struct Flag(Arc<(Mutex<bool>, Condvar)>);

impl Flag {
    pub fn raise(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub fn is_up(&self) -> bool {
        *self.0.0.lock().unwrap()
    }

    pub fn wait(&self) {
        let mut up = self.0.0.lock().unwrap();
        while !*up {
            up = self.0.1.wait(up).unwrap();
        }
    }
}

/// A worker in the order of the pool's own loop: look for orders, take from one lane, serve, and
/// sleep if there was nothing.
pub struct Worker {
    pub retire: Flag,
    pub unparker: Unparker,
    thread: shuttle::thread::JoinHandle<()>,
}

impl Worker {
    /// `serve` is the step: it is handed the request.
    pub fn start(id: u64, rig: &Rig, serve: impl Fn(u64) + Send + 'static) -> Self {
        let (retire, parker) = (Flag::default(), Parker::new());
        let unparker = parker.unparker().clone();
        let (rig, told) = (rig.clone(), retire.clone());
        let thread = shuttle::thread::spawn(move || {
            let hand: Hand<Echo> = Hand::new("echo".to_owned());
            let lanes = &rig.lanes;
            loop {
                if told.is_up() {
                    lanes.pass_on();
                    return;
                }
                let job = lanes
                    .try_returned()
                    .or_else(|| lanes.try_lane(Priority::Interactive))
                    .or_else(|| lanes.try_lane(Priority::Batch));
                let Some(job) = job else {
                    lanes
                        .idle()
                        .wait(WorkerId(id), &parker, || lanes.queued() > 0);
                    continue;
                };
                let request = job.request().map_or(0, |request| **request);
                let slot = hand.put(job).ok().unwrap();
                serve(request);
                hand.finish(slot, request);
            }
        });
        Self {
            retire,
            unparker,
            thread,
        }
    }

    pub fn order_to_retire(&self) {
        self.retire.raise();
        self.unparker.unpark();
    }

    pub fn end(self) {
        self.order_to_retire();
        self.thread.join().unwrap();
    }
}
