//! Image embedding: one vector for a picture, and what classes it is of.

mod caller_side;
mod engine;
mod input;
mod many;
mod spec;

pub use caller_side::PictureSide;
pub use engine::ImageEmbeddingEngine;
pub use input::{ImageAnswer, ImageClass, ImageEmbeddingInput, PicturePreparer};
pub use spec::ImageModel;

use crate::images::{ImageSource, PixelTensor};
use crate::model::CandleModel;
use crate::models::ModelError;
use crate::pool::capabilities::text_embedding::Embedding;
use crate::pool::core::{Capability, ModelHandle, PoolError, StepContext};
use input::Wanted;

/// The capability of models that turn a picture into a vector.
#[derive(Debug, Clone, Copy)]
pub struct ImageEmbedding;

impl Capability for ImageEmbedding {
    const NAME: &'static str = "image_embedding";
    type Model = ImageModel;
    type Request = ImageEmbeddingInput;
    type Item = ImageAnswer;
    type CallerSide = PictureSide;
    type Engine = ImageEmbeddingEngine;

    fn probe_request(side: &PictureSide) -> Result<Option<ImageEmbeddingInput>, ModelError> {
        side.probe().map(Some)
    }

    fn engine(model: Box<ImageModel>) -> ImageEmbeddingEngine {
        ImageEmbeddingEngine::new(*model)
    }
}

/// A model that embeds pictures, and perhaps texts in the same space, and perhaps knows classes.
///
/// Every answer has one entry for each input, in order; an input that cannot be served gets an error
/// of its own. An error for the step as a whole counts as a failure of the worker, which is then
/// restarted.
pub trait ImageEmbeddingCapable: CandleModel {
    /// How many pictures one step should take. Texts count for as many pictures as they have tokens,
    /// divided by [`tokens_of_a_picture`](Self::tokens_of_a_picture).
    fn max_step_pictures(&self) -> usize {
        8
    }

    /// How many tokens of a text take as long as a picture.
    fn tokens_of_a_picture(&self) -> usize {
        64
    }

    /// Embeds the pictures of one step, each as the model's preparer made it.
    ///
    /// # Errors
    /// See the trait.
    fn embed_pictures(
        &mut self,
        pictures: &[&PixelTensor],
        context: &StepContext,
    ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError>;

    /// The probability of each class for the pictures of one step. Asked only of a model whose
    /// spec [says](crate::ModelSpec::classes) that it has classes.
    ///
    /// # Errors
    /// See the trait.
    fn classify_pictures(
        &mut self,
        pictures: &[&PixelTensor],
        context: &StepContext,
    ) -> Result<Vec<Result<Vec<f32>, ModelError>>, ModelError> {
        let _ = context;
        let none = || Err(ModelError::NotOffered { what: "classes" });
        Ok(pictures.iter().map(|_| none()).collect())
    }

    /// Embeds the texts of one step, given as tokens, in the pictures' space. Asked only for texts
    /// that the model's preparer has made into tokens.
    ///
    /// # Errors
    /// See the trait.
    fn embed_texts(
        &mut self,
        texts: &[&[u32]],
        context: &StepContext,
    ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
        let _ = context;
        let none = || Err(ModelError::NotOffered { what: "texts" });
        Ok(texts.iter().map(|_| none()).collect())
    }
}

impl ModelHandle<ImageEmbedding> {
    /// Embeds one picture.
    ///
    /// # Errors
    /// [`PoolError::Image`] for a picture that cannot be had, is damaged, or exceeds the model's
    /// [limits](crate::ModelSpec::image_limits), and whatever a request can end with.
    pub async fn embed_image(&self, picture: ImageSource) -> Result<Embedding, PoolError> {
        let answer = self.ask_of_picture(picture, Wanted::Vector).await?;
        answer.into_vector()
    }

    /// Embeds many pictures, in order, spread over the model's workers. They wait in the batch lane
    /// unless the handle's options name another. The first error ends the batch.
    ///
    /// # Errors
    /// [`PoolError::InvalidRequest`] for an empty batch; else as [`embed_image`](Self::embed_image).
    pub async fn embed_image_batch(
        &self,
        pictures: impl IntoIterator<Item = ImageSource>,
    ) -> Result<Vec<Embedding>, PoolError> {
        let pictures: Vec<ImageSource> = pictures.into_iter().collect();
        let limits = self.caller_side().limits().clone();
        for picture in &pictures {
            picture.check(&limits)?;
        }
        let ask = async |handle: Self, picture| handle.embed_image_patiently(picture).await;
        self.ask_many(pictures, ask).await
    }

    /// Embeds a text in the space of the pictures, for models that have texts, such as CLIP and
    /// SigLIP: a picture's vector is nearest to that of the text which describes it.
    ///
    /// # Errors
    /// [`PoolError::Model`] with [`ModelError::NotOffered`] for a model without texts,
    /// [`PoolError::InvalidRequest`] for an empty text, [`PoolError::InputTooLarge`] for one above
    /// 4 MiB, and whatever a request can end with.
    pub async fn embed_text(&self, text: impl Into<String>) -> Result<Embedding, PoolError> {
        let text = text.into();
        self.caller_side().check_text(&text)?;
        let admission = self.admit()?;
        let side = admission.caller_side();
        let input = side.prepare_text(&admission, text);
        let input = admission.prepare(input).await?;
        admission.ask(input).await?.into_vector()
    }

    /// Embeds many texts, as [`embed_text`](Self::embed_text), in order.
    ///
    /// # Errors
    /// [`PoolError::InvalidRequest`] for an empty batch; else as [`embed_text`](Self::embed_text).
    pub async fn embed_text_batch<T: Into<String>>(
        &self,
        texts: impl IntoIterator<Item = T>,
    ) -> Result<Vec<Embedding>, PoolError> {
        let texts: Vec<String> = texts.into_iter().map(Into::into).collect();
        let side = self.caller_side();
        texts.iter().try_for_each(|text| side.check_text(text))?;
        let ask = async |handle: Self, text| handle.embed_text_patiently(text).await;
        self.ask_many(texts, ask).await
    }

    /// The likeliest `count` classes of a picture, the likeliest first.
    ///
    /// # Errors
    /// [`PoolError::Model`] with [`ModelError::NotOffered`] for a model without classes,
    /// [`PoolError::InvalidRequest`] for a `count` of 0; else as [`embed_image`](Self::embed_image).
    pub async fn classify_image(
        &self,
        picture: ImageSource,
        count: usize,
    ) -> Result<Vec<ImageClass>, PoolError> {
        let side = self.caller_side();
        side.check_classes(&self.info().name, count)?;
        let wanted = Wanted::Classes(count);
        let answer = self.ask_of_picture(picture, wanted).await?;
        answer.into_classes()
    }
}
