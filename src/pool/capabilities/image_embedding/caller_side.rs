//! What image embedding does before a worker sees the picture.

use std::fmt;
use std::sync::Arc;

use super::ImageEmbedding;
use super::input::{Asked, ImageEmbeddingInput, PicturePreparer, Wanted};
use crate::images::{ImageLimits, ImageSource, RgbImage};
use crate::models::ModelError;
use crate::pool::capabilities::refusal::{failed, invalid};
use crate::pool::core::{Admission, PoolError, Shared, offload};

/// What a text may measure.
const MAX_TEXT_BYTES: usize = 4 * 1024 * 1024;

/// A preparer of whatever kind.
pub(super) type AnyPreparer = Box<dyn PicturePreparer>;

/// Which classes a model knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Classes {
    None,
    Unnamed,
    Named(Arc<[String]>),
}

/// The caller's side of an image embedding model: what it makes of pictures and texts, and what it
/// refuses.
pub struct PictureSide {
    pub(super) preparer: Arc<Shared<AnyPreparer>>,
    pub(super) limits: ImageLimits,
    pub(super) classes: Classes,
}

impl fmt::Debug for PictureSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PictureSide")
            .field("limits", &self.limits)
            .field("classes", &self.classes)
            .finish_non_exhaustive()
    }
}

impl PictureSide {
    pub(super) fn new(preparer: Arc<Shared<AnyPreparer>>) -> Self {
        Self {
            preparer,
            limits: ImageLimits::default(),
            classes: Classes::None,
        }
    }

    pub(super) fn limits(&self) -> &ImageLimits {
        &self.limits
    }

    /// Refuses a text that can never be embedded.
    pub(super) fn check_text(&self, text: &str) -> Result<(), PoolError> {
        if text.is_empty() {
            return Err(invalid("text", "is empty"));
        }
        if text.len() > MAX_TEXT_BYTES {
            return Err(PoolError::InputTooLarge {
                bytes: text.len(),
                limit: MAX_TEXT_BYTES,
            });
        }
        Ok(())
    }

    /// Refuses to name classes that there are not.
    pub(super) fn check_classes(&self, model: &str, count: usize) -> Result<(), PoolError> {
        if self.classes == Classes::None {
            let source = ModelError::NotOffered { what: "classes" };
            return Err(failed(model, source));
        }
        if count == 0 {
            return Err(invalid("count", "is 0"));
        }
        Ok(())
    }

    /// The name of a class.
    pub(super) fn class_name(&self, index: usize) -> Option<String> {
        match &self.classes {
            Classes::Named(names) => names.get(index).cloned(),
            Classes::None | Classes::Unnamed => None,
        }
    }

    /// A grey point, prepared on this thread.
    pub(super) fn probe(&self) -> Result<ImageEmbeddingInput, ModelError> {
        let grey = RgbImage::new(1, 1, vec![128; 3])?;
        let pixels = self.preparer.get_blocking()?.picture(&grey)?;
        Ok(of_picture(pixels, Wanted::Vector))
    }

    /// Fetches, decodes and prepares a picture, away from the async threads.
    pub(super) async fn prepare_picture(
        &self,
        admission: &Admission<ImageEmbedding>,
        picture: ImageSource,
        wanted: Wanted,
    ) -> Result<ImageEmbeddingInput, PoolError> {
        let limits = self.limits.clone();
        // The picture first: for a bad one nothing is loaded.
        let picture = offload(move || picture.load(&limits)).await??;
        let preparer = admission.load(&self.preparer).await?;
        let pixels = offload(move || preparer.picture(&picture)).await??;
        Ok(of_picture(pixels, wanted))
    }

    pub(super) async fn prepare_text(
        &self,
        admission: &Admission<ImageEmbedding>,
        text: String,
    ) -> Result<ImageEmbeddingInput, PoolError> {
        let preparer = admission.load(&self.preparer).await?;
        let tokens = offload(move || preparer.text(&text)).await?;
        let tokens = tokens.map_err(|source| failed(&admission.info().name, source))?;
        Ok(ImageEmbeddingInput(Asked::Text { tokens }))
    }
}

fn of_picture(pixels: crate::images::PixelTensor, wanted: Wanted) -> ImageEmbeddingInput {
    ImageEmbeddingInput(Asked::Picture { pixels, wanted })
}
