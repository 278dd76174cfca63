//! Boxes, cuts and text are RapidOCR's (`scripts/reference/ocr.py`).

use std::collections::BTreeMap;

use modelpool::TextLine;
use modelpool::images::{ImageSource, RgbImage};
use modelpool::testing::ocr;
use serde_json::Value;

use crate::{lines, path, picture, reader};

/// How far a corner may be from the reference's, in pixels of the picture as the detector sees it.
const CORNER_TOLERANCE: f32 = 2.0;
/// How far a confidence may be from the reference's.
const CONFIDENCE_TOLERANCE: f32 = 0.01;
/// The detector's longer side.
const DETECTOR_SIDE: f32 = 960.0;

const PICTURES: [&str; 8] = [
    "rendered",
    "columns",
    "tilted",
    "downwards",
    "strip",
    "large",
    "page",
    "empty",
];

fn reference() -> BTreeMap<String, Value> {
    let file = std::fs::read(path("reference.json")).unwrap();
    serde_json::from_slice(&file).unwrap()
}

fn reference_lines(name: &str) -> Vec<TextLine> {
    serde_json::from_value(reference()[name].clone()).unwrap()
}

fn largest_difference(found: &RgbImage, wanted: &RgbImage) -> u8 {
    let size = |picture: &RgbImage| (picture.width(), picture.height());
    assert_eq!(size(found), size(wanted));
    let pairs = found.pixels().iter().zip(wanted.pixels());
    pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_is_what_rapidocr_reads() {
    let (universe, reader) = reader(2).await;
    for name in PICTURES {
        let file = path(&format!("{name}.png"));
        let image = picture(&format!("{name}.png"));
        let found = lines(&reader, ImageSource::path(file)).await.unwrap();
        let mut wanted = reference_lines(name);
        if name == "downwards" {
            // Its corners are told as one reads it.
            wanted
                .iter_mut()
                .for_each(|line| line.corners.rotate_left(1));
        }
        let texts = |lines: &[TextLine]| -> Vec<String> {
            lines.iter().map(|line| line.text.clone()).collect()
        };
        assert_eq!(texts(&found), texts(&wanted), "{name}");
        let scale = image.width().max(image.height()) as f32 / DETECTOR_SIDE;
        for (line, wanted) in found.iter().zip(&wanted) {
            let text = &line.text;
            let confidence = (line.confidence - wanted.confidence).abs();
            assert!(confidence <= CONFIDENCE_TOLERANCE, "{text}: {confidence}");
            let corners = line.corners.as_flattened().iter();
            let far = corners
                .zip(wanted.corners.as_flattened())
                .map(|(found, wanted)| (found - wanted).abs())
                .fold(0.0, f32::max);
            assert!(far <= CORNER_TOLERANCE * scale.max(1.0), "{text}: {far}");
        }
    }
    universe.close().await;
}

#[test]
fn pictures_are_scaled_as_the_models_expect_it() {
    let wanted = picture("tilted.detector.png");
    let found = ocr::scale(&picture("tilted.png"), wanted.width(), wanted.height());
    // In fixed point, but for the last bit of a weight.
    assert!(largest_difference(&found.unwrap(), &wanted) <= 1);
}

#[test]
fn a_line_is_cut_out_as_the_models_expect_it() {
    let corners = serde_json::from_value(reference()["cut"].clone()).unwrap();
    let found = ocr::cut(&picture("tilted.png"), &corners).unwrap();
    // Their places between pixels are rounded, ours are not all rounded alike.
    assert!(largest_difference(&found, &picture("tilted.cut.png")) <= 16);
}
