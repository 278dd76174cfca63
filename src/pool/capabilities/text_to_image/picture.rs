//! A picture in work.

use std::time::Duration;

use super::description::DiffusionDescription;
use super::request::PaintingRequest;
use crate::diffusion::{NoiseSource, NormalNoise, Purpose, Scheduler};
use crate::models::ModelError;

/// How far a picture is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The picture to begin from is to be encoded.
    Encode,
    /// Noise is to be taken from it.
    Denoise,
    /// It is to be decoded.
    Decode,
}

/// A picture in work: its latents, and what walks them.
#[derive(Debug)]
pub(super) struct Picture {
    /// Which of the request's pictures it is.
    pub(super) image: usize,
    pub(super) seed: u64,
    pub(super) scheduler: Scheduler,
    pub(super) latents: Vec<f32>,
    /// The latents as the model sees them.
    pub(super) input: Vec<f32>,
    /// How old the request was when the picture's first step began, and when the last one ended.
    pub(super) begun: Option<Duration>,
    pub(super) denoised: Duration,
    noise: NormalNoise,
    waits_for_picture: bool,
}

impl Picture {
    /// The picture number `image`, of pure noise yet.
    pub(super) fn begin(
        request: &PaintingRequest,
        image: usize,
        [width, height]: [usize; 2],
        description: &DiffusionDescription,
    ) -> Result<Self, ModelError> {
        let seed = request.seed.wrapping_add(image as u64);
        let scheduler = request.scheduler(description)?;
        let area = width.saturating_mul(height);
        let values = description.latent_channels.saturating_mul(area);
        let mut latents = vec![0.0; values];
        NormalNoise::new(seed, Purpose::Latents).fill(&mut latents);
        let waits_for_picture = request.init.is_some();
        if !waits_for_picture {
            scheduler.begin(&mut latents);
        }
        Ok(Self {
            image,
            seed,
            scheduler,
            latents,
            input: Vec::new(),
            begun: None,
            denoised: Duration::ZERO,
            noise: NormalNoise::new(seed, Purpose::Steps),
            waits_for_picture,
        })
    }

    pub(super) fn stage(&self) -> Stage {
        if self.waits_for_picture {
            return Stage::Encode;
        }
        match self.scheduler.timestep() {
            Some(_) => Stage::Denoise,
            None => Stage::Decode,
        }
    }

    /// The noise for the encoder of the picture to begin from.
    pub(super) fn picture_noise(&self) -> Vec<f32> {
        let mut noise = vec![0.0; self.latents.len()];
        NormalNoise::new(self.seed, Purpose::Picture).fill(&mut noise);
        noise
    }

    /// Begins from a picture's latents.
    pub(super) fn begin_from(&mut self, mut picture: Vec<f32>) -> Result<(), ModelError> {
        if picture.len() != self.latents.len() {
            let (found, wanted) = (picture.len(), self.latents.len());
            return Err(ModelError::Other(format!(
                "the model gave {found} latents of a picture, not {wanted}"
            )));
        }
        self.scheduler.add_noise(&mut picture, &self.latents);
        self.latents = picture;
        self.waits_for_picture = false;
        all_finite(&self.latents)
    }

    /// Writes what the model is to see, and gives the timestep.
    pub(super) fn look(&mut self) -> Option<f32> {
        self.scheduler.scale_input(&self.latents, &mut self.input);
        self.scheduler.timestep()
    }

    /// Comes a step further by what was predicted.
    pub(super) fn walk(&mut self, prediction: &[f32]) -> Result<(), ModelError> {
        all_finite(prediction)?;
        self.scheduler
            .step(prediction, &mut self.latents, &mut self.noise)?;
        all_finite(&self.latents)
    }
}

fn all_finite(values: &[f32]) -> Result<(), ModelError> {
    if values.iter().all(|value| value.is_finite()) {
        Ok(())
    } else {
        Err(ModelError::NotFiniteOutput)
    }
}
