//! The parts of optical character recognition that work without weights.

use crate::images::RgbImage;
use crate::models::{ModelError, OnnxArray, ocr_parts};

/// The corners of a line: top left, top right, bottom right, bottom left.
pub type Corners = [[f32; 2]; 4];

/// The lines in a picture of `size`, by the detector's probabilities, `width` in each of `height` rows.
/// `None` where there are not as many as that.
pub fn lines(
    width: usize,
    height: usize,
    probabilities: &[f32],
    size: [u32; 2],
) -> Option<Vec<Corners>> {
    let map = ocr_parts::ProbabilityMap::new(width, height, probabilities)?;
    Some(map.lines(size))
}

/// The numbers of the lines as one reads them.
pub fn reading_order(lines: &[Corners]) -> Vec<usize> {
    ocr_parts::reading_order(lines)
}

/// A line cut out of a picture.
///
/// # Errors
/// None that is known.
pub fn cut(picture: &RgbImage, corners: &Corners) -> Result<RgbImage, ModelError> {
    Ok(ocr_parts::cut(picture, corners)?)
}

/// A line as the recogniser takes it.
///
/// # Errors
/// None that is known.
pub fn recogniser_pixels(line: &RgbImage) -> Result<OnnxArray, ModelError> {
    ocr_parts::recogniser_pixels(line)
}

/// A picture scaled as the models expect it.
///
/// # Errors
/// [`ModelError::Image`] for a side of 0.
pub fn scale(picture: &RgbImage, width: u32, height: u32) -> Result<RgbImage, ModelError> {
    Ok(ocr_parts::scale(picture, width, height)?)
}
