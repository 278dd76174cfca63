//! What all workers of a pipeline share.

use std::fmt;

use candle_core::Device;

use super::clip_text::ClipText;
use super::unet::Unet;
use super::vae::Vae;
use crate::pool::capabilities::text_to_image::DiffusionDescription;

/// The loaded parts of a pipeline, which never change: all workers share them.
pub struct DiffusionWeights {
    pub(super) encoders: Vec<ClipText>,
    pub(super) unet: Unet,
    pub(super) vae: Vae,
    pub(super) description: DiffusionDescription,
    pub(super) is_xl: bool,
    pub(super) zeros_for_absent: bool,
    pub(super) device: Device,
}

impl fmt::Debug for DiffusionWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiffusionWeights")
            .field("text_encoders", &self.encoders.len())
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}
