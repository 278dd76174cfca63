//! Lines cut out of a picture, straightened, and made ready for the recogniser.

use super::geometry::length;
use super::scaling::scale;
use crate::images::{ImageError, RgbImage};
use crate::models::{ModelError, OnnxArray};

/// The height of a line for the recogniser.
pub(super) const LINE_HEIGHT: u32 = 48;
/// The least width that it is given; what a line leaves of it is filled up.
const MIN_LINE_WIDTH: u32 = 320;
/// The most that it is given: what is longer is squeezed.
const MAX_LINE_WIDTH: u32 = 4096;
/// A line this many times as high as wide runs downwards, and is turned.
const UPRIGHT: f64 = 1.5;
/// Pixels between pixels are taken at this many places.
const PLACES: f64 = 32.0;

/// Whether a line with these corners runs downwards.
pub(super) fn runs_down(corners: &[[f32; 2]; 4]) -> bool {
    let [width, height] = cut_size(corners);
    f64::from(height) >= UPRIGHT * f64::from(width)
}

fn cut_size(corners: &[[f32; 2]; 4]) -> [u32; 2] {
    let side = |from: usize, to: usize| {
        length([0, 1].map(|axis| f64::from(corners[from][axis]) - f64::from(corners[to][axis])))
    };
    let longer = |one: f64, other: f64| (one.max(other) as u32).max(1);
    [
        longer(side(0, 1), side(2, 3)),
        longer(side(0, 3), side(1, 2)),
    ]
}

/// Cuts a line out of a picture. One that runs downwards is turned to run to the right.
pub(crate) fn cut(picture: &RgbImage, corners: &[[f32; 2]; 4]) -> Result<RgbImage, ImageError> {
    let [width, height] = cut_size(corners);
    let view = View::new(corners, [width, height]);
    let mut pixels = Vec::with_capacity(width as usize * height as usize * 3);
    for y in 0..height {
        for x in 0..width {
            pixels.extend(pixel(picture, view.place(f64::from(x), f64::from(y))));
        }
    }
    let line = RgbImage::new(width, height, pixels)?;
    if runs_down(corners) {
        turned(&line)
    } else {
        Ok(line)
    }
}

/// A quarter turn against the clock.
fn turned(picture: &RgbImage) -> Result<RgbImage, ImageError> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let (old, _) = picture.pixels().as_chunks::<3>();
    let rows = (0..width).rev();
    let pixels = rows.flat_map(|x| (0..height).map(move |y| old[y * width + x]));
    let pixels: Vec<[u8; 3]> = pixels.collect();
    RgbImage::new(picture.height(), picture.width(), pixels.into_flattened())
}

/// The way from a rectangle's places to those of a figure of four sides.
struct View {
    across: [f64; 3],
    down: [f64; 3],
    depth: [f64; 3],
}

impl View {
    fn new(corners: &[[f32; 2]; 4], [width, height]: [u32; 2]) -> Self {
        let [a, b, c, d] = corners.map(|corner| corner.map(f64::from));
        let bend = [0, 1].map(|axis| a[axis] - b[axis] + c[axis] - d[axis]);
        let right = [0, 1].map(|axis| b[axis] - c[axis]);
        let below = [0, 1].map(|axis| d[axis] - c[axis]);
        let cross = |one: [f64; 2], other: [f64; 2]| one[0] * other[1] - one[1] * other[0];
        let all = cross(right, below);
        let (g, h) = if all == 0.0 {
            (0.0, 0.0)
        } else {
            (cross(bend, below) / all, cross(right, bend) / all)
        };
        let (width, height) = (f64::from(width), f64::from(height));
        let axis = |axis: usize| {
            [
                (b[axis] - a[axis] + g * b[axis]) / width,
                (d[axis] - a[axis] + h * d[axis]) / height,
                a[axis],
            ]
        };
        Self {
            across: axis(0),
            down: axis(1),
            depth: [g / width, h / height, 1.0],
        }
    }

    fn place(&self, x: f64, y: f64) -> [f64; 2] {
        let at = |[by_x, by_y, start]: [f64; 3]| by_x * x + by_y * y + start;
        let depth = at(self.depth);
        [at(self.across) / depth, at(self.down) / depth]
    }
}

/// What four pixels in a row count, between the second and the third of them.
fn cubic(part: f64) -> [f64; 4] {
    const A: f64 = -0.75;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let inner = [far(part + 1.0), near(part), near(1.0 - part)];
    [
        inner[0],
        inner[1],
        inner[2],
        1.0 - inner.iter().sum::<f64>(),
    ]
}

/// The colour between pixels; outside of the picture, its edge goes on.
fn pixel(picture: &RgbImage, place: [f64; 2]) -> [u8; 3] {
    let size = [picture.width(), picture.height()];
    let axis = |axis: usize| {
        let last = i64::from(size[axis]) - 1;
        let place = (place[axis] * PLACES).round_ties_even() / PLACES;
        let place = if place.is_finite() { place } else { 0.0 };
        let first = place.floor();
        let places = [-1, 0, 1, 2].map(|step| {
            // `as` stops at the ends of the numbers.
            (first as i64).saturating_add(step).clamp(0, last) as usize
        });
        (places, place - first)
    };
    let ((columns, right), (rows, down)) = (axis(0), axis(1));
    let (pixels, _) = picture.pixels().as_chunks::<3>();
    let row = |y: usize| &pixels[y * size[0] as usize..][..size[0] as usize];
    if right == 0.0 && down == 0.0 {
        return row(rows[1])[columns[1]];
    }
    let (across, along) = (cubic(right), cubic(down));
    let mut sums = [0.0; 3];
    for (y, weight) in rows.into_iter().zip(along) {
        let row = row(y);
        for (x, other) in columns.into_iter().zip(across) {
            for (sum, value) in sums.iter_mut().zip(row[x]) {
                *sum += weight * other * f64::from(value);
            }
        }
    }
    sums.map(|sum| sum.round_ties_even().clamp(0.0, 255.0) as u8)
}

/// A line as the recogniser takes it: `[1, 3, 48, width]`, blue, green and red from −1 to 1.
pub(crate) fn recogniser_pixels(line: &RgbImage) -> Result<OnnxArray, ModelError> {
    let ratio = f64::from(line.width()) / f64::from(line.height());
    let high = f64::from(LINE_HEIGHT);
    let width = ((high * ratio) as u32).clamp(MIN_LINE_WIDTH, MAX_LINE_WIDTH);
    let filled = ((high * ratio).ceil() as u32).clamp(1, width);
    let line = scale(line, filled, LINE_HEIGHT)?;
    let (pixels, _) = line.pixels().as_chunks::<3>();
    let (width, filled) = (width as usize, filled as usize);
    let mut values = vec![0.0; 3 * LINE_HEIGHT as usize * width];
    for (number, row) in values.chunks_exact_mut(width).enumerate() {
        let (channel, y) = (number / LINE_HEIGHT as usize, number % LINE_HEIGHT as usize);
        for (value, pixel) in row.iter_mut().zip(&pixels[y * filled..][..filled]) {
            *value = (f32::from(pixel[2 - channel]) / 255.0 - 0.5) / 0.5;
        }
    }
    let shape = vec![1, 3, LINE_HEIGHT as usize, width];
    OnnxArray::new(shape, values).ok_or_else(|| ModelError::Other("a line too long".to_owned()))
}
