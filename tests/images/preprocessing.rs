//! Pictures as models take them, beside transformers' processors on Pillow.

use std::path::{Path, PathBuf};

use modelpool::ModelError;
use modelpool::images::{ImageError, ImagePreprocessor, PixelTensor, RgbImage};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

/// Of values that are about 1. Nothing differs where this was written; another processor's division might.
const TOLERANCE: f32 = 1e-6;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/images")
        .join(name)
}

fn pictures() -> Vec<RgbImage> {
    let file = std::fs::read(data("pictures.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    (0..tensors.len())
        .map(|index| {
            let tensor = tensors.tensor(&index.to_string()).unwrap();
            let [height, width, 3] = *tensor.shape() else {
                panic!("a picture of shape {:?}", tensor.shape());
            };
            RgbImage::new(width as u32, height as u32, tensor.data().to_vec()).unwrap()
        })
        .collect()
}

fn values(tensor: &TensorView<'_>) -> Vec<f32> {
    match tensor.dtype() {
        safetensors::Dtype::U8 => tensor.data().iter().copied().map(f32::from).collect(),
        _ => {
            let (words, _) = tensor.data().as_chunks();
            words.iter().copied().map(f32::from_le_bytes).collect()
        }
    }
}

/// Compares all pictures and says by how much they differ at most.
fn worst_difference(name: &str) -> f32 {
    let preprocessor = ImagePreprocessor::from_folder(data(name)).unwrap();
    let file = std::fs::read(data(name).join("pixels.safetensors")).unwrap();
    let reference = SafeTensors::deserialize(&file).unwrap();
    let pictures = pictures();
    assert_eq!(reference.len(), pictures.len());
    let mut worst = 0.0_f32;
    for (index, picture) in pictures.iter().enumerate() {
        let wanted = reference.tensor(&index.to_string()).unwrap();
        let made = preprocessor.run(picture).unwrap();
        assert_eq!(
            made.shape().as_slice(),
            wanted.shape(),
            "{name} {picture:?}"
        );
        for (a, b) in made.values().iter().zip(values(&wanted)) {
            assert!(a.is_finite());
            worst = worst.max((a - b).abs());
        }
    }
    worst
}

#[test]
fn scaling_is_pillows_to_the_bit() {
    for number in 0..6 {
        assert_eq!(
            worst_difference(&format!("filter-{number}")),
            0.0,
            "filter {number}"
        );
    }
}

#[test]
fn pictures_are_prepared_as_in_transformers() {
    for name in [
        "clip",
        "clip-padded",
        "siglip",
        "vit",
        "dinov2",
        "blip",
        "efficientnet",
        "efficientnet-offset",
        "llava",
        "qwen2-vl",
        "old-clip",
        "old-vit",
    ] {
        let worst = worst_difference(name);
        assert!(worst <= TOLERANCE, "{name}: {worst}");
    }
}

fn config(fields: &str) -> Result<ImagePreprocessor, ModelError> {
    let fields = fields.trim();
    let comma = if fields.is_empty() { "" } else { ", " };
    ImagePreprocessor::from_json(&format!(
        r#"{{"image_processor_type": "CLIPImageProcessor"{comma}{fields}}}"#
    ))
}

#[test]
fn what_a_file_leaves_out_is_as_in_transformers() {
    let short = config("").unwrap();
    let full = config(
        r#""do_resize": true, "size": {"shortest_edge": 224}, "resample": 3, "do_center_crop": true,
           "crop_size": [224, 224], "do_rescale": true, "rescale_factor": 0.00392156862745098,
           "do_normalize": true, "image_mean": [0.48145466, 0.4578275, 0.40821073],
           "image_std": [0.26862954, 0.26130258, 0.27577711], "do_pad": false, "unknown": [1]"#,
    );
    assert_eq!(full.unwrap(), short);
}

#[test]
fn each_step_can_be_left_out() {
    let picture = RgbImage::new(2, 1, vec![255, 0, 51, 0, 102, 255]).unwrap();
    let nothing = r#""do_resize": false, "do_center_crop": false, "do_rescale": false, "do_normalize": false"#;
    let tensor = config(nothing).unwrap().run(&picture).unwrap();
    assert_eq!(tensor.shape(), [3, 1, 2]);
    assert_eq!(tensor.values(), [255.0, 0.0, 0.0, 102.0, 51.0, 255.0]);
    let cropped = nothing.replacen("_crop\": false", "_crop\": true, \"crop_size\": 1", 1);
    let tensor = config(&cropped).unwrap().run(&picture).unwrap();
    assert_eq!(tensor.into_values(), [255.0, 0.0, 51.0]);
}

#[test]
fn fields_that_cannot_be_are_told() {
    for (field, fields) in [
        ("size", r#""size": 0"#),
        ("size", r#""size": -1"#),
        ("size", r#""size": 1.5"#),
        ("size", r#""size": "large""#),
        ("size", r#""size": [1, 2, 3]"#),
        ("size", r#""size": {"shortest_edge": 5000}"#),
        ("size", r#""size": {"height": 16777216, "width": 2}"#),
        ("size", r#""size": {"shortest_edge": 2, "longest_edge": 4}"#),
        ("width", r#""size": {"height": 2}"#),
        ("height", r#""size": {"height": 0, "width": 2}"#),
        (
            "crop_size",
            r#""crop_size": {"height": 16777216, "width": 16777216}"#,
        ),
        ("crop_size", r#""crop_size": 99999999999"#),
        ("resample", r#""resample": 6"#),
        ("resample", r#""resample": "bicubic""#),
        ("do_resize", r#""do_resize": 1"#),
        ("do_pad", r#""do_pad": true"#),
        ("do_flip_channel_order", r#""do_flip_channel_order": true"#),
        ("rescale_factor", r#""rescale_factor": "1""#),
        ("image_mean", r#""image_mean": [0.5, 0.5]"#),
        ("image_mean", r#""image_mean": [0.5, 0.5, null]"#),
        ("image_mean", r#""image_mean": 1e300"#),
        ("image_std", r#""image_std": [0.5, 0, 0.5]"#),
        ("image_std", r#""image_std": 1e-300"#),
        ("image_std", r#""rescale_factor": 1e300"#),
        ("image_std", r#""image_std": 1e-40"#),
    ] {
        match config(fields) {
            Err(ModelError::InvalidConfig { field: found, .. }) => {
                assert_eq!(found, field, "{fields}");
            }
            other => panic!("{fields}: {other:?}"),
        }
    }
}

#[test]
fn other_processors_and_other_files_are_told() {
    for text in [
        "{}",
        "[]",
        "null",
        r#"{"image_processor_type": "CLIP"}"#,
        r#"{"image_processor_type": "ImageProcessor"}"#,
        r#"{"image_processor_type": "Idefics3ImageProcessor"}"#,
    ] {
        let error = ImagePreprocessor::from_json(text).unwrap_err();
        assert!(
            matches!(error, ModelError::UnsupportedArchitecture { .. }),
            "{text}: {error:?}"
        );
    }
    let error = ImagePreprocessor::from_json("{").unwrap_err();
    assert!(matches!(error, ModelError::Corrupt { .. }), "{error:?}");
    let error = ImagePreprocessor::from_json(r#"{"image_processor_type": 7}"#).unwrap_err();
    assert!(
        matches!(error, ModelError::InvalidConfig { .. }),
        "{error:?}"
    );
    let error = ImagePreprocessor::from_folder(data("nowhere")).unwrap_err();
    assert!(matches!(error, ModelError::MissingFile { .. }), "{error:?}");
}

#[test]
fn a_strip_that_would_be_scaled_to_a_giant_is_refused() {
    let preprocessor = config(r#""crop_size": 4"#).unwrap();
    let strip = |width| RgbImage::new(width, 1, vec![7; width as usize * 3]).unwrap();
    // 224 * 224 * 334 are just below 16 Mi.
    assert_eq!(preprocessor.run(&strip(334)).unwrap().shape(), [3, 4, 4]);
    assert!(matches!(
        preprocessor.run(&strip(335)),
        Err(ImageError::TooLarge {
            width: 335,
            height: 1,
            limit: 16_777_216,
            ..
        })
    ));
}

#[test]
fn sizes_in_units_that_cannot_be_are_told() {
    let config = |fields: &str| {
        ImagePreprocessor::from_json(&format!(
            r#"{{"image_processor_type": "Qwen2VLImageProcessor", {fields}}}"#
        ))
    };
    for (field, fields) in [
        ("patch_size", r#""patch_size": 0"#),
        (
            "patch_size",
            r#""patch_size": 16777216, "merge_size": 16777216"#,
        ),
        ("min_pixels", r#""min_pixels": -3"#),
        ("max_pixels", r#""max_pixels": 99999999999"#),
        ("max_pixels", r#""min_pixels": 5000, "max_pixels": 4999"#),
        ("max_pixels", r#""min_pixels": 1, "max_pixels": 783"#),
        ("longest_edge", r#""size": {"longest_edge": "large"}"#),
        ("do_pad", r#""do_pad": true"#),
    ] {
        match config(fields) {
            Err(ModelError::InvalidConfig { field: found, .. }) => {
                assert_eq!(found, field, "{fields}");
            }
            other => panic!("{fields}: {other:?}"),
        }
    }
    let strip = |width| RgbImage::new(width, 1, vec![7; width as usize * 3]).unwrap();
    let preprocessor = config(r#""min_pixels": 784, "max_pixels": 1254400"#).unwrap();
    assert!(preprocessor.run(&strip(200)).is_ok());
    assert!(matches!(
        preprocessor.run(&strip(201)),
        Err(ImageError::TooLarge { limit: 200, .. })
    ));
}

#[test]
fn a_strip_that_would_be_a_giant_square_is_refused() {
    let text = r#"{"image_processor_type": "LlavaImageProcessor", "do_pad": true, "crop_size": 4,
                   "size": {"shortest_edge": 4}}"#;
    let preprocessor = ImagePreprocessor::from_json(text).unwrap();
    let strip = |width| RgbImage::new(width, 1, vec![7; width as usize * 3]).unwrap();
    assert_eq!(preprocessor.run(&strip(4096)).unwrap().shape(), [3, 4, 4]);
    assert!(matches!(
        preprocessor.run(&strip(4097)),
        Err(ImageError::TooLarge { width: 4097, .. })
    ));
}

#[test]
fn a_picture_that_is_a_giant_between_two_scalings_is_refused() {
    let wide =
        config(r#""size": {"height": 1, "width": 16777216}, "do_center_crop": false"#).unwrap();
    let column = RgbImage::new(1, 2, vec![7; 6]).unwrap();
    assert!(matches!(
        wide.run(&column),
        Err(ImageError::TooLarge {
            width: 1,
            height: 2,
            ..
        })
    ));
}

#[test]
fn a_tensor_is_as_long_as_its_shape_says() {
    let tensor = PixelTensor::new([3, 1, 2], vec![0.5; 6]).unwrap();
    let text = serde_json::to_string(&tensor).unwrap();
    assert_eq!(serde_json::from_str::<PixelTensor>(&text).unwrap(), tensor);
    for (shape, len) in [
        ([3, 1, 2], 5),
        ([1, 1, 2], 2),
        ([3, 0, 2], 0),
        ([3, usize::MAX, 2], 6),
    ] {
        let error = PixelTensor::new(shape, vec![0.0; len]).unwrap_err();
        assert!(matches!(error, ModelError::WrongShape { .. }), "{shape:?}");
        let text = serde_json::json!({"shape": shape, "values": vec![0.0; len]}).to_string();
        assert!(serde_json::from_str::<PixelTensor>(&text).is_err());
    }
}
