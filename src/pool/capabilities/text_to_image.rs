//! Text to image: pictures from noise, by a prompt.

mod description;
mod model;

pub use description::{DiffusionDescription, GuidanceKind, LatentPreview};
pub use model::{Conditioning, Denoise, PromptPreparer, PromptTokens, TextToImageCapable};
