//! A model together with the tokenizers that its callers use.

use std::sync::Arc;

use super::caller_side::AnyPreparer;
use super::description::DiffusionDescription;
use super::model::{Conditioning, Denoise, PromptTokens, TextToImageCapable};
use crate::images::RgbImage;
use crate::model::{CandleModel, ModelInfo};
use crate::models::ModelError;
use crate::pool::core::StepContext;

/// Keeps the callers' tokenizers loaded for as long as the model is.
pub(super) struct Prepared {
    model: Box<dyn TextToImageCapable>,
    _preparer: Arc<AnyPreparer>,
}

impl Prepared {
    pub(super) fn new(model: Box<dyn TextToImageCapable>, preparer: Arc<AnyPreparer>) -> Self {
        Self {
            model,
            _preparer: preparer,
        }
    }
}

impl CandleModel for Prepared {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }
}

impl TextToImageCapable for Prepared {
    fn description(&self) -> &DiffusionDescription {
        self.model.description()
    }

    fn encode_prompt(
        &mut self,
        prompt: &PromptTokens,
        context: &StepContext,
    ) -> Result<Conditioning, ModelError> {
        self.model.encode_prompt(prompt, context)
    }

    fn predict(
        &mut self,
        batch: &[Denoise<'_>],
        context: &StepContext,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        self.model.predict(batch, context)
    }

    fn decode(
        &mut self,
        latents: &[f32],
        width: usize,
        height: usize,
        context: &StepContext,
    ) -> Result<RgbImage, ModelError> {
        self.model.decode(latents, width, height, context)
    }

    fn encode_picture(
        &mut self,
        picture: &RgbImage,
        noise: &[f32],
        context: &StepContext,
    ) -> Result<Vec<f32>, ModelError> {
        self.model.encode_picture(picture, noise, context)
    }

    fn finished(&mut self) {
        self.model.finished();
    }
}
