//! How models that paint are brought to a pool.

use std::sync::Arc;
use std::time::Duration;

use super::TextToImage;
use super::caller_side::{AnyPreparer, PaintingSide};
use super::description::DiffusionDescription;
use super::model::{PromptPreparer, TextToImageCapable};
use super::prepared::Prepared;
use crate::images::ImageLimits;
use crate::model::{ModelInfo, ModelSpec};
use crate::models::ModelError;
use crate::pool::core::Shared;

/// How long a step may take unless somebody says otherwise.
const STEP_TIMEOUT: Duration = Duration::from_secs(600);

impl ModelSpec<TextToImage> {
    /// A model that paints, loaded by `loader` on the thread of each worker. `description` is what the
    /// loaded model says of itself, too: with it, callers are told at once what the model can't do. The
    /// model is given a prompt's bytes as the tokens of one text encoder, unless a
    /// [`preparer`](Self::preparer) makes other ones.
    ///
    /// A step of a large model takes minutes on a slow machine: it may take ten, whatever the pool's
    /// `step_timeout`, unless [`step_timeout`](Self::step_timeout) says otherwise.
    pub fn text_to_image<M: TextToImageCapable>(
        info: ModelInfo,
        description: DiffusionDescription,
        loader: impl Fn() -> Result<M, ModelError> + Send + Sync + 'static,
    ) -> Self {
        let loader = Arc::new(move || {
            let model: Box<dyn TextToImageCapable> = Box::new(loader()?);
            Ok(model)
        });
        let side = PaintingSide::new(description);
        Self::with_caller_side(info, side, loader).step_timeout(STEP_TIMEOUT)
    }

    /// The same for a model whose workers share their weights: `load_weights` runs when the first
    /// worker starts, the others are made from what it gave, and with the last worker it is freed.
    /// What of the estimate is weights is said with [`ModelInfo::from_bytes`].
    pub fn text_to_image_shared<W, M>(
        info: ModelInfo,
        description: DiffusionDescription,
        load_weights: impl Fn() -> Result<W, ModelError> + Send + Sync + 'static,
        make_worker: impl Fn(Arc<W>) -> Result<M, ModelError> + Send + Sync + 'static,
    ) -> Self
    where
        W: Send + Sync + 'static,
        M: TextToImageCapable,
    {
        let side = PaintingSide::new(description);
        Self::sharing(info, side, load_weights, move |weights| {
            let model: Box<dyn TextToImageCapable> = Box::new(make_worker(weights)?);
            Ok(model)
        })
        .step_timeout(STEP_TIMEOUT)
    }

    /// Makes tokens of prompts on the caller's side with what `load` gives. It is loaded when it is
    /// first needed and kept while a request or a worker uses it.
    #[must_use]
    pub fn preparer<P: PromptPreparer>(
        mut self,
        load: impl Fn() -> Result<P, ModelError> + Send + Sync + 'static,
    ) -> Self {
        let preparer = Arc::new(Shared::new(move || Ok(Box::new(load()?) as AnyPreparer)));
        let (held, inner) = (Arc::clone(&preparer), self.loader);
        self.loader = Arc::new(move |context| {
            let (model, held) = held.get_beside(|| inner(context))?;
            Ok(Box::new(Prepared::new(model, held)))
        });
        self.caller_side.preparer = Some(preparer);
        self
    }

    /// Refuses prompts of more bytes than this. Default 64 KiB. Whatever is let through is truncated
    /// to what the model takes.
    #[must_use]
    pub fn max_input_bytes(mut self, bytes: usize) -> Self {
        self.caller_side.max_input_bytes = bytes;
        self
    }

    /// What pictures to begin from may cost, and where they may come from.
    #[must_use]
    pub fn image_limits(mut self, limits: ImageLimits) -> Self {
        self.caller_side.limits = limits;
        self
    }

    /// What the model is like.
    pub fn description(&self) -> &DiffusionDescription {
        &self.caller_side.description
    }
}
