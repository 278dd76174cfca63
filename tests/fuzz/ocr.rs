//! What is made of a detector's probabilities, and of pictures before it sees them.

use modelpool::images::RgbImage;
use modelpool::models::{OcrOptions, OcrPreparer};
use modelpool::testing::ocr::{cut, lines, reading_order, recogniser_pixels};
use modelpool::{GenerationParams, VisionPreparer};

/// A map of as many columns and rows as the first two bytes say, for a picture of as many as the next two
/// say, one byte a place; what is missing is 0.
pub fn text_lines(bytes: &[u8]) {
    let [columns, rows, width, height, places @ ..] = bytes else {
        return;
    };
    let [columns, rows] = [columns, rows].map(|&side| usize::from(side));
    let [width, height] = [width, height].map(|&side| u32::from(side).max(1));
    let probability = |byte: &u8| match byte {
        255 => f32::NAN,
        254 => f32::INFINITY,
        253 => f32::NEG_INFINITY,
        252 => f32::MAX,
        byte => f32::from(*byte) / 200.0,
    };
    let mut map: Vec<f32> = places.iter().map(probability).collect();
    map.resize(columns * rows, 0.0);
    let Some(lines) = lines(columns, rows, &map, [width, height]) else {
        return;
    };
    let mut order = reading_order(&lines);
    order.sort_unstable();
    assert!(order.into_iter().eq(0..lines.len()));

    let grey = vec![90; (width * height * 3) as usize];
    let picture = RgbImage::new(width, height, grey).expect("a full picture");
    for corners in &lines {
        for &[x, y] in corners {
            assert!((0.0..=width as f32 - 1.0).contains(&x));
            assert!((0.0..=height as f32 - 1.0).contains(&y));
        }
        let line = cut(&picture, corners).expect("a line can be cut out");
        let input = recogniser_pixels(&line).expect("a line can be scaled");
        assert!(input.values().iter().all(|value| value.is_finite()));
    }
    let preparer = OcrPreparer::new(OcrOptions::default().detector_side(64));
    let input = preparer.prepare(picture, String::new(), &GenerationParams::default());
    let input = input.expect("any picture can be prepared");
    let [_, rows, columns] = input.pictures[0].shape();
    assert!([rows, columns].iter().all(|side| side.is_multiple_of(32)));
}
