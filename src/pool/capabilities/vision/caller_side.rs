//! What vision does before a worker sees the picture.

use std::fmt;
use std::sync::Arc;

use super::Vision;
use super::input::{PlainPicture, VisionPreparer, VisionRequest};
use crate::images::{ImageLimits, ImageSource, RgbImage};
use crate::models::ModelError;
use crate::pool::capabilities::text_to_text::GenerationParams;
use crate::pool::core::{Admission, PoolError, Shared, offload};

/// What a query may measure unless the model says otherwise.
const DEFAULT_MAX_QUERY_BYTES: usize = 1024 * 1024;

/// The sides of the picture that a model is probed with.
const PROBE_SIDE: u32 = 32;

/// A preparer of whatever kind.
pub(crate) type AnyPreparer = Box<dyn VisionPreparer>;

/// The caller's side of a vision model: its preprocessor, and what it refuses.
pub struct VisionSide {
    pub(super) preparer: Arc<Shared<AnyPreparer>>,
    pub(super) limits: ImageLimits,
    pub(super) max_query_bytes: usize,
    pub(super) query_required: bool,
}

impl fmt::Debug for VisionSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VisionSide")
            .field("limits", &self.limits)
            .field("max_query_bytes", &self.max_query_bytes)
            .field("query_required", &self.query_required)
            .finish_non_exhaustive()
    }
}

impl VisionSide {
    /// Gives the model the pictures themselves.
    pub(super) fn plain() -> Self {
        Self {
            preparer: Arc::new(Shared::new(|| Ok(Box::new(PlainPicture) as AnyPreparer))),
            limits: ImageLimits::default(),
            max_query_bytes: DEFAULT_MAX_QUERY_BYTES,
            query_required: false,
        }
    }

    /// Refuses what can be told at once to be impossible.
    pub(super) fn check(&self, source: &ImageSource, query: &str) -> Result<(), PoolError> {
        if query.len() > self.max_query_bytes {
            return Err(PoolError::InputTooLarge {
                bytes: query.len(),
                limit: self.max_query_bytes,
            });
        }
        if self.query_required && query.is_empty() {
            return Err(PoolError::InvalidRequest {
                field: "query",
                reason: "is empty, and the model needs one".to_owned(),
            });
        }
        Ok(source.check(&self.limits)?)
    }

    /// Fetches, decodes and prepares a picture. Nothing of the model is loaded before it is there.
    pub(super) async fn prepare(
        &self,
        admission: &Admission<Vision>,
        source: ImageSource,
        query: String,
        params: GenerationParams,
    ) -> Result<VisionRequest, PoolError> {
        let limits = self.limits.clone();
        let picture = offload(move || source.load(&limits)).await??;
        let preparer = admission.load(&self.preparer).await?;
        let prepare = move || {
            let input = preparer.prepare(picture, query, &params)?;
            Ok(VisionRequest { input, params })
        };
        offload(prepare).await?.map_err(|source| PoolError::Model {
            model: admission.info().name.clone(),
            source,
        })
    }

    /// A small grey picture, prepared on this thread.
    pub(super) fn probe(&self) -> Result<VisionRequest, ModelError> {
        let pixels = vec![127; (3 * PROBE_SIDE * PROBE_SIDE) as usize];
        let picture = RgbImage::new(PROBE_SIDE, PROBE_SIDE, pixels)?;
        let params = GenerationParams::default().max_tokens(1);
        let preparer = self.preparer.get_blocking()?;
        let input = preparer.prepare(picture, "What is this?".to_owned(), &params)?;
        Ok(VisionRequest { input, params })
    }
}
