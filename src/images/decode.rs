//! From a file's bytes to pixels.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

use super::{ImageError, ImageLimits, RgbImage};

const WHITE: u32 = 255;

/// Decodes a file, upright and opaque.
///
/// The decoders are other people's code that reads bytes from anywhere, so a panic in one is the
/// picture's fault and no one else's.
pub(super) fn decode(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, ImageError> {
    catch_unwind(AssertUnwindSafe(|| decode_unguarded(bytes, limits)))
        .unwrap_or(Err(ImageError::DecoderPanicked))
}

fn decode_unguarded(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, ImageError> {
    let damaged = |source| ImageError::Damaged {
        source: Arc::new(source),
    };
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| damaged(error.into()))?;
    if reader.format().is_none() {
        return Err(ImageError::UnknownFormat);
    }
    let mut bounds = Limits::default();
    bounds.max_alloc = Some(limits.max_decoded_bytes);
    reader.limits(bounds);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, decoder.total_bytes(), limits)?;
    let orientation = decoder.orientation().map_err(damaged)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    picture.apply_orientation(orientation);
    let (width, height) = (picture.width(), picture.height());
    RgbImage::new(width, height, opaque(picture))
}

/// Checks a picture of which the size is known.
pub(super) fn check_size(
    width: u32,
    height: u32,
    decoded_bytes: u64,
    limits: &ImageLimits,
) -> Result<(), ImageError> {
    if width == 0 || height == 0 {
        return Err(ImageError::Empty { width, height });
    }
    let too_large = |what, limit| {
        Err(ImageError::TooLarge {
            width,
            height,
            what,
            limit,
        })
    };
    if width.max(height) > limits.max_side {
        return too_large("max_side", limits.max_side.into());
    }
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        return too_large("max_pixels", limits.max_pixels);
    }
    if decoded_bytes > limits.max_decoded_bytes {
        return too_large("max_decoded_bytes", limits.max_decoded_bytes);
    }
    Ok(())
}

/// RGB, with what is transparent laid on white.
fn opaque(picture: DynamicImage) -> Vec<u8> {
    if !picture.color().has_alpha() {
        return picture.into_rgb8().into_raw();
    }
    let rgba = picture.into_rgba8();
    let mut pixels = Vec::with_capacity(rgba.len() / 4 * 3);
    for pixel in rgba.pixels() {
        let [colours @ .., alpha] = pixel.0;
        let alpha = u32::from(alpha);
        // Rounded, and exact at both ends.
        let over = |colour: u8| {
            let sum = u32::from(colour) * alpha + WHITE * (WHITE - alpha);
            ((sum + WHITE / 2) / WHITE) as u8
        };
        pixels.extend(colours.map(over));
    }
    pixels
}
