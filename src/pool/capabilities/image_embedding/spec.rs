//! How an image embedding model is brought to a pool.

use std::fmt;
use std::sync::Arc;

use super::caller_side::{AnyPreparer, Classes, PictureSide};
use super::{ImageEmbedding, ImageEmbeddingCapable, PicturePreparer};
use crate::images::ImageLimits;
use crate::model::{Loader, ModelInfo, ModelSpec};
use crate::models::ModelError;
use crate::pool::core::Shared;

/// A loaded model, together with what prepares its callers' pictures: that comes and goes with it.
pub struct ImageModel {
    pub(super) network: Box<dyn ImageEmbeddingCapable>,
    _preparer: Arc<AnyPreparer>,
}

impl fmt::Debug for ImageModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ImageModel")
            .field(&self.network.info().name)
            .finish()
    }
}

impl ModelSpec<ImageEmbedding> {
    /// An image embedding model that is loaded by `loader`, on the thread of each worker, and whose
    /// pictures are prepared by what `preparer` gives, on the caller's side. That is loaded when it
    /// is first needed, and kept while a request or a worker uses it.
    ///
    /// ```
    /// use modelpool::images::{ImageError, PixelTensor, RgbImage};
    /// use modelpool::{CandleModel, Embedding, ImageEmbeddingCapable, ModelError, ModelInfo};
    /// use modelpool::{ModelSpec, PicturePreparer, StepContext};
    ///
    /// /// The mean of each colour, and nothing else.
    /// struct Tint(ModelInfo);
    ///
    /// impl CandleModel for Tint {
    ///     fn info(&self) -> &ModelInfo {
    ///         &self.0
    ///     }
    /// }
    ///
    /// impl ImageEmbeddingCapable for Tint {
    ///     fn embed_pictures(
    ///         &mut self,
    ///         pictures: &[&PixelTensor],
    ///         _context: &StepContext,
    ///     ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
    ///         let tint = |picture: &&PixelTensor| {
    ///             let planes = picture.values().chunks(picture.values().len() / 3);
    ///             Ok(planes.map(|plane| plane.iter().sum::<f32>() / plane.len() as f32).collect())
    ///         };
    ///         Ok(pictures.iter().map(tint).collect())
    ///     }
    /// }
    ///
    /// struct AsItIs;
    ///
    /// impl PicturePreparer for AsItIs {
    ///     fn picture(&self, picture: &RgbImage) -> Result<PixelTensor, ImageError> {
    ///         Ok(PixelTensor::from_picture(picture))
    ///     }
    /// }
    ///
    /// let info = ModelInfo::new("tint", 1);
    /// let loader = { let info = info.clone(); move || Ok(Tint(info.clone())) };
    /// let spec = ModelSpec::image_embedding(info, loader, || Ok(AsItIs));
    /// # drop(spec);
    /// ```
    pub fn image_embedding<M: ImageEmbeddingCapable, P: PicturePreparer>(
        info: ModelInfo,
        loader: impl Fn() -> Result<M, ModelError> + Send + Sync + 'static,
        preparer: impl Fn() -> Result<P, ModelError> + Send + Sync + 'static,
    ) -> Self {
        let preparer = Arc::new(Shared::new(
            move || Ok(Box::new(preparer()?) as AnyPreparer),
        ));
        let held = Arc::clone(&preparer);
        let loader: Loader<ImageEmbedding> = Arc::new(move || {
            let (network, _preparer) = held.get_beside(&loader)?;
            let network = Box::new(network);
            Ok(Box::new(ImageModel { network, _preparer }))
        });
        Self::with_caller_side(info, PictureSide::new(preparer), loader)
    }

    /// The same for a model whose workers share their weights: the first worker loads them with
    /// `load_weights`, and `make_worker` makes each worker's model over them. See
    /// [`sharing`](Self::sharing).
    pub fn image_embedding_shared<W, M, P>(
        info: ModelInfo,
        load_weights: impl Fn() -> Result<W, ModelError> + Send + Sync + 'static,
        make_worker: impl Fn(Arc<W>) -> Result<M, ModelError> + Send + Sync + 'static,
        preparer: impl Fn() -> Result<P, ModelError> + Send + Sync + 'static,
    ) -> Self
    where
        W: Send + Sync + 'static,
        M: ImageEmbeddingCapable,
        P: PicturePreparer,
    {
        let weights = Shared::new(load_weights);
        let loader = move || make_worker(weights.get_blocking()?);
        Self::image_embedding(info, loader, preparer)
    }

    /// What is believed of pictures. Default: [`ImageLimits::default`].
    #[must_use]
    pub fn image_limits(mut self, limits: ImageLimits) -> Self {
        self.caller_side.limits = limits;
        self
    }

    /// Says that the model knows classes, which have no names.
    #[must_use]
    pub fn classes(mut self) -> Self {
        self.caller_side.classes = Classes::Unnamed;
        self
    }

    /// Says that the model knows classes, and how they are called, in the model's order.
    #[must_use]
    pub fn class_names<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.caller_side.classes = Classes::Named(names.into_iter().map(Into::into).collect());
        self
    }
}
