//! Vision: what is to be seen, or read, in a picture.

mod caller_side;
mod chunk;
mod engine;
mod input;
mod language;
mod model;
mod reader;
mod spec;
mod stream;

pub use caller_side::VisionSide;
pub use chunk::{Description, Reading, ReadingSummary, ReadingTimings, TextLine, VisionChunk};
pub use engine::VisionEngine;
pub use input::{VisionInput, VisionPreparer, VisionRequest};
pub use language::VisionLanguageCapable;
pub use model::{Progress, VisionCapable, VisionModel};
pub use stream::VisionStream;

use crate::images::ImageSource;
use crate::models::ModelError;
use crate::pool::capabilities::text_to_text::{GenerationParams, beginnings};
use crate::pool::core::{Capability, ModelHandle, PoolError};

/// The capability of models that tell what is in a picture.
#[derive(Debug, Clone, Copy)]
pub struct Vision;

impl Capability for Vision {
    const NAME: &'static str = "vision";
    type Model = VisionModel;
    type Request = VisionRequest;
    type Item = VisionChunk;
    type CallerSide = VisionSide;
    type Engine = VisionEngine;

    fn probe_request(side: &VisionSide) -> Result<Option<VisionRequest>, ModelError> {
        side.probe().map(Some)
    }

    fn beginnings(request: &VisionRequest) -> Vec<u64> {
        beginnings(&request.input.prompt)
    }

    fn engine(model: Box<VisionModel>) -> VisionEngine {
        VisionEngine::new(*model)
    }
}

impl ModelHandle<Vision> {
    /// Tells what is in a picture: answers the query about it, or reads the text in it, as the model
    /// does. The picture is fetched, decoded and made ready before a worker sees it, all within the
    /// deadline.
    ///
    /// Models that read need no query and no parameters: `""` and the default will do.
    ///
    /// # Errors
    /// [`PoolError::Image`] for a picture that cannot be had or exceeds the model's
    /// [limits](crate::ModelSpec::image_limits), [`PoolError::InvalidRequest`] for a query that the model
    /// needs and parameters that make no sense, [`PoolError::InputTooLarge`] for a query above the
    /// model's `max_query_bytes`, and whatever a request can end with.
    pub async fn describe_image(
        &self,
        source: ImageSource,
        query: impl Into<String>,
        params: GenerationParams,
    ) -> Result<VisionStream, PoolError> {
        let query = query.into();
        params.validate()?;
        self.caller_side().check(&source, &query)?;
        let admission = self.admit()?;
        let side = admission.caller_side();
        let request = side.prepare(&admission, source, query, params);
        let request = admission.prepare(request).await?;
        Ok(VisionStream::start(admission, request))
    }

    /// As [`describe_image`](Self::describe_image) for a picture at an http or https address.
    ///
    /// # Errors
    /// As [`describe_image`](Self::describe_image).
    pub async fn describe_url(
        &self,
        url: impl Into<String>,
        query: impl Into<String>,
        params: GenerationParams,
    ) -> Result<VisionStream, PoolError> {
        self.describe_image(ImageSource::url(url), query, params)
            .await
    }
}
