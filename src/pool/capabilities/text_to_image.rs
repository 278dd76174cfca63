//! Text to image: pictures from noise, by a prompt.

mod caller_side;
mod denoise;
mod description;
mod engine;
mod model;
mod params;
mod picture;
mod prepared;
mod preview;
mod request;
mod running;
mod spec;
mod stream;

pub use caller_side::PaintingSide;
pub use description::{DiffusionDescription, GuidanceKind, LatentPreview};
pub use engine::TextToImageEngine;
pub use model::{Conditioning, Denoise, PromptPreparer, PromptTokens, TextToImageCapable};
pub use params::ImageParams;
pub use request::{ImageChunk, Painting, PaintingRequest, PaintingTimings};
pub use stream::ImageStream;

use crate::models::ModelError;
use crate::pool::core::{Capability, ModelHandle, PoolError};

/// The capability of models that paint.
#[derive(Debug, Clone, Copy)]
pub struct TextToImage;

impl Capability for TextToImage {
    const NAME: &'static str = "text_to_image";
    type Model = dyn TextToImageCapable;
    type Request = PaintingRequest;
    type Item = ImageChunk;
    type CallerSide = PaintingSide;
    type Engine = TextToImageEngine;

    fn probe_request(side: &PaintingSide) -> Result<Option<PaintingRequest>, ModelError> {
        side.probe().map(Some)
    }

    fn engine(model: Box<dyn TextToImageCapable>) -> TextToImageEngine {
        TextToImageEngine::new(model)
    }
}

impl ModelHandle<TextToImage> {
    /// Paints what the prompt says, which may be nothing.
    ///
    /// All of the request's pictures must come within its deadline. That is the pool's
    /// `default_deadline` unless the handle has another, which large models on slow machines need:
    /// [`with`](ModelHandle::with).
    ///
    /// ```no_run
    /// # async fn demo(painter: modelpool::ModelHandle<modelpool::TextToImage>)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// use modelpool::{ImageChunk, ImageParams};
    ///
    /// let params = ImageParams::default().steps(20).seed(7);
    /// let mut chunks = painter.generate_image("a lighthouse at dusk", params).await?;
    /// while let Some(chunk) = chunks.next().await {
    ///     match chunk? {
    ///         ImageChunk::Step { step, of, .. } => println!("{step} of {of}"),
    ///         ImageChunk::Image(painting) => std::fs::write("lighthouse.png", painting.png)?,
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`PoolError::InvalidRequest`] that names what of the parameters makes no sense or is beyond the
    /// model, [`PoolError::InputTooLarge`] for a prompt above the model's `max_input_bytes`,
    /// [`PoolError::Image`] for a picture to begin from that cannot be had, and whatever a request can
    /// end with.
    pub async fn generate_image(
        &self,
        prompt: impl Into<String>,
        params: ImageParams,
    ) -> Result<ImageStream, PoolError> {
        let prompt = prompt.into();
        self.caller_side().check(&prompt, &params)?;
        let admission = self.admit()?;
        let side = admission.caller_side();
        let request = side.prepare(&admission, prompt, params);
        let request = admission.prepare(request).await?;
        let images = request.images;
        Ok(ImageStream::new(admission.stream(request), images))
    }
}
