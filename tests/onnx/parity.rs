//! The real detector and recogniser give what onnxruntime gives (`scripts/reference/onnx.py`).

use modelpool::models::{OnnxArray, OnnxModel};
use safetensors::SafeTensors;

use crate::real_models::tiny_ocr;

/// The largest difference of a probability.
const TOLERANCE: f32 = 1e-4;

fn open(name: &str) -> OnnxModel {
    OnnxModel::open(tiny_ocr().join(name)).expect("the real model is read")
}

fn run(model: &OnnxModel, input: OnnxArray) -> OnnxArray {
    let mut outputs = model.run(&[input]).expect("the graph runs");
    outputs.pop().expect("an output")
}

fn reference() -> Vec<u8> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/onnx/reference.safetensors"
    );
    std::fs::read(path).expect("the reference values")
}

fn floats(file: &[u8], name: &str) -> (Vec<usize>, Vec<f32>) {
    let tensors = SafeTensors::deserialize(file).expect("safetensors");
    let tensor = tensors.tensor(name).expect("a reference tensor");
    let (words, _) = tensor.data().as_chunks::<4>();
    let values = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
    (tensor.shape().to_vec(), values)
}

fn pattern(shape: [usize; 4]) -> OnnxArray {
    let count: usize = shape.iter().product();
    let value = |index: usize| (index * 7919 % 1000) as f32 / 512.0 - 1.0;
    OnnxArray::new(shape.to_vec(), (0..count).map(value).collect()).expect("a full array")
}

/// The first columns of each row, as many as the reference has.
fn assert_close(found: &OnnxArray, (shape, values): (Vec<usize>, Vec<f32>)) {
    let (found_row, row) = (
        found.shape()[found.shape().len() - 1],
        shape[shape.len() - 1],
    );
    assert_eq!(found.values().len() / found_row, values.len() / row);
    let pairs = found.values().chunks(found_row).zip(values.chunks(row));
    let largest = pairs
        .flat_map(|(found, wanted)| found.iter().zip(wanted))
        .map(|(found, wanted)| (found - wanted).abs())
        .fold(0.0, f32::max);
    assert!(largest <= TOLERANCE, "differs by {largest}");
}

#[test]
fn the_detector_is_as_in_onnxruntime() {
    let found = run(&open("PP-OCRv6_det_tiny.onnx"), pattern([1, 3, 64, 96]));
    assert_eq!(found.shape(), [1, 1, 64, 96]);
    assert_close(&found, floats(&reference(), "detector"));
}

#[test]
fn the_recogniser_is_as_in_onnxruntime_and_a_batch_is_as_its_members() {
    let model = open("PP-OCRv6_rec_tiny.onnx");
    let both = pattern([2, 3, 48, 96]);
    let found = run(&model, both.clone());
    assert_close(&found, floats(&reference(), "noise"));
    let half = both.values().len() / 2;
    let second = OnnxArray::new(vec![1, 3, 48, 96], both.values()[half..].to_vec());
    let alone = run(&model, second.expect("a full array"));
    let together = &found.values()[found.values().len() / 2..];
    assert_eq!(alone.values(), together);
}

#[test]
fn a_rendered_line_is_read_exactly() {
    let model = open("PP-OCRv6_rec_tiny.onnx");
    let file = reference();
    let tensors = SafeTensors::deserialize(&file).expect("safetensors");
    let line = tensors.tensor("line").expect("the line");
    let grey = line
        .data()
        .iter()
        .map(|&grey| f32::from(grey) / 127.5 - 1.0);
    let plane: Vec<f32> = grey.collect();
    let shape = vec![1, 3, line.shape()[0], line.shape()[1]];
    let input = OnnxArray::new(shape, plane.repeat(3)).expect("a full array");
    let found = run(&model, input);
    assert_close(&found, floats(&file, "recogniser"));

    let characters = model.metadata("character").expect("the characters");
    let characters: Vec<&str> = characters.lines().chain([" "]).collect();
    let likeliest = |row: &[f32]| {
        let pairs = row.iter().enumerate();
        pairs
            .max_by(|(_, one), (_, other)| one.total_cmp(other))
            .map(|(index, _)| index)
    };
    let mut best: Vec<usize> = found
        .values()
        .chunks(found.shape()[2])
        .filter_map(likeliest)
        .collect();
    best.dedup();
    let read: String = best
        .iter()
        .filter(|index| **index > 0)
        .map(|index| characters[index - 1])
        .collect();
    assert_eq!(read, "Pack my box with 42 jugs, please.");
}
