//! What a vision model makes of a picture before it looks at it: `preprocessor_config.json`.

mod config;
mod tensor;

use std::borrow::Cow;
use std::path::Path;

use serde_json::Value;

use super::resample::{Filter, centre_crop, resize};
use super::{ImageError, RgbImage};
use crate::models::ModelError;
use crate::models::files::read_json;

pub use tensor::PixelTensor;

const FILE: &str = "preprocessor_config.json";

/// Pixels of the largest picture that a smaller one is scaled or cropped to. A strip scaled to a shortest edge of
/// 224 may still be 334 times as long as it is wide.
const MAX_PIXELS: u64 = 1 << 24;

/// How many times as long as wide a picture may be whose shape is kept: what the reference takes.
const LONGEST: u64 = 200;

/// Scales, crops and normalises pictures as a model's `preprocessor_config.json` says.
///
/// The processors of CLIP, SigLIP, ViT, BiT (which DINOv2 has), BLIP, EfficientNet, LLaVA and Qwen2-VL are
/// known. What comes out is what transformers' processors on Pillow 13 give; those on torchvision scale in
/// another way, so that values differ. Of Qwen2-VL's, it is the picture before it is cut into patches.
///
/// ```
/// use modelpool::images::{ImagePreprocessor, RgbImage};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = r#"{"image_processor_type": "ViTImageProcessor", "size": {"height": 2, "width": 4}}"#;
/// let tensor = ImagePreprocessor::from_json(config)?.run(&RgbImage::new(1, 1, vec![255, 0, 51])?)?;
/// assert_eq!(tensor.shape(), [3, 2, 4]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ImagePreprocessor {
    /// The colour of the bars that make a square of the picture.
    bars: Option<[u8; 3]>,
    resize: Option<(Size, Filter)>,
    /// Height and width.
    crop: Option<[u32; 2]>,
    tones: Tones,
}

/// What a picture is scaled to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    /// The shorter side; the other in proportion.
    Shortest(u32),
    /// Height and width.
    Exact([u32; 2]),
    /// About as it is, in whole units.
    Units(Units),
}

/// Sides in whole units of so many pixels, and an area within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Units {
    unit: u32,
    least: u32,
    most: u32,
}

/// What a pixel's values become.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tones {
    /// Each value is first taken times this.
    factor: Option<f64>,
    /// Then 1 is subtracted.
    offset: bool,
    /// Then the mean is subtracted and the rest divided by the deviation, once for each.
    normal: [Option<Normal>; 2],
}

/// Mean and standard deviation of each channel.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Normal {
    mean: [f32; 3],
    std: [f32; 3],
}

impl ImagePreprocessor {
    /// Reads `preprocessor_config.json` in a model's folder.
    ///
    /// # Errors
    /// [`ModelError::MissingFile`], [`ModelError::Unreadable`] or [`ModelError::Corrupt`] for the file;
    /// otherwise as [`from_json`](Self::from_json).
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = folder.as_ref().join(FILE);
        Self::from_value(read_json(&path, FILE)?)
    }

    /// Reads the content of such a file.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] where it is no JSON, [`ModelError::UnsupportedArchitecture`] for a processor that is not
    /// known, [`ModelError::InvalidConfig`] for a field that cannot be what it is.
    pub fn from_json(text: &str) -> Result<Self, ModelError> {
        let value = serde_json::from_str(text).map_err(|error| ModelError::Corrupt {
            path: FILE.into(),
            format: FILE,
            detail: error.to_string(),
        })?;
        Self::from_value(value)
    }

    fn from_value(value: Value) -> Result<Self, ModelError> {
        config::read(value)
    }

    /// The most pixels that a prepared picture has; `None` where that depends on its shape.
    pub(crate) fn most_pixels(&self) -> Option<usize> {
        let area = |[height, width]: [u32; 2]| height as usize * width as usize;
        match (self.crop, self.resize) {
            (Some(size), _) | (None, Some((Size::Exact(size), _))) => Some(area(size)),
            (None, Some((Size::Units(units), _))) => Some(units.most as usize),
            _ => None,
        }
    }

    /// Height and width of every prepared picture; `None` where they depend on its shape.
    pub(crate) fn fixed_size(&self) -> Option<[usize; 2]> {
        match (self.crop, self.resize) {
            (Some(size), _) | (None, Some((Size::Exact(size), _))) => {
                Some(size.map(|side| side as usize))
            }
            _ => None,
        }
    }

    /// Fails unless all prepared pictures are of this height and width, or else have sides of whole units of
    /// `unit` pixels.
    pub(crate) fn require_pictures_of(
        &self,
        size: Option<[usize; 2]>,
        unit: usize,
    ) -> Result<(), ModelError> {
        let (field, detail) = match (size, self.crop, self.resize) {
            (Some(size), Some(found), _) | (Some(size), None, Some((Size::Exact(found), _))) => {
                if found.map(|side| side as usize) == size {
                    return Ok(());
                }
                let detail = format!("{found:?} are not the {size:?} pixels that the tower takes");
                ("crop_size", detail)
            }
            (Some(_), ..) => ("size", "the tower takes pictures of one size".to_owned()),
            (None, None, Some((Size::Units(units), _))) => {
                if units.unit as usize == unit {
                    return Ok(());
                }
                let detail = format!("units of {} are not the tower's {unit}", units.unit);
                ("patch_size", detail)
            }
            (None, ..) => ("size", "the tower takes pictures in whole units".to_owned()),
        };
        Err(ModelError::InvalidConfig {
            file: FILE.to_owned(),
            field: field.to_owned(),
            detail,
        })
    }

    /// Prepares a picture.
    ///
    /// # Errors
    /// [`ImageError::TooLarge`] where it is of a shape that would have more than 16 Mi pixels when scaled, or
    /// when one of its sides is, and it has not that many itself.
    pub fn run(&self, picture: &RgbImage) -> Result<PixelTensor, ImageError> {
        let mut picture = Cow::Borrowed(picture);
        if let Some(colour) = self.bars {
            let side = u64::from(picture.width().max(picture.height()));
            let pixels = u64::from(picture.width()) * u64::from(picture.height());
            if side * side > MAX_PIXELS.max(pixels) {
                return Err(too_large(&picture, "pixels in a square"));
            }
            picture = Cow::Owned(in_square(&picture, colour));
        }
        if let Some((size, filter)) = self.resize {
            let [height, width] = size.of(&picture)?;
            picture = Cow::Owned(resize(&picture, width, height, filter));
        }
        if let Some([height, width]) = self.crop {
            picture = Cow::Owned(centre_crop(&picture, width, height));
        }
        Ok(self.tones.apply(&picture))
    }
}

impl Size {
    /// Height and width that a picture is scaled to.
    fn of(self, picture: &RgbImage) -> Result<[u32; 2], ImageError> {
        let [old_height, old_width] = [picture.height(), picture.width()].map(u64::from);
        let [height, width] = match self {
            Self::Exact(size) => size.map(u64::from),
            Self::Shortest(side) => {
                // The reference divides as doubles and cuts off. That is the same: whatever passes the check
                // below is further from the next whole number than a double's rounding.
                let shortest = u64::from(side);
                let longest = shortest * old_width.max(old_height) / old_width.min(old_height);
                if old_width <= old_height {
                    [longest, shortest]
                } else {
                    [shortest, longest]
                }
            }
            Self::Units(_) if old_height.max(old_width) > LONGEST * old_height.min(old_width) => {
                return Err(ImageError::TooLarge {
                    width: picture.width(),
                    height: picture.height(),
                    what: "times as long as wide",
                    limit: LONGEST,
                });
            }
            Self::Units(units) => units.of(old_height, old_width),
        };
        // One side is scaled before the other, so what is in between has one of either.
        let most = (height * width)
            .max(height * old_width)
            .max(old_height * width);
        if most > MAX_PIXELS.max(old_height * old_width) {
            return Err(too_large(picture, "pixels when scaled"));
        }
        // In bounds: neither is more than the pixels above.
        Ok([height, width].map(|side| side as u32))
    }
}

impl Units {
    /// The height and width in whole units that are nearest to a picture's, or nearest to its shape where
    /// its area is out of bounds. In doubles and with ties to even, as the reference computes it.
    fn of(self, height: u64, width: u64) -> [u64; 2] {
        let unit = f64::from(self.unit);
        let [high, wide] = [height, width].map(|side| side as f64);
        let area = high * wide;
        let nearest = [high, wide].map(|side| (side / unit).round_ties_even());
        let pixels = nearest[0] * nearest[1] * unit * unit;
        let units = if pixels > f64::from(self.most) {
            let shrink = (area / f64::from(self.most)).sqrt();
            [high, wide].map(|side| (side / shrink / unit).floor().max(1.0))
        } else if pixels < f64::from(self.least) {
            let stretch = (f64::from(self.least) / area).sqrt();
            [high, wide].map(|side| (side * stretch / unit).ceil())
        } else {
            nearest
        };
        units.map(|count| count as u64 * u64::from(self.unit))
    }
}

/// Puts bars at two sides of a picture, so that it is a square.
fn in_square(picture: &RgbImage, colour: [u8; 3]) -> RgbImage {
    let [width, height] = [picture.width(), picture.height()].map(|side| side as usize);
    let side = width.max(height);
    let [left, top] = [width, height].map(|own| (side - own) / 2);
    let mut pixels = colour.repeat(side * side);
    let rows = picture.pixels().chunks_exact(3 * width);
    for (line, row) in pixels.chunks_exact_mut(3 * side).skip(top).zip(rows) {
        line[3 * left..3 * (left + width)].copy_from_slice(row);
    }
    let side = picture.width().max(picture.height());
    RgbImage::of_size(side, side, pixels)
}

fn too_large(picture: &RgbImage, what: &'static str) -> ImageError {
    ImageError::TooLarge {
        width: picture.width(),
        height: picture.height(),
        what,
        limit: MAX_PIXELS,
    }
}

impl Tones {
    fn apply(&self, picture: &RgbImage) -> PixelTensor {
        // There are but 256 values in each of three channels.
        let tables: [[f32; 256]; 3] = std::array::from_fn(|channel| {
            std::array::from_fn(|value| self.tone(value as u8, channel))
        });
        let (pixels, _) = picture.pixels().as_chunks::<3>();
        let mut values = Vec::with_capacity(pixels.len() * 3);
        for (channel, table) in tables.iter().enumerate() {
            values.extend(
                pixels
                    .iter()
                    .map(|pixel| table[usize::from(pixel[channel])]),
            );
        }
        PixelTensor::of_shape(
            [3, picture.height() as usize, picture.width() as usize],
            values,
        )
    }

    fn tone(&self, value: u8, channel: usize) -> f32 {
        let mut tone = match self.factor {
            Some(factor) => (f64::from(value) * factor) as f32,
            None => f32::from(value),
        };
        if self.offset {
            tone -= 1.0;
        }
        for normal in self.normal.iter().flatten() {
            tone = (tone - normal.mean[channel]) / normal.std[channel];
        }
        tone
    }
}
