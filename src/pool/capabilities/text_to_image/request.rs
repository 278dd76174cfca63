//! What is asked of a worker, and what comes back.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::description::{DiffusionDescription, GuidanceKind};
use super::model::PromptTokens;
use super::params::MAX_IMAGES;
use crate::diffusion::{PaintingPlan, Scheduler, SchedulerKind};
use crate::images::RgbImage;
use crate::models::ModelError;

/// A painting made ready for the model on the caller's side: everything is decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PaintingRequest {
    /// The prompt's tokens.
    pub prompt: PromptTokens,
    /// The negative prompt's, where guidance needs them.
    pub negative: Option<PromptTokens>,
    /// How far to follow the prompt.
    pub guidance: f32,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// How many steps lead from noise to a picture.
    pub steps: usize,
    /// The seed of the first picture; each further one has the next.
    pub seed: u64,
    /// How many pictures to make.
    pub images: usize,
    /// Which solver walks.
    pub scheduler: SchedulerKind,
    /// The picture to begin from, of the new one's size.
    pub init: Option<RgbImage>,
    /// How much of it is painted over.
    pub strength: f64,
    /// With every so many steps there is a preview; 0 for none.
    pub preview_every: usize,
}

impl PaintingRequest {
    /// Looks whether the model can make it. All of it is checked: a request may come from anywhere.
    pub(super) fn check(&self, description: &DiffusionDescription) -> Result<(), ModelError> {
        let invalid = |field, detail| Err(ModelError::InvalidPainting { field, detail });
        let multiple = description.size_multiple.max(1);
        for (field, side) in [("width", self.width), ("height", self.height)] {
            if side == 0 || side > description.max_side {
                let detail = format!("is {side}, allowed is 1 to {}", description.max_side);
                return invalid(field, detail);
            }
            if !side.is_multiple_of(multiple) {
                return invalid(field, format!("is {side}, no multiple of {multiple}"));
            }
        }
        if self.width.saturating_mul(self.height) > description.max_pixels {
            let (width, height, most) = (self.width, self.height, description.max_pixels);
            let detail = format!("times height is {width} times {height}: above {most} pixels");
            return invalid("width", detail);
        }
        let most = description.max_images.clamp(1, MAX_IMAGES);
        if !(1..=most).contains(&self.images) {
            let detail = format!("is {}, allowed is 1 to {most}", self.images);
            return invalid("images", detail);
        }
        if !self.guidance.is_finite() {
            return invalid("guidance", format!("is {}", self.guidance));
        }
        if let Some(init) = &self.init
            && (init.width() as usize, init.height() as usize) != (self.width, self.height)
        {
            let detail = format!("is {}x{}", init.width(), init.height());
            return invalid("init", detail);
        }
        if self.is_guided(description) && self.negative.is_none() {
            return invalid("negative_prompt", "is missing".to_owned());
        }
        self.scheduler(description).map(drop)
    }

    /// Whether each step predicts with the negative prompt, too.
    pub(super) fn is_guided(&self, description: &DiffusionDescription) -> bool {
        description.guidance == GuidanceKind::ClassifierFree && self.guidance > 1.0
    }

    /// Width and height in latents.
    pub(super) fn latents(&self, description: &DiffusionDescription) -> [usize; 2] {
        let pixels = description.pixels_per_latent.max(1);
        [self.width / pixels, self.height / pixels]
    }

    /// The scheduler of one of its pictures.
    pub(super) fn scheduler(
        &self,
        description: &DiffusionDescription,
    ) -> Result<Scheduler, ModelError> {
        let [width, height] = self.latents(description);
        let side = description.latents_per_token.max(1);
        let mut plan = PaintingPlan::new(self.scheduler, self.steps)
            .tokens((width / side).saturating_mul(height / side));
        if self.init.is_some() {
            plan = plan.strength(self.strength);
        }
        description.schedule.scheduler(&plan)
    }
}

/// Where a picture's time went, counted from the request's acceptance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaintingTimings {
    /// Until a worker took the request up: tokenising and waiting.
    pub queued: Duration,
    /// Until the prompts were encoded.
    pub encoded: Duration,
    /// Until the first step of this picture began: those before it are finished, and the picture to
    /// begin from is encoded.
    pub begun: Duration,
    /// Until its last step was made.
    pub denoised: Duration,
    /// Until the picture was there.
    pub total: Duration,
}

/// A finished picture.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Painting {
    /// Which of the request's pictures it is, from 0.
    pub image: usize,
    /// The picture.
    pub picture: RgbImage,
    /// The same as a PNG file.
    pub png: Vec<u8>,
    /// What makes it again, with `images` 1 and the same settings.
    pub seed: u64,
    /// Where the time went.
    pub timings: PaintingTimings,
}

impl fmt::Debug for Painting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Painting")
            .field("image", &self.image)
            .field("picture", &self.picture)
            .field("png_bytes", &self.png.len())
            .field("seed", &self.seed)
            .field("timings", &self.timings)
            .finish()
    }
}

/// What a caller reads of a painting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ImageChunk {
    /// The request was accepted, and waits for a worker: always the first chunk.
    Queued,
    /// A picture came a step further. A slow reader is not told of every step; and when a worker dies
    /// before the request's first picture, another one begins anew, and so do the steps.
    Step {
        /// Which of the request's pictures, from 0.
        image: usize,
        /// How many steps have been made.
        step: usize,
        /// How many there are.
        of: usize,
        /// What the picture will be like, as wide and high as its latents, if asked for.
        preview: Option<RgbImage>,
    },
    /// A picture is finished. Every one of them is sent.
    Image(Painting),
}
