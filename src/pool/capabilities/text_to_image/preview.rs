//! Latents as a small picture.

use super::description::LatentPreview;
use crate::images::RgbImage;

impl LatentPreview {
    /// Shows latents of shape `[channels, height, width]`; `None` where they do not fit.
    pub(super) fn picture(&self, latents: &[f32], width: usize, height: usize) -> Option<RgbImage> {
        let area = width.checked_mul(height).filter(|area| *area > 0)?;
        if latents.len() != area.checked_mul(self.factors.len())? {
            return None;
        }
        let mut pixels = Vec::with_capacity(area * 3);
        for place in 0..area {
            let mut colour = self.bias;
            for (channel, factors) in self.factors.iter().enumerate() {
                let latent = latents[channel * area + place];
                for (colour, factor) in colour.iter_mut().zip(factors) {
                    *colour += latent * factor;
                }
            }
            // What is no number becomes black.
            pixels.extend(colour.map(|value| ((value + 1.0) * 127.5).round() as u8));
        }
        RgbImage::new(width.try_into().ok()?, height.try_into().ok()?, pixels).ok()
    }
}
