//! What is to be known of a text-to-image model before it is loaded.

use crate::diffusion::{NoiseSchedule, SchedulerKind};

/// What the model does with the guidance that callers ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GuidanceKind {
    /// Nothing: it was trained to need none.
    None,
    /// Each step predicts with the prompt and with the negative one, and goes beyond the difference.
    /// The engine does this, and leaves it out where guidance is at most 1.
    ClassifierFree,
    /// It is given the guidance beside the timestep: [`Denoise::guidance`](super::Denoise::guidance).
    Embedded,
}

/// How to show latents as a small picture without decoding them: each channel's share of red, green and
/// blue, from −1 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct LatentPreview {
    /// What one of each channel adds; as many as there are channels.
    pub factors: Vec<[f32; 3]>,
    /// What is added to all.
    pub bias: [f32; 3],
}

/// What is to be known of a text-to-image model before it is loaded. All sizes are width and height in
/// pixels.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DiffusionDescription {
    /// Channels of the latents.
    pub latent_channels: usize,
    /// How many pixels a side of one latent stands for. Default: 8.
    pub pixels_per_latent: usize,
    /// Sides are multiples of this; itself a multiple of `pixels_per_latent`. Default: 8.
    pub size_multiple: usize,
    /// The size of a picture where the caller names none. Default: 512 by 512.
    pub default_size: [usize; 2],
    /// The largest side. Default: 2048.
    pub max_side: usize,
    /// The most pixels. Default: 2048 times 2048.
    pub max_pixels: usize,
    /// How many latents a side of one token of a transformer stands for: schedules that shift with the
    /// number of tokens need it. Default: 1.
    pub latents_per_token: usize,
    /// How training mixed pictures with noise.
    pub schedule: NoiseSchedule,
    /// The scheduler where the caller names none. Default: the schedule's own.
    pub default_scheduler: SchedulerKind,
    /// The steps where the caller names no number. Default: 30.
    pub default_steps: usize,
    /// The guidance where the caller names none. Default: 7.5.
    pub default_guidance: f32,
    /// What is done with guidance. Default: classifier-free.
    pub guidance: GuidanceKind,
    /// The most entries of one call of [`predict`](super::TextToImageCapable::predict). With classifier-free
    /// guidance, a picture is two entries. Default: 2.
    pub max_batch: usize,
    /// The most pictures of one request. Default: 16.
    pub max_images: usize,
    /// How to show latents; without, there are no previews. Default: none.
    pub preview: Option<LatentPreview>,
}

impl DiffusionDescription {
    /// A model of this schedule, whose latents have so many channels; everything else by default.
    pub fn new(latent_channels: usize, schedule: NoiseSchedule) -> Self {
        Self {
            latent_channels,
            pixels_per_latent: 8,
            size_multiple: 8,
            default_size: [512, 512],
            max_side: 2048,
            max_pixels: 2048 * 2048,
            latents_per_token: 1,
            default_scheduler: schedule.default_kind(),
            schedule,
            default_steps: 30,
            default_guidance: 7.5,
            guidance: GuidanceKind::ClassifierFree,
            max_batch: 2,
            max_images: 16,
            preview: None,
        }
    }
}
