//! What a pipeline does where the caller says nothing.

use std::path::Path;

use serde_json::Value;

use super::options::DiffusionOptions;
use super::unet::UnetConfig;
use super::vae::VaeConfig;
use crate::diffusion::{NoiseSchedule, SchedulerKind};
use crate::models::{ModelError, files};
use crate::pool::capabilities::text_to_image::{DiffusionDescription, GuidanceKind, LatentPreview};

/// The side of a trained picture where the configuration names none, in latents.
const TRAINED: usize = 64;

/// The longest side that may be allowed, in pixels.
const MAX_SIDE: usize = 8192;

/// How the latents of the two families look, roughly: what a least-squares fit to their pictures gives.
const FIRST_LOOK: ([[f32; 3]; 4], [f32; 3]) = (
    [
        [0.35, 0.23, 0.32],
        [0.33, 0.50, 0.24],
        [-0.28, 0.18, 0.27],
        [-0.21, -0.26, -0.72],
    ],
    [0.0; 3],
);
const XL_LOOK: ([[f32; 3]; 4], [f32; 3]) = (
    [
        [0.37, 0.42, 0.43],
        [-0.25, 0.0, 0.11],
        [0.11, 0.11, -0.04],
        [-0.32, -0.25, -0.22],
    ],
    [0.11, -0.02, 0.0],
);

/// What the model is like, as far as its files say it.
pub(super) fn description(
    path: &Path,
    unet: &UnetConfig,
    vae: &VaeConfig,
    schedule: NoiseSchedule,
    is_xl: bool,
    options: &DiffusionOptions,
) -> Result<DiffusionDescription, ModelError> {
    let side = vae.pixels_per_latent();
    let [height, width] = unet.trained_size.unwrap_or([TRAINED; 2]);
    let pixels = |latents: usize| latents.saturating_mul(side).min(MAX_SIDE);
    let default_size = [pixels(width), pixels(height)];
    let trained = default_size[0] * default_size[1];
    let max_pixels = options.max_pixels.unwrap_or(trained + trained / 2);
    let max_pixels = max_pixels.max(trained);
    let max_pixels = max_pixels.min(MAX_SIDE * MAX_SIDE);
    let (steps, guidance) = habits(path, &schedule, is_xl)?;
    let mut description = DiffusionDescription::new(unet.channels, schedule);
    description.pixels_per_latent = side;
    description.size_multiple = side;
    description.default_size = default_size;
    description.max_pixels = max_pixels;
    // No picture is to be longer than eight times what the pixels make as a square.
    let longest = default_size[0].max(default_size[1]);
    description.max_side = (8 * max_pixels.isqrt()).clamp(longest, MAX_SIDE);
    description.default_steps = steps;
    description.default_guidance = guidance;
    if unet.guidance_width.is_some() {
        description.guidance = GuidanceKind::Embedded;
    }
    description.preview = preview(unet.channels, is_xl);
    Ok(description)
}

/// The steps and the guidance that the makers of such models advise.
fn habits(path: &Path, schedule: &NoiseSchedule, is_xl: bool) -> Result<(usize, f32), ModelError> {
    let file = path.join("scheduler/scheduler_config.json");
    let value = files::read_json(&file, "scheduler_config.json").unwrap_or(Value::Null);
    let is_trailing = value.get("timestep_spacing").and_then(Value::as_str) == Some("trailing");
    Ok(match schedule.default_kind() {
        SchedulerKind::Lcm => (4, 8.5),
        // The turbo variants: distilled to few steps without guidance.
        SchedulerKind::EulerAncestral if is_trailing => (4, 0.0),
        _ if is_xl => (30, 5.0),
        _ => (30, 7.5),
    })
}

fn preview(channels: usize, is_xl: bool) -> Option<LatentPreview> {
    let (factors, bias) = if is_xl { XL_LOOK } else { FIRST_LOOK };
    (channels == factors.len()).then(|| LatentPreview {
        factors: factors.to_vec(),
        bias,
    })
}
