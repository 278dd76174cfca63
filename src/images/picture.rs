//! Decoded pixels.

use std::fmt;
use std::io::Cursor;
use std::sync::Arc;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use serde::{Deserialize, Serialize};

use super::ImageError;

/// A decoded picture: RGB, 8 bits a channel, row after row from the top.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct RgbImage {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

/// What is read before it is believed.
#[derive(Deserialize)]
struct Parts {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl TryFrom<Parts> for RgbImage {
    type Error = ImageError;

    fn try_from(parts: Parts) -> Result<Self, ImageError> {
        Self::new(parts.width, parts.height, parts.pixels)
    }
}

impl fmt::Debug for RgbImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RgbImage({}x{})", self.width, self.height)
    }
}

impl RgbImage {
    /// Takes `3 * width * height` bytes as a picture.
    ///
    /// # Errors
    /// [`ImageError::Empty`] where a side is 0, [`ImageError::WrongLength`] for another number of bytes.
    pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Result<Self, ImageError> {
        if width == 0 || height == 0 {
            return Err(ImageError::Empty { width, height });
        }
        let wanted = u128::from(width) * u128::from(height) * 3;
        if pixels.len() as u128 != wanted {
            return Err(ImageError::WrongLength {
                width,
                height,
                len: pixels.len(),
            });
        }
        Ok(Self {
            width,
            height,
            pixels,
        })
    }

    /// The same where the caller has counted.
    pub(super) fn of_size(width: u32, height: u32, pixels: Vec<u8>) -> Self {
        debug_assert_eq!(
            pixels.len() as u64,
            u64::from(width) * u64::from(height) * 3
        );
        Self {
            width,
            height,
            pixels,
        }
    }

    /// Pixels in a row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// All pixels: red, green and blue of the first, and so on.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The same, taken out.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }

    /// The picture as a PNG file.
    ///
    /// # Errors
    /// [`ImageError::Unwritable`].
    pub fn to_png(&self) -> Result<Vec<u8>, ImageError> {
        let mut file = Cursor::new(Vec::new());
        PngEncoder::new(&mut file)
            .write_image(
                &self.pixels,
                self.width,
                self.height,
                ExtendedColorType::Rgb8,
            )
            .map_err(|source| ImageError::Unwritable {
                source: Arc::new(source),
            })?;
        Ok(file.into_inner())
    }
}
