//! What a service holds of a registered model.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Sleep;

use super::capability::Capability;
use super::deadline::Deadline;
use super::error::PoolError;
use super::job::{Job, JobParts, Priority, ReplyPort};
use super::lanes::Lanes;
use super::metrics::{Ending, ModelStats};
use super::permits::Permit;
use super::registration::Registration;
use super::shared::{Shared, offload};
use super::tenants::Tenant;
use crate::model::ModelInfo;

/// How many items of a stream may wait for a slow reader before its sequence is left alone.
const STREAM_BUFFER: usize = 32;

/// How a request is treated; what is not set is the pool's or the operation's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestOptions {
    deadline: Option<Duration>,
    priority: Option<Priority>,
    #[serde(default)]
    tenant: Option<Tenant>,
}

impl RequestOptions {
    /// The answer must come within this time, counted from the call. Default: the pool's
    /// `default_deadline`. For a batch, a deadline set here bounds the whole call, the default
    /// each of its texts from when that is queued.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The deadline, if one is set.
    pub fn get_deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Which lane the request waits in. Default: interactive, and batch for batches.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Whom the request is made for. Within a lane, tenants are served in turn, a request each, and
    /// requests that name none are one tenant together. One tenant fills at most the pool's
    /// `tenant_share` of a model's queue. Default: none.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<Arc<str>>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// The tenant, if one is named.
    pub fn get_tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }
}

/// A registered model, to be asked. Cheap to clone; clones share the model's queue and workers.
pub struct ModelHandle<C: Capability> {
    /// The version that serves now; every clone sees a replacement at once.
    current: Arc<ArcSwap<Registration<C>>>,
    options: RequestOptions,
}

impl<C: Capability> Clone for ModelHandle<C> {
    fn clone(&self) -> Self {
        Self {
            current: Arc::clone(&self.current),
            options: self.options.clone(),
        }
    }
}

impl<C: Capability> fmt::Debug for ModelHandle<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelHandle")
            .field("capability", &C::NAME)
            .field("model", &self.current.load().info.name)
            .field("options", &self.options)
            .finish()
    }
}

impl<C: Capability> ModelHandle<C> {
    pub(crate) fn new(registration: Arc<Registration<C>>) -> Self {
        Self {
            current: Arc::new(ArcSwap::new(registration)),
            options: RequestOptions::default(),
        }
    }

    /// The version that serves now.
    pub(crate) fn registration(&self) -> Arc<Registration<C>> {
        self.current.load_full()
    }

    /// From now on all clones of this handle ask another version.
    pub(crate) fn succeed(&self, new: Arc<Registration<C>>) {
        self.current.store(new);
    }

    /// The model's description.
    pub fn info(&self) -> Arc<ModelInfo> {
        Arc::clone(&self.current.load().info)
    }

    /// What requests need on the caller's side, such as the tokenizer. A request that is prepared
    /// with it is to be sent to the same version of the model: see [`Admission::caller_side`].
    pub fn caller_side(&self) -> Arc<C::CallerSide> {
        Arc::clone(&self.current.load().caller_side)
    }

    /// The same model, asked with these options.
    #[must_use]
    pub fn with(&self, options: RequestOptions) -> Self {
        Self {
            current: Arc::clone(&self.current),
            options,
        }
    }

    /// The options that this handle asks with.
    pub fn options(&self) -> RequestOptions {
        self.options.clone()
    }

    /// The same handle with this priority, unless its options name one.
    #[must_use]
    pub fn or_priority(&self, priority: Priority) -> Self {
        let mut handle = self.clone();
        handle.options.priority.get_or_insert(priority);
        handle
    }

    /// How many requests may be under way at once.
    pub fn queue_capacity(&self) -> usize {
        self.current.load().lanes.permits().capacity()
    }

    /// Takes a place in the model's queue; the deadline counts from here. What is costly about a
    /// request (tokenising, decoding) is best done with the place in hand: a full queue then
    /// refuses at once, and cheaply.
    ///
    /// # Errors
    /// [`PoolError::Overloaded`] if the queue is full, [`PoolError::TenantOverloaded`] if the tenant
    /// has its share of it, [`PoolError::ShuttingDown`] after shutdown.
    pub fn admit(&self) -> Result<Admission<C>, PoolError> {
        let (registration, permit) = loop {
            let registration = self.registration();
            match registration.lanes.admit_for(self.options.tenant.as_ref()) {
                Ok(permit) => break (registration, permit),
                // It was replaced since, and refuses what its successor takes.
                Err(_) if !Arc::ptr_eq(&registration, &self.current.load()) => {}
                Err(error) => return Err(error),
            }
        };
        let allowed = self.options.deadline;
        let allowed = allowed.unwrap_or(registration.pool.config.default_deadline);
        let accepted = Instant::now();
        Ok(Admission {
            registration,
            permit,
            priority: self.options.priority.unwrap_or_default(),
            accepted,
            allowed,
            // A deadline past the end of time is no deadline that could be missed.
            deadline: accepted
                .checked_add(allowed)
                .unwrap_or(accepted + Duration::from_secs(u32::MAX.into())),
            kept: OnceLock::new(),
        })
    }

    /// As [`admit`](Self::admit), but waits for a place while the queue is full. For callers that
    /// have places already and mean to use no more than their share.
    ///
    /// # Errors
    /// [`PoolError::DeadlineExceeded`] if no place came free in time, [`PoolError::ShuttingDown`]
    /// after shutdown.
    pub async fn admit_patiently(&self) -> Result<Admission<C>, PoolError> {
        let default = self.current.load().pool.config.default_deadline;
        let allowed = self.options.deadline.unwrap_or(default);
        let started = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            match self.admit() {
                Err(
                    PoolError::Overloaded { model, .. } | PoolError::TenantOverloaded { model, .. },
                ) if started.elapsed() >= allowed => {
                    return Err(PoolError::DeadlineExceeded { model, allowed });
                }
                Err(PoolError::Overloaded { .. } | PoolError::TenantOverloaded { .. }) => {
                    tokio::time::sleep(pause).await
                }
                admitted_or_failed => return admitted_or_failed,
            }
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Asks for one answer. To drop the future cancels the request.
    ///
    /// # Errors
    /// Any [`PoolError`] that a request can end with.
    pub async fn ask(&self, request: C::Request) -> Result<C::Item, PoolError> {
        self.admit()?.ask(request).await
    }

    /// Asks for a stream of items. To drop the stream cancels the request.
    ///
    /// # Errors
    /// As [`admit`](Self::admit); what happens later is an item of the stream.
    pub fn stream(&self, request: C::Request) -> Result<ItemStream<C>, PoolError> {
        Ok(self.admit()?.stream(request))
    }
}

/// A place in a model's queue, given back when dropped unused.
#[must_use = "an admission that is not used gives its place back"]
pub struct Admission<C: Capability> {
    /// The version that admitted it, which serves it whatever comes after.
    registration: Arc<Registration<C>>,
    permit: Permit<C>,
    priority: Priority,
    accepted: Instant,
    allowed: Duration,
    deadline: Instant,
    kept: OnceLock<Kept>,
}

/// What is loaded for a request, and stays while somebody has this.
type Kept = Arc<dyn Any + Send + Sync>;

impl<C: Capability> fmt::Debug for Admission<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("model", &self.registration.info.name)
            .field("priority", &self.priority)
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}

impl<C: Capability> Admission<C> {
    /// The model's description.
    pub fn info(&self) -> &ModelInfo {
        &self.registration.info
    }

    /// What a request needs on the caller's side, of the very version of the model that will serve
    /// it.
    pub fn caller_side(&self) -> &C::CallerSide {
        &self.registration.caller_side
    }

    /// The same, to be kept after the request was sent.
    pub(crate) fn shared_caller_side(&self) -> Arc<C::CallerSide> {
        Arc::clone(&self.registration.caller_side)
    }

    /// Whether `side` is this version's.
    pub(crate) fn is_of(&self, side: &Arc<C::CallerSide>) -> bool {
        Arc::ptr_eq(&self.registration.caller_side, side)
    }

    fn submit(self, request: C::Request, reply: ReplyPort<C::Item>) -> Arc<Registration<C>> {
        let id = self.registration.lanes.stats().accepted();
        let span = tracing::debug_span!(
            "request",
            capability = C::NAME,
            model = self.registration.info.name,
            job = id.0
        );
        let job = Job::new(JobParts {
            id,
            request: Arc::new(request),
            reply,
            priority: self.priority,
            accepted: self.accepted,
            deadline: self.deadline,
            span: span.into(),
            permit: self.permit,
        });
        self.registration.submit(job);
        self.registration
    }

    /// Has workers started if the model has none, though its request can't be sent yet: what loads on
    /// the caller's side meanwhile, such as a tokenizer, then loads beside them.
    pub fn start_workers(&self) {
        self.registration.start_workers();
    }

    /// A part of the model that requests are prepared with, loaded if nobody holds it. It is kept until the request
    /// has ended, so that neither those who come after it nor the worker that is started for it have to load it
    /// again. Of several parts the first is kept.
    ///
    /// # Errors
    /// [`PoolError::LoadFailed`] with what the loader says.
    pub async fn load<T: Send + Sync + 'static>(
        &self,
        part: &Arc<Shared<T>>,
    ) -> Result<Arc<T>, PoolError> {
        let loaded = part.get().await.map_err(|source| PoolError::LoadFailed {
            model: self.registration.info.name.clone(),
            source,
        })?;
        self.kept.get_or_init(|| Arc::clone(&loaded) as Kept);
        Ok(loaded)
    }

    /// How long ago the place was taken.
    pub fn age(&self) -> Duration {
        self.accepted.elapsed()
    }

    /// Does what must be done before the request can be sent, within its deadline. A request that
    /// ends here because that has passed, or because its caller goes away, counts like any other;
    /// one that turns out not to make sense was never accepted.
    ///
    /// # Errors
    /// [`PoolError::DeadlineExceeded`] if the work takes too long, else what the work ends with.
    pub async fn prepare<T>(
        &self,
        work: impl Future<Output = Result<T, PoolError>>,
    ) -> Result<T, PoolError> {
        let mut unsent = Unsent {
            stats: self.registration.lanes.stats(),
            accepted: self.accepted,
            ending: Some(Ending::Cancelled),
        };
        let prepared = tokio::time::timeout_at(self.deadline.into(), work).await;
        unsent.ending = prepared.is_err().then_some(Ending::Expired);
        prepared.unwrap_or_else(|_| Err(self.expired()))
    }

    /// Sends the request and waits for its one answer.
    ///
    /// # Errors
    /// Any [`PoolError`] that a request can end with.
    pub async fn ask(mut self, request: C::Request) -> Result<C::Item, PoolError> {
        let _kept = self.kept.take();
        let (reply, answer) = oneshot::channel();
        let (deadline, allowed) = (self.deadline, self.allowed);
        let registration = self.submit(request, ReplyPort::Once(reply));
        let mut caller = Caller::of(&*registration.lanes);
        let mut deadline = Deadline::new(deadline, &registration.spare_timers);
        // The port is closed before the caller is counted as gone: locals go in reverse order.
        let mut answer = answer;
        let answered = poll_fn(|context| {
            if let Poll::Ready(reply) = Pin::new(&mut answer).poll(context) {
                return Poll::Ready(Some(reply));
            }
            deadline.poll(context).map(|()| None)
        })
        .await;
        caller.answered = answered.is_some();
        match answered {
            Some(Ok(reply)) => reply,
            // Every job ends with a reply; without one, the pool's runtime itself is going down.
            Some(Err(_)) => Err(PoolError::ShuttingDown),
            None => Err(PoolError::DeadlineExceeded {
                model: registration.info.name.clone(),
                allowed,
            }),
        }
    }

    /// The capability's probe request, prepared for this model.
    pub(crate) async fn probe_request(&self) -> Result<C::Request, PoolError> {
        let registration = Arc::clone(&self.registration);
        let request = offload(move || C::probe_request(&registration.caller_side)).await?;
        let model = || self.registration.info.name.clone();
        match request {
            Ok(Some(request)) => Ok(request),
            Ok(None) => Err(PoolError::NoProbe {
                model: model(),
                capability: C::NAME,
            }),
            Err(source) => Err(PoolError::Model {
                model: model(),
                source,
            }),
        }
    }

    /// Sends the request and answers with its stream.
    pub fn stream(mut self, request: C::Request) -> ItemStream<C> {
        let kept = self.kept.take();
        let (reply, items) = mpsc::channel(STREAM_BUFFER + 1);
        let expired = self.expired();
        let caller = Caller::of(Arc::clone(self.permit.lanes()));
        let deadline = Box::pin(tokio::time::sleep_until(self.deadline.into()));
        self.submit(request, ReplyPort::Stream(reply));
        ItemStream {
            items,
            deadline,
            expired: Some(expired),
            _kept: kept,
            caller,
        }
    }

    fn expired(&self) -> PoolError {
        PoolError::DeadlineExceeded {
            model: self.registration.info.name.clone(),
            allowed: self.allowed,
        }
    }
}

/// Counts a request that ends before it could be sent.
struct Unsent<'a> {
    stats: &'a ModelStats,
    accepted: Instant,
    ending: Option<Ending>,
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        if let Some(ending) = self.ending {
            self.stats.accepted();
            self.stats.ended(ending, self.accepted.elapsed());
        }
    }
}

/// The items of a streamed request, in order. An error is the last item. To drop it cancels the
/// request: the worker is free of it before its next step.
pub struct ItemStream<C: Capability> {
    items: mpsc::Receiver<Result<C::Item, PoolError>>,
    deadline: Pin<Box<Sleep>>,
    /// What the reader is told at the deadline; taken when the stream has ended.
    expired: Option<PoolError>,
    _kept: Option<Kept>,
    /// Declared last, so that `items` is closed before the caller is counted as gone.
    caller: Caller<C, Arc<Lanes<C>>>,
}

/// Tells the lanes when a caller goes away unanswered: its job may be lying in line.
struct Caller<C: Capability, L: Deref<Target = Lanes<C>>> {
    lanes: L,
    answered: bool,
}

impl<C: Capability, L: Deref<Target = Lanes<C>>> Caller<C, L> {
    fn of(lanes: L) -> Self {
        Self {
            lanes,
            answered: false,
        }
    }
}

impl<C: Capability, L: Deref<Target = Lanes<C>>> Drop for Caller<C, L> {
    fn drop(&mut self) {
        if !self.answered {
            self.lanes.caller_gone();
        }
    }
}

impl<C: Capability> fmt::Debug for ItemStream<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ItemStream").finish_non_exhaustive()
    }
}

impl<C: Capability> ItemStream<C> {
    /// The next item; `None` after the last.
    pub async fn next(&mut self) -> Option<Result<C::Item, PoolError>> {
        StreamExt::next(self).await
    }
}

impl<C: Capability> Stream for ItemStream<C> {
    type Item = Result<C::Item, PoolError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.expired.is_none() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(item) = self.items.poll_recv(context) {
            if !matches!(item, Some(Ok(_))) {
                self.expired = None;
                self.caller.answered = true;
            }
            return Poll::Ready(item);
        }
        if self.deadline.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.items.close();
        Poll::Ready(self.expired.take().map(Err))
    }
}
