//! What the engine asks of a text-to-image model, and what it gives it.

use serde::{Deserialize, Serialize};

use super::description::DiffusionDescription;
use crate::images::RgbImage;
use crate::model::CandleModel;
use crate::models::ModelError;
use crate::pool::core::StepContext;

/// A prompt made ready on the caller's side: its token ids for each of the model's text encoders.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct PromptTokens {
    /// For each text encoder, in the model's own order, the token ids: special tokens and padding
    /// included, truncated to what the encoder takes.
    pub encoders: Vec<Vec<u32>>,
    /// The caller has given no such prompt, and these are the tokens of the empty text. Only negative
    /// prompts are ever absent; models that take zeros for one look here.
    pub is_absent: bool,
}

/// What a model makes of a prompt, for all of its steps: plain data.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Conditioning {
    /// The text encoders' hidden rows, one after another: shape `[tokens, width]`.
    pub hidden: Vec<f32>,
    /// How many rows there are.
    pub tokens: usize,
    /// The length of a row.
    pub width: usize,
    /// The pooled vector; empty where the model has none.
    pub pooled: Vec<f32>,
    /// Whatever else the model gives itself.
    pub extra: Vec<f32>,
}

/// One entry of a step: latents, from which noise is to be taken.
#[derive(Debug, Clone, Copy)]
pub struct Denoise<'a> {
    /// The latents, scaled as the scheduler has it: shape `[channels, height, width]`.
    pub latents: &'a [f32],
    /// Latents in a row. The picture is `pixels_per_latent` times as wide.
    pub width: usize,
    /// Rows of latents.
    pub height: usize,
    /// The timestep as diffusers' pipelines have it: from 0 to less than the schedule's
    /// `train_timesteps`, not always whole; of a flow, sigma times `train_timesteps`.
    pub timestep: f32,
    /// The prompt, as [`encode_prompt`](TextToImageCapable::encode_prompt) has given it, or the
    /// negative one.
    pub conditioning: &'a Conditioning,
    /// The guidance, for models that [embed](super::GuidanceKind::Embedded) it; otherwise `None`.
    pub guidance: Option<f32>,
}

/// A model that paints: text encoders, a network that predicts noise, and a decoder of latents.
///
/// The engine does the rest: schedulers, noise, guidance, and who is served in which step. Every method
/// is called on the worker's thread. What it gives for a picture must not depend on which other
/// pictures are in the call: the same seed is to give the same bytes in any company.
///
/// An error of [`encode_prompt`](Self::encode_prompt), [`encode_picture`](Self::encode_picture) or
/// [`decode`](Self::decode) ends the one request. An error of [`predict`](Self::predict) counts as a
/// failure of the worker, which is then restarted.
pub trait TextToImageCapable: CandleModel {
    /// What the model is like: the same as its [`ModelSpec`](crate::ModelSpec) was made with.
    fn description(&self) -> &DiffusionDescription;

    /// Runs the text encoders on one prompt, or negative prompt.
    ///
    /// # Errors
    /// What keeps this prompt from being encoded, such as a token outside the vocabulary.
    fn encode_prompt(
        &mut self,
        prompt: &PromptTokens,
        context: &StepContext,
    ) -> Result<Conditioning, ModelError>;

    /// Predicts, for each entry, what the [schedule](crate::diffusion::NoiseSchedule::prediction) says,
    /// in the shape of its latents. There are 1 to `max_batch` entries, all of the same width, height
    /// and number of the conditioning's tokens; timesteps may differ.
    ///
    /// # Errors
    /// An error counts as a failure of the worker. (NaNs are the one request's fault, and found by the
    /// engine.)
    fn predict(
        &mut self,
        batch: &[Denoise<'_>],
        context: &StepContext,
    ) -> Result<Vec<Vec<f32>>, ModelError>;

    /// Makes a picture of latents of shape `[channels, height, width]`. What latents are multiplied by
    /// and shifted with is the model's own affair.
    ///
    /// # Errors
    /// What keeps these latents from being decoded; [`ModelError::NotFiniteOutput`] for NaNs.
    fn decode(
        &mut self,
        latents: &[f32],
        width: usize,
        height: usize,
        context: &StepContext,
    ) -> Result<RgbImage, ModelError>;

    /// Makes latents of a picture, to paint on from there: shape `[channels, height, width]`. The
    /// picture's sides are multiples of `size_multiple`. `noise` is standard normal, of the latents'
    /// length, for encoders whose latents are drawn.
    ///
    /// # Errors
    /// What keeps this picture from being encoded, such as weights without an encoder.
    fn encode_picture(
        &mut self,
        picture: &RgbImage,
        noise: &[f32],
        context: &StepContext,
    ) -> Result<Vec<f32>, ModelError>;

    /// There is nothing in hand now: a model that loads its parts when they are needed may release
    /// them. Called after the last request was finished or removed, before the worker waits.
    fn finished(&mut self) {}
}

/// Makes tokens of prompts on the caller's side, so that worker threads only run the model.
pub trait PromptPreparer: Send + Sync + 'static {
    /// The tokens of a text, for each of the model's text encoders. The text may be empty.
    ///
    /// # Errors
    /// [`ModelError::Tokenize`] or [`ModelError::Language`] for a text that cannot be tokenised.
    fn prepare(&self, prompt: &str) -> Result<PromptTokens, ModelError>;
}
