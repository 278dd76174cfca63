//! Latent diffusion by a UNet: Stable Diffusion 1.5 and 2.1, SDXL and their turbo variants, from a
//! pipeline's folder as diffusers saves it.

mod blocks;
mod clip_text;
mod config;
mod unet;
mod vae;

pub(in crate::models) use clip_text::{ClipText, ClipTextConfig, EncodedText};
pub(in crate::models) use vae::{Vae, VaeConfig};
