//! What becomes of a picture before lines are looked for in it: told by its size alone, so that callers
//! and workers agree.

use super::scaling::scale;
use crate::images::{ImageError, PixelTensor, RgbImage};
use crate::models::ModelError;

/// Neither side of a picture that lines are cut out of is shorter.
const MIN_SIDE: u32 = 30;
/// A longer side is scaled down to this, unless the detector looks at more.
const MAX_SIDE: u32 = 2000;
/// However narrow a picture is, its longer side is not scaled up beyond this.
const MAX_ENLARGED_SIDE: u32 = 4096;
/// Sides are multiples of this wherever a picture is scaled.
const UNIT: u32 = 32;
/// A picture this many times as wide as high gets black above and below it.
const MAX_ASPECT: u32 = 8;

/// What the detector expects of red, green and blue, which it takes in the order blue, green, red.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// A width and a height.
pub(super) type Size = [u32; 2];

/// What is made of a picture of some size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// The picture as it was given.
    original: Size,
    /// Scaled, so that lines can be cut out of it.
    scaled: Size,
    /// How many black rows are put above, and as many below.
    margin: u32,
    /// As the detector sees it.
    detected: Size,
}

/// A side times a ratio, as a multiple of 32 and at least that.
fn scaled_side(side: u32, ratio: f64) -> u32 {
    let units = (f64::from(side) * ratio).trunc() / f64::from(UNIT);
    (units.round_ties_even() as u32).max(1) * UNIT
}

fn longest(size: Size) -> u32 {
    size[0].max(size[1])
}

impl Layout {
    /// For a picture of this size, neither side of it 0, and a detector that looks at no longer side
    /// than `detector_side`.
    pub(super) fn new(original: Size, detector_side: u32) -> Self {
        let mut scaled = original;
        let most = MAX_SIDE.max(detector_side);
        if longest(scaled) > most {
            let ratio = f64::from(most) / f64::from(longest(scaled));
            scaled = scaled.map(|side| scaled_side(side, ratio));
        }
        let shortest = scaled[0].min(scaled[1]).max(1);
        if shortest < MIN_SIDE {
            let wanted = f64::from(MIN_SIDE) / f64::from(shortest);
            let most = f64::from(MAX_ENLARGED_SIDE) / f64::from(longest(scaled));
            scaled = scaled.map(|side| scaled_side(side, wanted.min(most.max(1.0))));
        }
        let [width, height] = scaled;
        let is_strip = height <= MIN_SIDE || width > height.saturating_mul(MAX_ASPECT);
        let margin = if is_strip {
            let wanted = 2 * (width / MAX_ASPECT).max(MIN_SIDE);
            wanted.abs_diff(height) / 2
        } else {
            0
        };
        let framed = [width, height + 2 * margin];
        let ratio = if longest(framed) > detector_side {
            f64::from(detector_side) / f64::from(longest(framed))
        } else {
            1.0
        };
        Self {
            original,
            scaled,
            margin,
            detected: framed.map(|side| scaled_side(side, ratio)),
        }
    }

    /// The picture that lines are cut out of, with its margins.
    pub(super) fn framed(&self) -> Size {
        [self.scaled[0], self.scaled[1] + 2 * self.margin]
    }

    /// The picture as the detector sees it.
    pub(super) fn detected(&self) -> Size {
        self.detected
    }

    /// A place in the framed picture, as one of the picture that was given.
    pub(super) fn original_place(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let place = [x, y - self.margin as f32];
        [0, 1].map(|axis| {
            let ratio = self.original[axis] as f32 / self.scaled[axis] as f32;
            (place[axis] * ratio).clamp(0.0, self.original[axis] as f32)
        })
    }

    /// Makes the framed picture.
    pub(super) fn frame(&self, picture: &RgbImage) -> Result<RgbImage, ImageError> {
        let scaled = scale(picture, self.scaled[0], self.scaled[1])?;
        if self.margin == 0 {
            return Ok(scaled);
        }
        let [width, height] = self.framed();
        let black = vec![0; width as usize * self.margin as usize * 3];
        let pixels = [&black, scaled.pixels(), &black].concat();
        RgbImage::new(width, height, pixels)
    }

    /// What the detector is given of the framed picture.
    pub(super) fn detector_pixels(&self, framed: &RgbImage) -> Result<PixelTensor, ModelError> {
        let [width, height] = self.detected;
        let picture = scale(framed, width, height)?;
        let (pixels, _) = picture.pixels().as_chunks::<3>();
        let values = (0..3).flat_map(|channel| {
            let [mean, deviation] = [MEAN[channel], DEVIATION[channel]];
            let of_pixel =
                move |pixel: &[u8; 3]| (f32::from(pixel[2 - channel]) / 255.0 - mean) / deviation;
            pixels.iter().map(of_pixel)
        });
        PixelTensor::new([3, height as usize, width as usize], values.collect())
    }
}
