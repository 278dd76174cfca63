//! A model that paints, as small as can be: it daubs, but what it daubs depends on all that it is given.

use std::fmt;

use crate::diffusion::NoiseSchedule;
use crate::images::RgbImage;
use crate::model::{CandleModel, ModelInfo};
use crate::models::ModelError;
use crate::pool::capabilities::text_to_image::{
    Conditioning, Denoise, DiffusionDescription, LatentPreview, PromptTokens, TextToImageCapable,
};
use crate::pool::core::StepContext;

const SCHEDULE: &str = r#"{"_class_name": "EulerDiscreteScheduler", "beta_schedule": "scaled_linear",
    "beta_start": 0.00085, "beta_end": 0.012, "timestep_spacing": "leading", "steps_offset": 1}"#;

const CHANNELS: usize = 2;
const PIXELS: usize = 8;

/// A prompt has one row of conditioning more for each so many bytes.
const ROW_BYTES: usize = 100;

/// A model whose prediction is a part of the latents and a hash of the prompt, the timestep, the
/// guidance, the place and the size. A wrong prompt, a wrong step or a mixed-up entry changes the picture.
///
/// Its tokens are the bytes of the prompt.
pub struct Dauber {
    info: ModelInfo,
    description: DiffusionDescription,
}

impl fmt::Debug for Dauber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dauber")
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}

impl Dauber {
    /// Pictures of 32 by 32 pixels unless the caller wants others, of sides that are multiples of 16 up
    /// to 128, in four steps by Euler's method; up to four entries a call.
    ///
    /// # Errors
    /// None that is known.
    pub fn description() -> Result<DiffusionDescription, ModelError> {
        let mut description =
            DiffusionDescription::new(CHANNELS, NoiseSchedule::from_json(SCHEDULE)?);
        description.pixels_per_latent = PIXELS;
        description.size_multiple = 16;
        description.default_size = [32, 32];
        description.max_side = 128;
        description.max_pixels = 128 * 64;
        description.default_steps = 4;
        description.default_guidance = 1.0;
        description.max_batch = 4;
        description.preview = Some(LatentPreview {
            factors: vec![[0.5, 0.0, 0.2], [0.0, 0.5, 0.2]],
            bias: [0.0, 0.1, 0.2],
        });
        Ok(description)
    }

    /// A model. Of the description, the latents must be as those of [`description`](Self::description).
    pub fn new(info: ModelInfo, description: DiffusionDescription) -> Self {
        Self { info, description }
    }

    /// The prompt that a conditioning was made of.
    pub fn prompt_of(conditioning: &Conditioning) -> String {
        let bytes: Vec<u8> = conditioning.hidden.iter().map(|byte| *byte as u8).collect();
        let prompt = String::from_utf8_lossy(&bytes);
        prompt.trim_end_matches('\0').to_owned()
    }

    fn predict_one(denoise: &Denoise<'_>) -> Vec<f32> {
        let prompt = &denoise.conditioning.hidden;
        let seed = prompt
            .iter()
            .chain(&denoise.conditioning.pooled)
            .chain([&denoise.timestep, &denoise.guidance.unwrap_or(-1.0)])
            .chain([&(denoise.width as f32)])
            .fold(0x243F_6A88_85A3_08D3, |seed, value| {
                mix(seed, value.to_bits().into())
            });
        let places = (0u64..).zip(denoise.latents);
        places
            .map(|(place, latent)| {
                let hash = (mix(seed, place) >> 40) as f32 / (1 << 23) as f32 - 1.0;
                0.5 * latent + 0.5 * hash
            })
            .collect()
    }
}

fn mix(a: u64, b: u64) -> u64 {
    let mixed = (a ^ b.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ (mixed >> 29)
}

impl CandleModel for Dauber {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl TextToImageCapable for Dauber {
    fn description(&self) -> &DiffusionDescription {
        &self.description
    }

    fn encode_prompt(
        &mut self,
        prompt: &PromptTokens,
        _context: &StepContext,
    ) -> Result<Conditioning, ModelError> {
        let tokens = prompt.encoders.first().map(Vec::as_slice);
        let tokens = tokens.unwrap_or_default();
        if let Some(token) = tokens.iter().find(|token| **token > 255) {
            return Err(ModelError::Tokenize {
                detail: format!("token {token} is no byte"),
            });
        }
        let rows = 1 + tokens.len() / ROW_BYTES;
        let width = tokens.len().div_ceil(rows);
        let mut hidden: Vec<f32> = tokens.iter().map(|token| *token as f32).collect();
        hidden.resize(rows * width, 0.0);
        Ok(Conditioning {
            hidden,
            tokens: rows,
            width,
            pooled: vec![f32::from(u8::from(prompt.is_absent))],
            extra: Vec::new(),
        })
    }

    fn predict(
        &mut self,
        batch: &[Denoise<'_>],
        _context: &StepContext,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        Ok(batch.iter().map(Self::predict_one).collect())
    }

    fn decode(
        &mut self,
        latents: &[f32],
        width: usize,
        height: usize,
        _context: &StepContext,
    ) -> Result<RgbImage, ModelError> {
        let area = width * height;
        let mut pixels = Vec::new();
        for y in 0..height * PIXELS {
            for x in 0..width * PIXELS {
                let place = y / PIXELS * width + x / PIXELS;
                let (red, green) = (latents[place], latents[area + place]);
                let colour = [red, green, red - green];
                pixels.extend(colour.map(|value| (value * 40.0 + 128.0) as u8));
            }
        }
        let side = |latents: usize| (latents * PIXELS) as u32;
        Ok(RgbImage::new(side(width), side(height), pixels)?)
    }

    fn encode_picture(
        &mut self,
        picture: &RgbImage,
        noise: &[f32],
        _context: &StepContext,
    ) -> Result<Vec<f32>, ModelError> {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let [columns, rows] = [width / PIXELS, height / PIXELS];
        let mut latents = Vec::with_capacity(CHANNELS * columns * rows);
        for channel in 0..CHANNELS {
            for row in 0..rows {
                for column in 0..columns {
                    let pixel = row * PIXELS * width + column * PIXELS;
                    let byte = picture.pixels()[pixel * 3 + channel];
                    latents.push((f32::from(byte) - 128.0) / 40.0);
                }
            }
        }
        for (latent, noise) in latents.iter_mut().zip(noise) {
            *latent += 0.05 * noise;
        }
        Ok(latents)
    }
}
