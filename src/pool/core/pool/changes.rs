//! How models leave a running pool, or make way for another version.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Pool;
use crate::model::ModelSpec;
use crate::pool::core::capability::Capability;
use crate::pool::core::drain::DrainReport;
use crate::pool::core::error::PoolError;
use crate::pool::core::handle::ModelHandle;
use crate::pool::core::ids::ModelId;
use crate::pool::core::registration::{AnyModel, Registration};
use crate::pool::core::supervisor::SupervisorMessage;

/// The right to change what is registered under a name, of which there is one.
struct Change<C: Capability>(Arc<Registration<C>>);

impl<C: Capability> Change<C> {
    fn begin(registration: &Arc<Registration<C>>) -> Result<Self, PoolError> {
        if registration.begin_change() {
            return Ok(Self(Arc::clone(registration)));
        }
        Err(PoolError::Changing {
            model: registration.info.name.clone(),
        })
    }
}

impl<C: Capability> Drop for Change<C> {
    fn drop(&mut self) {
        self.0.end_change();
    }
}

impl Pool {
    /// Gives up the workers that a model has now; it stays registered. Each finishes what it has in
    /// hand; what outlasts `grace` goes back into the queue (a stream that has begun ends in
    /// [`PoolError::Interrupted`]) and its thread is abandoned. What waits, and whoever asks next,
    /// is served by new workers.
    ///
    /// # Errors
    /// [`PoolError::NotRegistered`] if the handle is another pool's or its model was unregistered,
    /// [`PoolError::ShuttingDown`] after shutdown.
    pub async fn retire<C: Capability>(
        &self,
        handle: &ModelHandle<C>,
        grace: Duration,
    ) -> Result<DrainReport, PoolError> {
        let model = self.own(handle)?.id;
        self.drain(model, false, grace).await
    }

    /// Takes a model out of the pool. New requests are told [`PoolError::NotRegistered`] from now on;
    /// those under way are served within `grace`, and those that are left then are told
    /// [`PoolError::GraceOver`]. When this returns, nothing is left of the model but threads that
    /// did not come back, and its name is free.
    ///
    /// # Errors
    /// As [`retire`](Self::retire); [`PoolError::Changing`] while the model is being replaced or
    /// unregistered already.
    pub async fn unregister<C: Capability>(
        &self,
        handle: &ModelHandle<C>,
        grace: Duration,
    ) -> Result<DrainReport, PoolError> {
        let old = self.own(handle)?;
        let _change = Change::begin(&old)?;
        self.drain(old.id, true, grace).await
    }

    /// Puts another version of a model in its place while requests come in. The new version is
    /// loaded beside the old one, and probed where its capability has a [probe
    /// request](Capability::probe_request); then all handles of the model ask the new version, and
    /// the old one finishes what it had accepted, within `grace`. It keeps the name, whatever the
    /// spec says. Once begun it goes on even if this future is dropped.
    ///
    /// Both versions need memory at once: idle workers of other models give way, those of the old
    /// version do not. If the new version cannot be had, the old one goes on serving.
    ///
    /// # Errors
    /// What keeps the new version from serving: [`PoolError::LoadFailed`],
    /// [`PoolError::MemoryExhausted`], [`PoolError::Stalled`], whatever its probe ends with; else as
    /// [`unregister`](Self::unregister) and [`register`](Self::register).
    pub async fn replace<C: Capability>(
        &self,
        handle: &ModelHandle<C>,
        spec: ModelSpec<C>,
        grace: Duration,
    ) -> Result<DrainReport, PoolError> {
        let old = self.own(handle)?;
        let change = Change::begin(&old)?;
        let spec = spec.named(old.info.name.clone());
        spec.validate()?;
        let id = self.inner.catalogue.next_id();
        let shared = Arc::clone(&self.inner.shared);
        let new = Registration::new(id, spec, shared, Some(old.id))?;
        self.announce(&new)?;
        let (pool, handle) = (self.clone(), handle.clone());
        let take_over = async move {
            let _change = change;
            pool.take_over(&handle, &old, new, grace).await
        };
        tokio::spawn(take_over)
            .await
            .map_err(|error| PoolError::Internal(format!("replacing a model: {error}")))?
    }

    async fn take_over<C: Capability>(
        &self,
        handle: &ModelHandle<C>,
        old: &Registration<C>,
        new: Arc<Registration<C>>,
        grace: Duration,
    ) -> Result<DrainReport, PoolError> {
        if let Err(error) = self.try_out(&new).await {
            // Nobody has asked it anything; nobody waits for its end.
            drop(self.order_drain(new.id, true, grace));
            return Err(error);
        }
        let successor: Arc<dyn AnyModel> = new.clone();
        self.inner.catalogue.replace(old.id, successor);
        handle.succeed(new);
        self.drain(old.id, true, grace).await
    }

    /// Loads a version that nobody knows yet, and probes it if that can be done.
    async fn try_out<C: Capability>(&self, new: &Arc<Registration<C>>) -> Result<(), PoolError> {
        let (reply, warmed) = oneshot::channel();
        self.inner.shared.supervisor.cast(SupervisorMessage::Warm {
            model: new.id,
            reply,
        });
        // Bounded by the version's `load_timeout`.
        warmed.await.unwrap_or(Err(PoolError::ShuttingDown))?;
        match self.probe(&ModelHandle::new(Arc::clone(new))).await {
            Ok(_) | Err(PoolError::NoProbe { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn drain(
        &self,
        model: ModelId,
        leave: bool,
        grace: Duration,
    ) -> Result<DrainReport, PoolError> {
        let drained = self.order_drain(model, leave, grace);
        drained.await.map_err(|_| PoolError::ShuttingDown)
    }

    fn order_drain(
        &self,
        model: ModelId,
        leave: bool,
        grace: Duration,
    ) -> oneshot::Receiver<DrainReport> {
        let (reply, drained) = oneshot::channel();
        self.inner.shared.supervisor.cast(SupervisorMessage::Drain {
            model,
            leave,
            grace,
            reply,
        });
        drained
    }
}
