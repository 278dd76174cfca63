//! What a vision model is asked, ready for it.

use serde::{Deserialize, Serialize};

use crate::images::{PixelTensor, RgbImage};
use crate::models::ModelError;
use crate::pool::capabilities::text_to_text::GenerationParams;

/// A picture and a query, made ready for the model on the caller's side.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VisionInput {
    /// The query, as the caller gave it. Empty where the model needs none, or `prompt` is all that it
    /// reads.
    pub query: String,
    /// For models that go on from tokens: the prompt's, with marks where rows of the pictures stand.
    /// Otherwise empty.
    pub prompt: Vec<u32>,
    /// For models that read the query beside the picture before they go on from the prompt: the query's
    /// tokens. Otherwise empty.
    pub question: Vec<u32>,
    /// Width and height of the picture as the caller sees it, which places in the answer refer to.
    pub size: [u32; 2],
    /// The pixels as the model takes them: the picture, or its parts.
    pub pictures: Vec<PixelTensor>,
    /// The picture itself, for models that go back to it.
    pub picture: Option<RgbImage>,
}

/// What is asked of a worker.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct VisionRequest {
    /// What is looked at.
    pub input: VisionInput,
    /// How an answer goes on; models that read do not use it.
    pub params: GenerationParams,
}

/// Makes a picture and a query ready for the model on the caller's side, so that worker threads only
/// run the model. Called away from the async threads.
pub trait VisionPreparer: Send + Sync + 'static {
    /// Prepares one request.
    ///
    /// # Errors
    /// [`ModelError::Image`] for a picture that the model cannot take, and what else is wrong with the
    /// request.
    fn prepare(
        &self,
        picture: RgbImage,
        query: String,
        params: &GenerationParams,
    ) -> Result<VisionInput, ModelError>;
}

/// For models that take the picture itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PlainPicture;

impl VisionPreparer for PlainPicture {
    fn prepare(
        &self,
        picture: RgbImage,
        query: String,
        _params: &GenerationParams,
    ) -> Result<VisionInput, ModelError> {
        Ok(VisionInput {
            query,
            size: [picture.width(), picture.height()],
            picture: Some(picture),
            ..VisionInput::default()
        })
    }
}
