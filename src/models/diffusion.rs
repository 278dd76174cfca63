//! Latent diffusion by a UNet: Stable Diffusion 1.5 and 2.1, SDXL and their turbo variants, from a
//! pipeline's folder as diffusers saves it.

mod blocks;
mod clip_text;
mod clip_tokens;
mod config;
mod defaults;
mod folder;
mod latent_diffusion;
mod lora;
mod options;
mod preparer;
mod unet;
mod vae;
mod weights;

pub(in crate::models) use clip_text::{ClipText, ClipTextConfig};
pub(in crate::models) use clip_tokens::ClipTokenizer;
pub use folder::DiffusionFolder;
pub use latent_diffusion::LatentDiffusion;
pub use options::DiffusionOptions;
pub use preparer::DiffusionPreparer;
pub(in crate::models) use vae::{Vae, VaeConfig};
pub use weights::DiffusionWeights;
