//! Things that are loaded once and shared by all who need them now.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::thread;

use super::error::PoolError;
use crate::models::ModelError;

pub(crate) type Load<T> = Box<dyn Fn() -> Result<T, ModelError> + Send + Sync>;

/// An immutable part of a model, such as its tokenizer or its weights: the first who asks loads
/// it, others get the same one while anybody holds it, and with the last holder it is freed.
pub struct Shared<T> {
    load: Load<T>,
    held: RwLock<Weak<T>>,
    /// Keeps what was not loaded.
    _kept: Option<Arc<T>>,
    /// Held while loading, so that it happens once.
    loading: Mutex<()>,
    /// The same for async callers, who would otherwise each block a thread on `loading`.
    waiting: tokio::sync::Mutex<()>,
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("loaded", &self.current().is_some())
            .finish_non_exhaustive()
    }
}

impl<T> Shared<T> {
    /// Nothing is loaded before somebody asks.
    pub fn new(load: impl Fn() -> Result<T, ModelError> + Send + Sync + 'static) -> Self {
        Self {
            load: Box::new(load),
            held: RwLock::new(Weak::new()),
            _kept: None,
            loading: Mutex::new(()),
            waiting: tokio::sync::Mutex::new(()),
        }
    }

    /// Something that is there already, and stays.
    pub fn ready(value: T) -> Self {
        let kept = Arc::new(value);
        let held = RwLock::new(Arc::downgrade(&kept));
        let load = || Err(ModelError::Other("what is kept is never loaded".to_owned()));
        Self {
            held,
            _kept: Some(kept),
            ..Self::new(load)
        }
    }

    /// What is loaded now, if anybody holds it.
    pub fn current(&self) -> Option<Arc<T>> {
        self.held
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .upgrade()
    }

    /// What is loaded, or loads it on this thread. For worker threads.
    ///
    /// # Errors
    /// What the loader says; the next call tries again.
    pub fn get_blocking(&self) -> Result<Arc<T>, ModelError> {
        self.get_blocking_by(|load| load())
    }

    /// What is loaded, or loads it on another thread while this one does `work`. For worker threads.
    ///
    /// # Errors
    /// What `work` says, else what the loader says. Both are waited for.
    pub(crate) fn get_beside<W>(
        &self,
        work: impl FnOnce() -> Result<W, ModelError>,
    ) -> Result<(W, Arc<T>), ModelError>
    where
        T: Send + Sync,
    {
        if let Some(loaded) = self.current() {
            return Ok((work()?, loaded));
        }
        thread::scope(|scope| {
            let beside = thread::Builder::new().name("modelpool-beside".to_owned());
            let beside = beside.spawn_scoped(scope, || self.get_blocking());
            let done = work()?;
            let loaded = match beside {
                Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                // Without another thread, on this one.
                Err(_) => self.get_blocking(),
            };
            Ok((done, loaded?))
        })
    }

    /// The same, the loader being run by `run`.
    pub(crate) fn get_blocking_by(
        &self,
        run: impl FnOnce(&Load<T>) -> Result<T, ModelError>,
    ) -> Result<Arc<T>, ModelError> {
        // A loader that panicked has left nothing half-made behind.
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = self.current() {
            return Ok(loaded);
        }
        let loaded = Arc::new(run(&self.load)?);
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&loaded);
        Ok(loaded)
    }
}

impl<T: Send + Sync + 'static> Shared<T> {
    /// What is loaded, or loads it off the async threads.
    ///
    /// # Errors
    /// As [`get_blocking`](Self::get_blocking).
    pub async fn get(self: &Arc<Self>) -> Result<Arc<T>, ModelError> {
        if let Some(loaded) = self.current() {
            return Ok(loaded);
        }
        let _first = self.waiting.lock().await;
        if let Some(loaded) = self.current() {
            return Ok(loaded);
        }
        let shared = Arc::clone(self);
        offload(move || shared.get_blocking())
            .await
            .unwrap_or_else(|error| Err(ModelError::Other(error.to_string())))
    }
}

/// Runs work that would hold up an async thread elsewhere.
///
/// # Errors
/// [`PoolError::Internal`] if the work panicked.
pub async fn offload<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PoolError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| PoolError::Internal(format!("preparing a request: {error}")))
}
