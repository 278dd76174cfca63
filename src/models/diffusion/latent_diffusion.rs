//! A pipeline as the pool serves it.

use std::sync::Arc;

use candle_core::Tensor;

use super::clip_text::{EncodedText, rows_of};
use super::unet::Told;
use super::weights::DiffusionWeights;
use crate::images::RgbImage;
use crate::model::{CandleModel, ModelInfo};
use crate::models::ModelError;
use crate::pool::capabilities::text_to_image::{
    Conditioning, Denoise, DiffusionDescription, PromptTokens, TextToImageCapable,
};
use crate::pool::core::StepContext;

/// Stable Diffusion 1 or 2, SDXL, or one of their distilled variants, on one worker.
///
/// Entries of a step are computed one after the other, each as if it were alone, so that a picture's
/// bytes depend neither on what else is painted nor on the number of threads.
#[derive(Debug)]
pub struct LatentDiffusion {
    info: ModelInfo,
    weights: Arc<DiffusionWeights>,
}

impl LatentDiffusion {
    /// A worker's model with the weights that all share.
    pub fn new(info: ModelInfo, weights: Arc<DiffusionWeights>) -> Self {
        Self { info, weights }
    }
}

impl CandleModel for LatentDiffusion {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl TextToImageCapable for LatentDiffusion {
    fn description(&self) -> &DiffusionDescription {
        &self.weights.description
    }

    fn encode_prompt(
        &mut self,
        prompt: &PromptTokens,
        context: &StepContext,
    ) -> Result<Conditioning, ModelError> {
        let weights = &self.weights;
        if prompt.encoders.len() != weights.encoders.len() {
            let (found, wanted) = (prompt.encoders.len(), weights.encoders.len());
            return Err(ModelError::Tokenize {
                detail: format!("tokens for {found} text encoders, the model has {wanted}"),
            });
        }
        context.run(|| {
            let encoders = weights.encoders.iter().zip(&prompt.encoders);
            let mut encoded: Vec<EncodedText> = encoders
                .map(|(encoder, ids)| encoder.encode(ids))
                .collect::<Result<_, _>>()?;
            let rows: Vec<&Tensor> = encoded
                .iter()
                .map(|text| match weights.is_xl {
                    true => &text.before_last,
                    false => &text.last,
                })
                .collect();
            let hidden = Tensor::cat(&rows, 1)?;
            let (tokens, width) = hidden.dims2()?;
            let hidden = rows_of(&hidden)?;
            let pooled = encoded.pop().filter(|_| weights.is_xl);
            let mut conditioning = Conditioning {
                hidden,
                tokens,
                width,
                pooled: pooled.map(|text| text.pooled).unwrap_or_default(),
                extra: Vec::new(),
            };
            if prompt.is_absent && weights.zeros_for_absent {
                conditioning.hidden.fill(0.0);
                conditioning.pooled.fill(0.0);
            }
            Ok(conditioning)
        })
    }

    fn predict(
        &mut self,
        batch: &[Denoise<'_>],
        context: &StepContext,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let weights = &self.weights;
        context.run(|| {
            let alone = batch.iter().map(|entry| weights.predict(entry));
            alone.collect()
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

impl DiffusionWeights {
    fn predict(&self, entry: &Denoise<'_>) -> Result<Vec<f32>, ModelError> {
        let channels = self.description.latent_channels;
        let shape = (1, channels, entry.height, entry.width);
        let latents = Tensor::from_slice(entry.latents, shape, &self.device)?;
        let Conditioning {
            hidden,
            tokens,
            width,
            pooled,
            ..
        } = entry.conditioning;
        let context = Tensor::from_slice(hidden, (*tokens, *width), &self.device)?;
        let side = self.description.pixels_per_latent;
        let [height, width] = [entry.height, entry.width].map(|side_| (side_ * side) as f32);
        let told = Told {
            timestep: entry.timestep,
            context: &context,
            pooled,
            // As made at this size, and cropped nowhere.
            sizes: &[height, width, 0.0, 0.0, height, width],
            guidance: entry.guidance,
        };
        let predicted = self.unet.forward(&latents, &told)?;
        rows_of(&predicted)
    }
}
