//! A registered model: what its handles, proxies and workers share.

mod pool_shared;

pub(crate) use pool_shared::PoolShared;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorRef, SpawnErr};
use tokio::sync::oneshot;

use super::board::{WorkerBoard, WorkerState};
use super::capability::Capability;
use super::deadline::SpareTimers;
use super::error::PoolError;
use super::events::EventKind;
use super::ids::{ModelId, WorkerId};
use super::inbox::{InboxSender, inbox};
use super::job::Job;
use super::lanes::Lanes;
use super::memory::{Direction, MIB, MemoryDemand, MemoryLimit, ModelMemory, Passage, Reservation};
use super::metrics::ModelStats;
use super::policy::{ModelPlan, QueueView};
use super::proxy::{Proxy, ProxyArguments, ProxyCommand, ProxyMessage};
use super::status::{ModelStatus, QueueStatus, WorkerStatus};
use super::supervisor::{SupervisorLink, SupervisorMessage};
use crate::model::{LoaderIn, ModelInfo, ModelSettings};

/// A proxy, its inbox, and its worker's board.
pub(crate) struct Route<C: Capability> {
    board: Arc<WorkerBoard>,
    inbox: InboxSender<C>,
    proxy: ActorRef<ProxyMessage>,
}

impl<C: Capability> Clone for Route<C> {
    fn clone(&self) -> Self {
        Self {
            board: Arc::clone(&self.board),
            inbox: self.inbox.clone(),
            proxy: self.proxy.clone(),
        }
    }
}

/// A model as it is registered: everything about it but its workers' own state.
pub(crate) struct Registration<C: Capability> {
    pub(crate) id: ModelId,
    pub(crate) info: Arc<ModelInfo>,
    pub(crate) settings: ModelSettings,
    pub(crate) loader: LoaderIn<C>,
    pub(crate) caller_side: Arc<C::CallerSide>,
    pub(crate) lanes: Arc<Lanes<C>>,
    pub(crate) pool: Arc<PoolShared>,
    pub(crate) memory: ModelMemory,
    pub(crate) spare_timers: SpareTimers,
    routes: ArcSwap<Vec<Route<C>>>,
    /// Workers that were told to end and get no more requests, but have not ended yet.
    leaving: Mutex<Vec<Arc<WorkerBoard>>>,
    /// Workers that were given up and whose threads have not returned.
    abandoned: Mutex<Vec<Arc<WorkerBoard>>>,
    unavailable_until: Mutex<Option<Instant>>,
    /// The version in whose place this one is to come.
    replaces: Option<ModelId>,
    changing: AtomicBool,
}

impl<C: Capability> Registration<C> {
    pub(crate) fn new(
        id: ModelId,
        spec: crate::model::ModelSpec<C>,
        pool: Arc<PoolShared>,
        replaces: Option<ModelId>,
    ) -> Result<Arc<Self>, PoolError> {
        let device = spec.info.device;
        let Some(ledger) = pool.ledgers.of(device).map(Arc::clone) else {
            let model = spec.info.name;
            return Err(PoolError::NoDeviceBudget { model, device });
        };
        let memory = ModelMemory::new(id, &spec.info, ledger, Arc::clone(&pool.meter));
        let capacity = spec
            .settings
            .queue_capacity
            .unwrap_or(pool.config.queue_capacity);
        let max_workers = spec.settings.max_workers.unwrap_or(pool.config.max_workers);
        let stats = Arc::new(ModelStats::new(&spec.info.name));
        let lanes = Arc::new(Lanes::new(
            id,
            spec.info.name.clone(),
            capacity,
            pool.config.tenant_share,
            max_workers,
            stats,
            pool.supervisor.clone(),
        ));
        Ok(Arc::new(Self {
            id,
            info: Arc::new(spec.info),
            settings: spec.settings,
            loader: spec.loader,
            caller_side: Arc::new(spec.caller_side),
            lanes,
            pool,
            memory,
            spare_timers: SpareTimers::default(),
            routes: ArcSwap::from_pointee(Vec::new()),
            leaving: Mutex::default(),
            abandoned: Mutex::default(),
            unavailable_until: Mutex::new(None),
            replaces,
            changing: AtomicBool::new(false),
        }))
    }

    /// Whether nobody else is about to replace or unregister it.
    pub(crate) fn begin_change(&self) -> bool {
        !self.changing.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn end_change(&self) {
        self.changing.store(false, Ordering::Release);
    }

    /// A worker has loaded or been freed: notes what that did to the process, where it was measured.
    pub(crate) fn measured(
        &self,
        worker: WorkerId,
        direction: Direction,
        passage: Option<Passage>,
    ) {
        let ended = passage.and_then(|passage| self.memory.end(direction, passage));
        let Some(measurement) = ended else {
            return;
        };
        let stats = self.lanes.stats();
        let kind = match direction {
            Direction::Load => {
                stats.load_measured(measurement.resident_bytes);
                self.pool
                    .supervisor
                    .cast(SupervisorMessage::Measured { model: self.id });
                EventKind::LoadMeasured(measurement)
            }
            Direction::Release => {
                stats.release_measured(measurement.resident_bytes);
                EventKind::ReleaseMeasured(measurement)
            }
        };
        self.pool.events.emit(&self.info.name, Some(worker), kind);
    }

    pub(crate) fn batch_turn_every(&self) -> usize {
        self.pool.config.batch_turn_every
    }

    /// Sends a job on its way: to a proxy, or while there is none, to the supervisor.
    pub(crate) fn submit(&self, mut job: Job<C>) {
        let routes = self.routes.load();
        // Chance spreads callers over the proxies as well as turns would, and shares no counter.
        let first = fastrand::usize(..);
        for offset in 0..routes.len() {
            let route = &routes[first.wrapping_add(offset) % routes.len()];
            match route.inbox.put(job) {
                Ok(false) => return,
                Ok(true) => {
                    // A proxy that takes no messages any more is about to end, and what is in its
                    // inbox goes back into its lane.
                    drop(route.proxy.send_message(ProxyMessage::Forward));
                    return;
                }
                // That proxy has just died; the next one may not have.
                Err(returned) => job = returned,
            }
        }
        self.pool.supervisor.submit(self.id, Box::new(job));
    }

    /// Has the supervisor start workers if there are none.
    pub(crate) fn start_workers(&self) {
        if self.routes.load().is_empty() {
            // Nobody waits for it: the requests that follow are told what becomes of them.
            let (reply, _) = oneshot::channel();
            let model = self.id;
            let supervisor = &self.pool.supervisor;
            supervisor.cast(SupervisorMessage::Warm { model, reply });
        }
    }

    fn update_routes(&self, change: impl Fn(&mut Vec<Route<C>>)) {
        // Only the supervisor changes the routes, so nothing is lost between load and store.
        let mut routes = Vec::clone(&self.routes.load());
        change(&mut routes);
        let count = routes.len();
        self.routes.store(Arc::new(routes));
        self.lanes.set_proxies(count);
        self.lanes.stats().workers(count + self.leaving().len());
        // With fewer workers, work may wait that was within bounds before.
        self.lanes.report_if_saturated();
    }

    fn drop_route(&self, worker: WorkerId) {
        self.leaving().retain(|board| board.id != worker);
        self.update_routes(|routes| routes.retain(|route| route.board.id != worker));
    }

    fn leaving(&self) -> MutexGuard<'_, Vec<Arc<WorkerBoard>>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn abandoned(&self) -> MutexGuard<'_, Vec<Arc<WorkerBoard>>> {
        self.abandoned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The boards of all workers whose threads have not ended, in the order of their start.
    fn boards(&self) -> Vec<Arc<WorkerBoard>> {
        let routes = self.routes.load();
        let mut boards: Vec<_> = routes
            .iter()
            .map(|route| Arc::clone(&route.board))
            .collect();
        // A worker is among the leaving before its route is gone: in both lists, never in none.
        boards.extend(self.leaving().iter().cloned());
        let abandoned = self.abandoned();
        let not_returned = |board: &&Arc<WorkerBoard>| board.state() != WorkerState::Released;
        boards.extend(abandoned.iter().filter(not_returned).cloned());
        boards.sort_by_key(|board| board.id);
        boards.dedup_by_key(|board| board.id);
        boards
    }
}

/// A job whose capability the supervisor need not know.
pub(crate) trait QueuedJob: Send {
    /// Puts it in its model's line.
    fn enqueue(self: Box<Self>);
    /// Ends it.
    fn fail(self: Box<Self>, error: PoolError);
}

impl<C: Capability> QueuedJob for Job<C> {
    fn enqueue(self: Box<Self>) {
        if let Some(home) = self.home() {
            home.push(*self);
        }
    }

    fn fail(self: Box<Self>, error: PoolError) {
        Job::fail(*self, error);
    }
}

/// A worker as the supervisor keeps it, whatever its model's capability.
#[derive(Debug, Clone)]
pub struct WorkerHandle {
    id: WorkerId,
    name: String,
    model: ModelId,
    cell: ActorCell,
    proxy: ractor::DerivedActorRef<ProxyCommand>,
}

impl WorkerHandle {
    /// The worker's id.
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// The name of its proxy and thread.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The model that it serves.
    pub fn model(&self) -> ModelId {
        self.model
    }

    pub(crate) fn cell(&self) -> &ActorCell {
        &self.cell
    }

    pub(crate) fn order(&self, command: ProxyCommand) {
        // A proxy that is gone has nothing left to order.
        drop(self.proxy.send_message(command));
    }
}

/// A registered model, whatever its capability: what the supervisor and the status need.
pub(crate) trait AnyModel: Send + Sync {
    fn id(&self) -> ModelId;
    fn info(&self) -> &ModelInfo;
    fn memory(&self) -> &ModelMemory;
    fn plan(&self) -> ModelPlan;
    fn queue(&self) -> QueueView;
    fn not_saturated(&self);
    fn stats(&self) -> &ModelStats;
    #[cfg(feature = "testing")]
    fn asleep(&self) -> usize;
    /// How many requests are accepted and have not ended.
    fn under_way(&self) -> usize;
    /// Tells new requests that the model is not registered, and the supervisor when no request is
    /// under way any more.
    fn refuse_new(&self);
    fn sweep(&self, now: Instant);
    fn fail_queued(&self, error: &PoolError) -> usize;
    fn close(&self, error: PoolError) -> usize;
    fn set_unavailable_until(&self, until: Option<Instant>);
    fn status(&self, now: Instant) -> ModelStatus;
    fn spawn(
        self: Arc<Self>,
        worker: WorkerId,
        reservation: Reservation,
        supervisor: ActorCell,
    ) -> BoxFuture<'static, Result<(WorkerHandle, Arc<WorkerBoard>), PoolError>>;
    /// Sends a worker no more requests.
    fn retire_route(&self, worker: WorkerId);
    /// Forgets a worker that has ended.
    fn remove_route(&self, worker: WorkerId);
    /// Gives a worker up: it gets no more requests, and is shown until its thread returns.
    fn abandon_route(&self, board: &Arc<WorkerBoard>);
}

/// Lets the exported check count a registered model against its own pool's limit.
pub(crate) struct RegisteredDemand<'a>(pub(crate) &'a dyn AnyModel);

impl MemoryDemand for RegisteredDemand<'_> {
    fn info(&self) -> &ModelInfo {
        self.0.info()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.0.memory().account().ledger().limit()
    }

    fn need_mb(&self, workers: usize) -> u64 {
        let memory = self.0.memory();
        let footprint = memory.footprint();
        let first = memory.account().missing_bytes(footprint);
        let others = (workers as u64).saturating_sub(1);
        let bytes = first.saturating_add(footprint.worker_bytes.saturating_mul(others));
        if workers == 0 { 0 } else { bytes / MIB }
    }
}

impl<C: Capability> AnyModel for Registration<C> {
    fn id(&self) -> ModelId {
        self.id
    }

    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn memory(&self) -> &ModelMemory {
        &self.memory
    }

    fn plan(&self) -> ModelPlan {
        let config = &self.pool.config;
        let settings = &self.settings;
        let max_workers = settings.max_workers.unwrap_or(config.max_workers);
        let min_workers = settings.min_workers.unwrap_or(config.min_workers);
        ModelPlan {
            name: self.info.name.clone(),
            replaces: self.replaces,
            step_timeout: settings.step_timeout.unwrap_or(config.step_timeout),
            load_timeout: settings.load_timeout.unwrap_or(config.load_timeout),
            device: self.info.device,
            footprint: self.memory.footprint(),
            min_workers: min_workers.min(max_workers),
            max_workers,
            pinned: settings.pinned,
        }
    }

    fn queue(&self) -> QueueView {
        let queued = self.lanes.queued();
        QueueView {
            queued,
            saturated: queued > 0 && self.lanes.idle().count() == 0,
            idle_epoch: self.lanes.idle().epoch(),
        }
    }

    fn not_saturated(&self) {
        self.lanes.not_saturated();
    }

    fn stats(&self) -> &ModelStats {
        self.lanes.stats()
    }

    #[cfg(feature = "testing")]
    fn asleep(&self) -> usize {
        self.lanes.idle().count()
    }

    fn under_way(&self) -> usize {
        self.lanes.permits().taken()
    }

    fn refuse_new(&self) {
        self.lanes.refuse_new(PoolError::NotRegistered {
            model: self.info.name.clone(),
        });
    }

    fn sweep(&self, now: Instant) {
        self.lanes.sweep(now);
    }

    fn fail_queued(&self, error: &PoolError) -> usize {
        self.lanes.fail_queued(error)
    }

    fn close(&self, error: PoolError) -> usize {
        self.lanes.close(error)
    }

    fn set_unavailable_until(&self, until: Option<Instant>) {
        *self
            .unavailable_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = until;
    }

    fn status(&self, now: Instant) -> ModelStatus {
        let boards = self.boards();
        let workers = boards
            .iter()
            .map(|board| WorkerStatus::of(board, now))
            .collect();
        let unavailable_until = *self
            .unavailable_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        ModelStatus {
            name: self.info.name.clone(),
            capability: C::NAME.to_owned(),
            est_memory_allocation_mb: self.info.est_memory_allocation_mb,
            device: self.info.device,
            shared_weights_mb: self
                .memory
                .account()
                .weights()
                .map_or(0, |weights| weights.bytes() / MIB),
            footprint: self.memory.footprint(),
            measured: self.memory.measured(),
            queue: QueueStatus {
                interactive: self.lanes.queued_first() + self.lanes.queued_interactive(),
                batch: self.lanes.queued_batch(),
                under_way: self.lanes.permits().taken(),
                capacity: self.lanes.permits().capacity(),
            },
            workers,
            unavailable_for: unavailable_until
                .filter(|&until| until > now)
                .map(|until| until - now),
            metrics: self.lanes.stats().snapshot(),
        }
    }

    fn spawn(
        self: Arc<Self>,
        worker: WorkerId,
        reservation: Reservation,
        supervisor: ActorCell,
    ) -> BoxFuture<'static, Result<(WorkerHandle, Arc<WorkerBoard>), PoolError>> {
        // Made by the supervisor's thread, not by whichever records first: a service may have a
        // recorder of its own there.
        self.lanes.stats().prepare();
        Box::pin(async move {
            // The number first: the operating system shows only the first 15 bytes of a thread's name.
            let name = format!("mp{worker}-{}", self.info.name);
            let board = Arc::new(WorkerBoard::new(
                worker,
                name.clone(),
                reservation.bytes(),
                self.pool.epoch,
            ));
            let actor = Proxy {
                registration: Arc::clone(&self),
            };
            let (sender, inbox) = inbox();
            let arguments = ProxyArguments {
                board: Arc::clone(&board),
                inbox,
                reservation,
            };
            // Actor names are global to the process and pools are not, so proxies go unnamed.
            let (proxy, _) = Actor::spawn_linked(None, actor, arguments, supervisor)
                .await
                .map_err(|error| spawn_error(&name, error))?;
            let handle = WorkerHandle {
                id: worker,
                name,
                model: self.id,
                cell: proxy.get_cell(),
                proxy: proxy.get_derived(),
            };
            let route = Route {
                board: Arc::clone(&board),
                inbox: sender,
                proxy,
            };
            self.update_routes(|routes| routes.push(route.clone()));
            Ok((handle, board))
        })
    }

    fn retire_route(&self, worker: WorkerId) {
        let routes = self.routes.load();
        if let Some(route) = routes.iter().find(|route| route.board.id == worker) {
            self.leaving().push(Arc::clone(&route.board));
        }
        self.update_routes(|routes| routes.retain(|route| route.board.id != worker));
    }

    fn remove_route(&self, worker: WorkerId) {
        let mut abandoned = self.abandoned();
        abandoned.retain(|board| board.id != worker);
        self.lanes.stats().abandoned(abandoned.len());
        drop(abandoned);
        self.drop_route(worker);
    }

    fn abandon_route(&self, board: &Arc<WorkerBoard>) {
        board.abandon();
        let mut abandoned = self.abandoned();
        if abandoned.iter().all(|known| known.id != board.id) {
            abandoned.push(Arc::clone(board));
        }
        self.lanes.stats().abandoned(abandoned.len());
        drop(abandoned);
        self.drop_route(board.id);
    }
}

fn spawn_error(worker: &str, error: SpawnErr) -> PoolError {
    match error {
        SpawnErr::StartupFailed(error) => match error.downcast::<PoolError>() {
            Ok(error) => *error,
            Err(error) => PoolError::Internal(format!("proxy {worker}: {error}")),
        },
        other => PoolError::Internal(format!("proxy {worker}: {other}")),
    }
}

impl SupervisorLink {
    /// Hands the supervisor a job for a model that has no worker. With the supervisor gone, the
    /// pool is.
    fn submit(&self, model: ModelId, job: Box<dyn QueuedJob>) {
        if let Some(SupervisorMessage::Submit { job, .. }) =
            self.try_cast(SupervisorMessage::Submit { model, job })
        {
            job.fail(PoolError::ShuttingDown);
        }
    }
}
