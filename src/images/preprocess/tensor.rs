//! What a vision model is given.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::images::RgbImage;
use crate::models::ModelError;

/// A picture as a model takes it: numbers of shape `[3, height, width]`, all of red first.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct PixelTensor {
    shape: [usize; 3],
    values: Vec<f32>,
}

/// What is read before it is believed.
#[derive(Deserialize)]
struct Parts {
    shape: [usize; 3],
    values: Vec<f32>,
}

impl TryFrom<Parts> for PixelTensor {
    type Error = ModelError;

    fn try_from(parts: Parts) -> Result<Self, ModelError> {
        Self::new(parts.shape, parts.values)
    }
}

impl fmt::Debug for PixelTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PixelTensor({:?})", self.shape)
    }
}

impl PixelTensor {
    /// Takes values as a tensor of this shape.
    ///
    /// # Errors
    /// [`ModelError::WrongShape`] where the shape calls for another number of values, or for none, or for
    /// other than 3 channels.
    pub fn new(shape: [usize; 3], values: Vec<f32>) -> Result<Self, ModelError> {
        let wanted = shape
            .iter()
            .try_fold(1usize, |sum, side| sum.checked_mul(*side));
        if shape[0] == 3 && wanted == Some(values.len()) && !values.is_empty() {
            return Ok(Self { shape, values });
        }
        Err(ModelError::WrongShape {
            tensor: "pixels".to_owned(),
            expected: shape.to_vec(),
            found: vec![values.len()],
        })
    }

    /// A picture's values as they are, from 0 to 1.
    pub fn from_picture(picture: &RgbImage) -> Self {
        let shape = [3, picture.height() as usize, picture.width() as usize];
        let (pixels, _) = picture.pixels().as_chunks::<3>();
        let value = |channel| {
            pixels
                .iter()
                .map(move |pixel| f32::from(pixel[channel]) / 255.0)
        };
        Self::of_shape(shape, (0..3).flat_map(value).collect())
    }

    /// The same where the caller has counted.
    pub(super) fn of_shape(shape: [usize; 3], values: Vec<f32>) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        Self { shape, values }
    }

    /// Channels, height and width.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// All values, row after row of one channel after the other.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The same, taken out.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }
}
