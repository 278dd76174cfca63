//! The models of a pool, in the order of their registration.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::PoolError;
use super::ids::ModelId;
use super::registration::AnyModel;

/// Which models there are. Shared by the pool, which adds them, and the supervisor, which takes
/// them out when they have drained.
#[derive(Default)]
pub(crate) struct Catalogue {
    models: Mutex<Models>,
}

#[derive(Default)]
struct Models {
    ordered: Vec<Arc<dyn AnyModel>>,
    by_name: HashMap<String, ModelId>,
    /// How many ids have been given; none is given twice.
    ids: u64,
}

impl Models {
    fn next_id(&mut self) -> ModelId {
        self.ids += 1;
        ModelId(self.ids)
    }
}

impl Catalogue {
    fn lock(&self) -> MutexGuard<'_, Models> {
        // The lists are whole at every point where a panic could strike.
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what `make` makes, under a name that must be free.
    pub(crate) fn add<M: AnyModel + 'static>(
        &self,
        name: &str,
        make: impl FnOnce(ModelId) -> Result<Arc<M>, PoolError>,
    ) -> Result<Arc<M>, PoolError> {
        let mut models = self.lock();
        if models.by_name.contains_key(name) {
            return Err(PoolError::AlreadyRegistered {
                model: name.to_owned(),
            });
        }
        let id = models.next_id();
        let model = make(id)?;
        models.by_name.insert(name.to_owned(), id);
        models.ordered.push(model.clone());
        Ok(model)
    }

    /// An id for a model that is to take another one's place.
    pub(crate) fn next_id(&self) -> ModelId {
        self.lock().next_id()
    }

    /// Puts a model in another one's place, under the same name.
    pub(crate) fn replace(&self, old: ModelId, new: Arc<dyn AnyModel>) {
        let mut models = self.lock();
        models.by_name.insert(new.info().name.clone(), new.id());
        if let Some(place) = models.ordered.iter_mut().find(|model| model.id() == old) {
            *place = new;
        }
    }

    pub(crate) fn remove(&self, id: ModelId) {
        let mut models = self.lock();
        models.by_name.retain(|_, named| *named != id);
        models.ordered.retain(|model| model.id() != id);
    }

    pub(crate) fn all(&self) -> Vec<Arc<dyn AnyModel>> {
        self.lock().ordered.clone()
    }
}
