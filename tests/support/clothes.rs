//! A part of Fashion-MNIST (`scripts/reference/fashion.py`), and what its nearest neighbours say of a picture.

use std::path::Path;

use modelpool::images::{ImageLimits, ImageSource, RgbImage};

const SIDE: usize = 28;
const COLUMNS: usize = 40;
const NEIGHBOURS: usize = 5;
const CLASSES: u8 = 10;

/// The first so many pictures are for training, the others for testing.
pub const TRAINING: usize = 800;

/// A square of a picture, as large as one of the sheet.
pub fn cut(picture: &RgbImage, left: usize, top: usize) -> RgbImage {
    let stride = picture.width() as usize * 3;
    let rows = (top..top + SIDE).flat_map(|row| {
        let start = row * stride + left * 3;
        picture.pixels()[start..start + SIDE * 3].to_vec()
    });
    RgbImage::new(SIDE as u32, SIDE as u32, rows.collect()).unwrap()
}

/// All pictures of the sheet, and what is on each.
pub fn pictures() -> (Vec<RgbImage>, Vec<u8>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fashion");
    let sheet = ImageSource::path(folder.join("pictures.png"));
    let sheet = sheet.load(&ImageLimits::default()).unwrap();
    let labels = std::fs::read(folder.join("labels.bin")).unwrap();
    let place = |number: usize| cut(&sheet, number % COLUMNS * SIDE, number / COLUMNS * SIDE);
    ((0..labels.len()).map(place).collect(), labels)
}

/// What most of the nearest of `known` are; of equally many, the first.
pub fn told(known: &[Vec<f32>], labels: &[u8], asked: &[f32]) -> u8 {
    let mut near: Vec<(f32, u8)> = known
        .iter()
        .zip(labels)
        .map(|(other, label)| (asked.iter().zip(other).map(|(a, b)| a * b).sum(), *label))
        .collect();
    near.sort_by(|left, right| right.0.total_cmp(&left.0));
    let votes = |class: u8| {
        near[..NEIGHBOURS]
            .iter()
            .filter(|near| near.1 == class)
            .count()
    };
    (0..CLASSES)
        .max_by_key(|class| (votes(*class), std::cmp::Reverse(*class)))
        .unwrap()
}
