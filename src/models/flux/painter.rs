//! The servable model: shared weights, threads and buffers of its own.

use std::fmt;
use std::sync::Arc;

use super::folder::FluxWeights;
use super::transformer::FluxInput;
use crate::images::RgbImage;
use crate::model::{CandleModel, ModelInfo};
use crate::models::{ModelError, TextEncoder};
use crate::pool::capabilities::text_to_image::{
    Conditioning, Denoise, DiffusionDescription, PromptTokens, TextToImageCapable,
};
use crate::pool::core::StepContext;

/// A FLUX pipeline that a worker serves. It shares its weights with other workers.
pub struct FluxPainter {
    info: ModelInfo,
    weights: Arc<FluxWeights>,
    t5: TextEncoder,
}

impl fmt::Debug for FluxPainter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FluxPainter")
            .field("info", &self.info)
            .field("weights", &self.weights)
            .finish_non_exhaustive()
    }
}

impl FluxPainter {
    /// A worker's painter over weights that others may use too.
    pub fn new(info: ModelInfo, weights: Arc<FluxWeights>) -> Self {
        Self {
            t5: TextEncoder::new(info.clone(), Arc::clone(&weights.t5)),
            info,
            weights,
        }
    }
}

impl CandleModel for FluxPainter {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl TextToImageCapable for FluxPainter {
    fn description(&self) -> &DiffusionDescription {
        self.weights.folder.description()
    }

    fn encode_prompt(
        &mut self,
        prompt: &PromptTokens,
        context: &StepContext,
    ) -> Result<Conditioning, ModelError> {
        let [clip, t5] = prompt.encoders.as_slice() else {
            let detail = format!("tokens of {} encoders, not of 2", prompt.encoders.len());
            return Err(ModelError::Tokenize { detail });
        };
        let Self {
            weights,
            t5: encoder,
            ..
        } = self;
        context.run(|| {
            let hidden = encoder.token_vectors(t5, context.team())?;
            Ok(Conditioning {
                tokens: t5.len(),
                width: hidden.len() / t5.len().max(1),
                hidden,
                pooled: weights.clip.encode(clip)?.pooled,
                extra: Vec::new(),
            })
        })
    }

    fn predict(
        &mut self,
        batch: &[Denoise<'_>],
        context: &StepContext,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let weights = &self.weights;
        // One after the other, so that each is the same in any company.
        context.run(|| {
            let predict = |entry: &Denoise<'_>| {
                let input = FluxInput {
                    latents: entry.latents,
                    height: entry.height,
                    width: entry.width,
                    // To the last bit as the reference, which divides by 1000 and multiplies again.
                    time: entry.timestep / 1000.0 * 1000.0,
                    guidance: entry.guidance,
                    text: &entry.conditioning.hidden,
                    pooled: &entry.conditioning.pooled,
                };
                Ok(weights.transformer.forward(input, &weights.device)?)
            };
            batch.iter().map(predict).collect()
        })
    }

    fn decode(
        &mut self,
        latents: &[f32],
        width: usize,
        height: usize,
        context: &StepContext,
    ) -> Result<RgbImage, ModelError> {
        let weights = &self.weights;
        context.run(|| weights.vae.decode(latents, width, height))
    }

    fn encode_picture(
        &mut self,
        picture: &RgbImage,
        noise: &[f32],
        context: &StepContext,
    ) -> Result<Vec<f32>, ModelError> {
        let weights = &self.weights;
        context.run(|| weights.vae.encode(picture, Some(noise)))
    }
}
