//! The pool: the one thing that a service starts.

mod changes;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ractor::Actor;
use tokio::sync::oneshot;

use super::capability::Capability;
use super::catalogue::Catalogue;
use super::config::PoolConfig;
use super::error::PoolError;
use super::events::EventStream;
use super::handle::ModelHandle;
use super::health::{Health, ModelHealth};
use super::memory::{Device, Ledgers, MemoryLimit};
use super::policy::PolicyConfig;
use super::registration::{AnyModel, PoolShared, Registration};
use super::shutdown::ShutdownReport;
use super::status::{MemoryStatus, PoolStatus};
use super::supervisor::{MakeShared, Supervisor, SupervisorLink, SupervisorMessage};
use crate::model::ModelSpec;

/// How long running work gets when a pool is dropped without [`Pool::shutdown`].
const GRACE_ON_DROP: Duration = Duration::from_secs(10);

/// Keeps models loaded and serves them. Cheap to clone; clones are the same pool.
///
/// A pool lives on the tokio runtime that it was started on. When the last clone is dropped, the
/// pool shuts down in the background; handles that are left are told
/// [`PoolError::ShuttingDown`]. [`shutdown`](Self::shutdown) does the same and waits.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<PoolShared>,
    catalogue: Arc<Catalogue>,
    closing: AtomicBool,
    supervisor: tokio::sync::Mutex<Option<ractor::concurrency::JoinHandle<()>>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.supervisor.cast(SupervisorMessage::Shutdown {
            grace: GRACE_ON_DROP,
            reply: None,
        });
    }
}

impl Pool {
    /// Starts a pool with no models in it, on the current tokio runtime.
    ///
    /// # Errors
    /// [`PoolError::InvalidConfig`] if a setting makes no sense.
    pub async fn start(config: PoolConfig) -> Result<Self, PoolError> {
        config.validate()?;
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(PoolError::InvalidConfig {
                field: "runtime",
                reason: "must be a tokio runtime".to_owned(),
            });
        }
        let limit = MemoryLimit::new(config.memory, config.probe.total_mb());
        let policy = PolicyConfig {
            cold_start_workers: config.cold_start_workers,
            expand_after: config.expand_after,
            idle_after: config.idle_after,
            max_stalled_workers: config.max_stalled_workers,
            restart: config.restart,
            seed: config.jitter_seed.unwrap_or_else(|| fastrand::u64(..)),
        };
        let make_shared: MakeShared = Box::new(move |supervisor: SupervisorLink| {
            let freed = supervisor.clone();
            let on_release = move || freed.cast(SupervisorMessage::MemoryFreed);
            let ledgers = Ledgers::new(limit, &config.devices, on_release);
            Arc::new(PoolShared::new(config, ledgers, supervisor))
        });
        let (started, shared) = oneshot::channel();
        let catalogue = Arc::new(Catalogue::default());
        let arguments = (policy, make_shared, Arc::clone(&catalogue), started);
        let (_, supervisor) = Actor::spawn(None, Supervisor, arguments)
            .await
            .map_err(|error| PoolError::Internal(format!("supervisor: {error}")))?;
        let shared = shared
            .await
            .map_err(|_| PoolError::Internal("the supervisor did not start".to_owned()))?;
        Ok(Self {
            inner: Arc::new(Inner {
                shared,
                catalogue,
                closing: AtomicBool::new(false),
                supervisor: tokio::sync::Mutex::new(Some(supervisor)),
            }),
        })
    }

    /// Makes a model known. Nothing is loaded before its first request.
    ///
    /// # Errors
    /// [`PoolError::AlreadyRegistered`] if the name is taken, [`PoolError::InvalidConfig`] if a
    /// setting makes no sense, [`PoolError::NoDeviceBudget`] for a model on a device that
    /// [`PoolConfig::devices`] does not name, [`PoolError::ShuttingDown`] after shutdown.
    pub fn register<C: Capability>(&self, spec: ModelSpec<C>) -> Result<ModelHandle<C>, PoolError> {
        spec.validate()?;
        if self.inner.closing.load(Ordering::Acquire) {
            return Err(PoolError::ShuttingDown);
        }
        let name = spec.info.name.clone();
        let shared = Arc::clone(&self.inner.shared);
        let registration = self
            .inner
            .catalogue
            .add(&name, |id| Registration::new(id, spec, shared, None))?;
        self.announce(&registration)?;
        Ok(ModelHandle::new(registration))
    }

    /// Makes a model known to the supervisor.
    fn announce<C: Capability>(
        &self,
        registration: &Arc<Registration<C>>,
    ) -> Result<(), PoolError> {
        let message = SupervisorMessage::Register(registration.clone());
        if self.inner.shared.supervisor.try_cast(message).is_some() {
            registration.close(PoolError::ShuttingDown);
            return Err(PoolError::ShuttingDown);
        }
        Ok(())
    }

    /// The version that serves now of a handle's model, if the handle is this pool's.
    fn own<C: Capability>(
        &self,
        handle: &ModelHandle<C>,
    ) -> Result<Arc<Registration<C>>, PoolError> {
        let registration = handle.registration();
        if !Arc::ptr_eq(&registration.pool, &self.inner.shared) {
            return Err(PoolError::NotRegistered {
                model: registration.info.name.clone(),
            });
        }
        match registration.lanes.refusing() {
            Some(error) => Err(error.clone()),
            None => Ok(registration),
        }
    }

    /// Starts a model's workers before the first request, and waits until one of them serves.
    ///
    /// # Errors
    /// What a first request would be told: [`PoolError::LoadFailed`],
    /// [`PoolError::MemoryExhausted`], [`PoolError::Unavailable`], or
    /// [`PoolError::DeadlineExceeded`] after the pool's default deadline.
    pub async fn warm<C: Capability>(&self, handle: &ModelHandle<C>) -> Result<(), PoolError> {
        let model = self.own(handle)?.id;
        let (reply, warmed) = oneshot::channel();
        let shared = &self.inner.shared;
        shared
            .supervisor
            .cast(SupervisorMessage::Warm { model, reply });
        let allowed = shared.config.default_deadline;
        match tokio::time::timeout(allowed, warmed).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(PoolError::ShuttingDown),
            Err(_) => Err(PoolError::DeadlineExceeded {
                model: handle.info().name.clone(),
                allowed,
            }),
        }
    }

    /// Pins a model, or takes its pin away: a pinned model keeps its workers when others need
    /// room, and its last one when it is idle.
    ///
    /// # Errors
    /// [`PoolError::NotRegistered`] if the handle is another pool's or its model was unregistered,
    /// [`PoolError::ShuttingDown`] after shutdown.
    pub fn pin<C: Capability>(
        &self,
        handle: &ModelHandle<C>,
        pinned: bool,
    ) -> Result<(), PoolError> {
        let model = self.own(handle)?.id;
        self.inner
            .shared
            .supervisor
            .cast(SupervisorMessage::Pin { model, pinned });
        Ok(())
    }

    /// The pool at this moment.
    pub fn status(&self) -> PoolStatus {
        let shared = &self.inner.shared;
        let of_device = |(device, ledger): (Device, &Arc<_>)| (device, MemoryStatus::of(ledger));
        let now = Instant::now();
        let models = self.inner.catalogue.all();
        PoolStatus {
            memory: MemoryStatus::of(shared.ledgers.cpu()).with_pressure(&shared.pressure()),
            devices: shared.ledgers.iter().skip(1).map(of_device).collect(),
            models: models.iter().map(|model| model.status(now)).collect(),
            threads: shared.threads(),
            shutting_down: self.inner.closing.load(Ordering::Acquire),
        }
    }

    /// Sends a model a real request, as small as can be, and waits for the whole of its answer: the
    /// model is loaded for it if need be, and the request waits its turn as any other. Bounded by
    /// the handle's deadline. The answer is how long it took.
    ///
    /// # Errors
    /// [`PoolError::NoProbe`] if the model's capability has no such request; else whatever a
    /// request can end with.
    pub async fn probe<C: Capability>(
        &self,
        handle: &ModelHandle<C>,
    ) -> Result<Duration, PoolError> {
        self.own(handle)?;
        let started = Instant::now();
        let admission = handle.admit()?;
        let request = admission.prepare(admission.probe_request()).await?;
        let mut items = admission.stream(request);
        while let Some(item) = items.next().await {
            item?;
        }
        Ok(started.elapsed())
    }

    /// Whether the pool lives and can serve. Asks the supervisor, which must answer `within` this
    /// time, and looks at every model; runs none (for that, see [`probe`](Self::probe)).
    pub async fn health(&self, within: Duration) -> Health {
        let shared = &self.inner.shared;
        let asked = Instant::now();
        let (reply, answered) = oneshot::channel();
        shared.supervisor.cast(SupervisorMessage::Ping { reply });
        let answered = tokio::time::timeout(within, answered).await;
        let status = self.status();
        let most = shared.config.max_stalled_workers;
        Health {
            supervisor_answered_in: matches!(answered, Ok(Ok(()))).then(|| asked.elapsed()),
            shutting_down: status.shutting_down,
            models: status
                .models
                .iter()
                .map(|model| ModelHealth::of(model, most))
                .collect(),
        }
    }

    /// Everything that happens to workers from now on.
    pub fn events(&self) -> EventStream {
        self.inner.shared.events.subscribe()
    }

    /// Ends the pool: no new work, waiting callers are answered with
    /// [`PoolError::ShuttingDown`], running work is finished within `grace`, threads are joined.
    /// A thread that does not come back in time is abandoned and named in the report.
    pub async fn shutdown(&self, grace: Duration) -> ShutdownReport {
        self.inner.closing.store(true, Ordering::Release);
        let (reply, finished) = oneshot::channel();
        let message = SupervisorMessage::Shutdown {
            grace,
            reply: Some(reply),
        };
        if self.inner.shared.supervisor.try_cast(message).is_some() {
            // It has shut down before.
            return ShutdownReport::default();
        }
        let report = finished.await.unwrap_or_default();
        if let Some(supervisor) = self.inner.supervisor.lock().await.take() {
            // It has replied, so it is about to stop; how it ends makes no difference any more.
            drop(supervisor.await);
        }
        report
    }

    /// What is left of the pool: threads, actors, permits and bytes. All zero after a shutdown that
    /// abandoned nothing.
    #[cfg(feature = "testing")]
    pub fn census(&self) -> crate::testing::Census {
        let shared = &self.inner.shared;
        let models = self.inner.catalogue.all();
        crate::testing::Census {
            threads: shared.threads(),
            permits: models.iter().map(|model| model.under_way()).sum(),
            queued: models.iter().map(|model| model.queue().queued).sum(),
            reserved_bytes: shared.ledgers.reserved_bytes(),
            asleep: models.iter().map(|model| model.asleep()).sum(),
            proxies: shared.proxies(),
            supervisor_alive: !shared.supervisor.is_stopped(),
        }
    }
}
