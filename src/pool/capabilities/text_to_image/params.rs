//! What a picture is to be like: what the caller may ask for.

use serde::{Deserialize, Serialize};

use crate::diffusion::{MAX_STEPS, SchedulerKind};
use crate::images::ImageSource;
use crate::pool::capabilities::refusal::invalid;
use crate::pool::core::PoolError;

/// The largest guidance.
const MAX_GUIDANCE: f32 = 100.0;

/// The most pictures of one request, whatever the model allows.
pub(super) const MAX_IMAGES: usize = 64;

/// What a picture is to be like. What is `None` is the model's default.
///
/// ```
/// use modelpool::ImageParams;
///
/// let params = ImageParams::default().size(512, 768).steps(20).seed(1).negative_prompt("blurry");
/// assert_eq!((params.width, params.height), (Some(512), Some(768)));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ImageParams {
    /// What the picture is not to be. For models with classifier-free guidance, and where that is
    /// above 1; others look at it not.
    pub negative_prompt: Option<String>,
    /// How far to follow the prompt: 0 to 100. At most 1 is as good as none.
    pub guidance: Option<f32>,
    /// Pixels in a row, a multiple of what the model has. Default: the model's, or the width of the
    /// picture that is begun from, less what is over.
    pub width: Option<usize>,
    /// Rows, likewise.
    pub height: Option<usize>,
    /// How many steps lead from noise to a picture: 1 to 1000.
    pub steps: Option<usize>,
    /// Makes the picture repeatable: the same seed, settings and model give the same bytes, whatever
    /// else runs beside it. `None` (the default) takes another seed each time; it comes with the picture.
    pub seed: Option<u64>,
    /// How many pictures to make, at least 1, at most the model's `max_images`. The picture number `i` is
    /// what the seed plus `i` gives by itself.
    pub images: usize,
    /// Which solver walks from noise to a picture.
    pub scheduler: Option<SchedulerKind>,
    /// A picture to begin from. It is scaled to the size of the new one.
    pub init: Option<ImageSource>,
    /// How much of that is painted over: above 0, and 1 leaves nothing of it. Of the steps, only this
    /// share is made. Default: 0.8.
    pub strength: f64,
    /// Shows a small preview with every step of which the number is a multiple of this; 0 (the default)
    /// for none. Models that can't show their latents give none.
    pub preview_every: usize,
}

impl Default for ImageParams {
    fn default() -> Self {
        Self {
            negative_prompt: None,
            guidance: None,
            width: None,
            height: None,
            steps: None,
            seed: None,
            images: 1,
            scheduler: None,
            init: None,
            strength: 0.8,
            preview_every: 0,
        }
    }
}

impl ImageParams {
    /// Says what the picture is not to be.
    #[must_use]
    pub fn negative_prompt(mut self, prompt: impl Into<String>) -> Self {
        self.negative_prompt = Some(prompt.into());
        self
    }

    /// Follows the prompt so far.
    #[must_use]
    pub fn guidance(mut self, guidance: f32) -> Self {
        self.guidance = Some(guidance);
        self
    }

    /// Makes the picture so large, in pixels.
    #[must_use]
    pub fn size(mut self, width: usize, height: usize) -> Self {
        self.width = Some(width);
        self.height = Some(height);
        self
    }

    /// Takes so many steps.
    #[must_use]
    pub fn steps(mut self, steps: usize) -> Self {
        self.steps = Some(steps);
        self
    }

    /// Makes the picture repeatable.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Makes so many pictures.
    #[must_use]
    pub fn images(mut self, images: usize) -> Self {
        self.images = images;
        self
    }

    /// Walks with this solver.
    #[must_use]
    pub fn scheduler(mut self, kind: SchedulerKind) -> Self {
        self.scheduler = Some(kind);
        self
    }

    /// Begins from a picture.
    #[must_use]
    pub fn init(mut self, picture: ImageSource) -> Self {
        self.init = Some(picture);
        self
    }

    /// Paints so much of that picture over.
    #[must_use]
    pub fn strength(mut self, strength: f64) -> Self {
        self.strength = strength;
        self
    }

    /// Shows a preview with every so many steps.
    #[must_use]
    pub fn preview_every(mut self, steps: usize) -> Self {
        self.preview_every = steps;
        self
    }

    /// Looks whether every value makes sense, whatever the model.
    ///
    /// # Errors
    /// [`PoolError::InvalidRequest`] that names the first field that does not.
    pub fn validate(&self) -> Result<(), PoolError> {
        if let Some(guidance) = self.guidance
            && !(0.0..=MAX_GUIDANCE).contains(&guidance)
        {
            let reason = format!("is {guidance}, allowed is 0 to {MAX_GUIDANCE}");
            return Err(invalid("guidance", reason));
        }
        for (field, side) in [("width", self.width), ("height", self.height)] {
            if side == Some(0) {
                return Err(invalid(field, "must be at least 1"));
            }
        }
        if let Some(steps) = self.steps
            && !(1..=MAX_STEPS).contains(&steps)
        {
            let reason = format!("is {steps}, allowed is 1 to {MAX_STEPS}");
            return Err(invalid("steps", reason));
        }
        if !(1..=MAX_IMAGES).contains(&self.images) {
            let reason = format!("is {}, allowed is 1 to {MAX_IMAGES}", self.images);
            return Err(invalid("images", reason));
        }
        if !(self.strength > 0.0 && self.strength <= 1.0) {
            let reason = format!("is {}, allowed is above 0, at most 1", self.strength);
            return Err(invalid("strength", reason));
        }
        Ok(())
    }
}
