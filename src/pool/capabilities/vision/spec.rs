//! How vision models are brought to a pool.

use std::sync::Arc;

use super::caller_side::{AnyPreparer, VisionSide};
use super::input::VisionPreparer;
use super::model::VisionModel;
use super::{Vision, VisionCapable, VisionLanguageCapable};
use crate::images::ImageLimits;
use crate::model::{ModelInfo, ModelSpec};
use crate::models::ModelError;
use crate::pool::capabilities::text_to_text::Language;
use crate::pool::core::Shared;

impl ModelSpec<Vision> {
    /// A model that reads pictures, loaded by `loader` on the thread of each worker. It is given the
    /// pictures themselves, unless a [`preparer`](Self::preparer) makes something of them.
    pub fn vision<M: VisionCapable>(
        info: ModelInfo,
        loader: impl Fn() -> Result<M, ModelError> + Send + Sync + 'static,
    ) -> Self {
        let loader = Arc::new(move || Ok(Box::new(VisionModel::reader(loader()?))));
        Self::with_caller_side(info, VisionSide::plain(), loader)
    }

    /// The same for a model whose workers share their weights: `load_weights` runs when the first
    /// worker starts, the others are made from what it gave, and with the last worker it is freed.
    /// What of the estimate is weights is said with [`ModelInfo::from_bytes`].
    pub fn vision_shared<W, M>(
        info: ModelInfo,
        load_weights: impl Fn() -> Result<W, ModelError> + Send + Sync + 'static,
        make_worker: impl Fn(Arc<W>) -> Result<M, ModelError> + Send + Sync + 'static,
    ) -> Self
    where
        W: Send + Sync + 'static,
        M: VisionCapable,
    {
        Self::sharing(info, VisionSide::plain(), load_weights, move |weights| {
            Ok(Box::new(VisionModel::reader(make_worker(weights)?)))
        })
    }

    /// A model that answers queries about pictures, whose workers share their weights: `load_weights` runs
    /// when the first worker starts, the others are made from what it gave, and with the last worker it is
    /// freed. Callers and workers share the language that `load_language` gives, and callers prepare with
    /// what `make_preparer` makes for it.
    pub fn vision_language_shared<W, M, P>(
        info: ModelInfo,
        load_weights: impl Fn() -> Result<W, ModelError> + Send + Sync + 'static,
        make_worker: impl Fn(Arc<W>) -> Result<M, ModelError> + Send + Sync + 'static,
        load_language: impl Fn() -> Result<Language, ModelError> + Send + Sync + 'static,
        make_preparer: impl Fn(Arc<Language>) -> Result<P, ModelError> + Send + Sync + 'static,
    ) -> Self
    where
        W: Send + Sync + 'static,
        M: VisionLanguageCapable,
        P: VisionPreparer,
    {
        let language = Arc::new(Shared::new(load_language));
        let of_callers = Arc::clone(&language);
        Self::sharing(info, VisionSide::plain(), load_weights, move |weights| {
            let model = make_worker(weights)?;
            Ok(Box::new(VisionModel::language(
                model,
                language.get_blocking()?,
            )))
        })
        .preparer(move || make_preparer(of_callers.get_blocking()?))
    }

    /// Prepares pictures and queries on the caller's side with what `load` gives. It is loaded when it
    /// is first needed and kept while a request or a worker uses it.
    #[must_use]
    pub fn preparer<P: VisionPreparer>(
        mut self,
        load: impl Fn() -> Result<P, ModelError> + Send + Sync + 'static,
    ) -> Self {
        let preparer = Arc::new(Shared::new(move || Ok(Box::new(load()?) as AnyPreparer)));
        let (held, inner) = (Arc::clone(&preparer), self.loader);
        self.loader = Arc::new(move |context| {
            let (model, held) = held.get_beside(|| inner(context))?;
            Ok(Box::new(model.prepared_by(held)))
        });
        self.caller_side.preparer = preparer;
        self
    }

    /// Refuses pictures that exceed these limits. Default: [`ImageLimits::default`].
    #[must_use]
    pub fn image_limits(mut self, limits: ImageLimits) -> Self {
        self.caller_side.limits = limits;
        self
    }

    /// Refuses queries of more bytes than this. Default 1 MiB.
    #[must_use]
    pub fn max_query_bytes(mut self, bytes: usize) -> Self {
        self.caller_side.max_query_bytes = bytes;
        self
    }

    /// Refuses requests without a query. Default: they are the model's business.
    #[must_use]
    pub fn query_required(mut self, required: bool) -> Self {
        self.caller_side.query_required = required;
        self
    }
}
