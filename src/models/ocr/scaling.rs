//! Scaling as the models were trained with: between the two nearest rows and columns, in fixed point,
//! as OpenCV does it.

use crate::images::{ImageError, RgbImage};

/// Bits of a weight.
const WEIGHT_BITS: u32 = 11;

/// Between which two of the old places a new one lies, and how much each of them counts.
#[derive(Debug, Clone, Copy)]
struct Between {
    places: [usize; 2],
    weights: [u32; 2],
}

fn along(old: u32, new: u32) -> Vec<Between> {
    let step = f64::from(old) / f64::from(new.max(1));
    let last = old.saturating_sub(1) as usize;
    let one = f64::from(1 << WEIGHT_BITS);
    let between = |index: u32| {
        let place = ((f64::from(index) + 0.5) * step - 0.5) as f32;
        let first = place.floor().max(0.0) as usize;
        let rest = if place < 0.0 || first >= last {
            0.0
        } else {
            f64::from(place - place.floor())
        };
        let first = first.min(last);
        Between {
            places: [first, (first + 1).min(last)],
            weights: [1.0 - rest, rest].map(|part| (part * one).round_ties_even() as u32),
        }
    };
    (0..new).map(between).collect()
}

/// Scales a picture to `width` by `height`, both above 0.
pub(crate) fn scale(picture: &RgbImage, width: u32, height: u32) -> Result<RgbImage, ImageError> {
    if (picture.width(), picture.height()) == (width, height) {
        return Ok(picture.clone());
    }
    let columns = along(picture.width(), width);
    let old_row = picture.width() as usize * 3;
    let wide_row = |row: usize| -> Vec<u32> {
        let row = &picture.pixels()[row * old_row..][..old_row];
        let value = |at: &Between, channel: usize| {
            let [left, right] = at.places.map(|place| u32::from(row[place * 3 + channel]));
            left * at.weights[0] + right * at.weights[1]
        };
        columns
            .iter()
            .flat_map(|at| [0, 1, 2].map(|channel| value(at, channel)))
            .collect()
    };
    let mut pixels = Vec::with_capacity(width as usize * height as usize * 3);
    // The two rows that are at hand, by their number.
    let mut held: [(usize, Vec<u32>); 2] = [(usize::MAX, Vec::new()), (usize::MAX, Vec::new())];
    for at in along(picture.height(), height) {
        let [above, below] = at.places;
        if held[0].0 != above && held[1].0 == above {
            held.swap(0, 1);
        }
        if held[0].0 != above {
            held[0] = (above, wide_row(above));
        }
        if held[1].0 != below {
            held[1] = (below, wide_row(below));
        }
        let part = |value: u32, weight: u32| ((value >> 4) * weight) >> 16;
        let pairs = held[0].1.iter().zip(&held[1].1);
        pixels.extend(pairs.map(|(&above, &below)| {
            let sum = part(above, at.weights[0]) + part(below, at.weights[1]);
            ((sum + 2) >> 2).min(255) as u8
        }));
    }
    RgbImage::new(width, height, pixels)
}
