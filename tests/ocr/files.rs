//! Folders that are none, and what is said of those that are.

use std::fs;
use std::path::{Path, PathBuf};

use modelpool::models::{OcrFolder, OcrOptions};
use modelpool::{ModelError, ModelSpec, Vision};

use crate::real_models::tiny_ocr;

const DETECTOR: &str = "PP-OCRv6_det_tiny.onnx";
const RECOGNISER: &str = "PP-OCRv6_rec_tiny.onnx";

/// A folder for one test, empty at first.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ocr-{name}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn put(folder: &Path, from: &str, to: &str) {
    fs::copy(tiny_ocr().join(from), folder.join(to)).unwrap();
}

fn open(path: &Path) -> Result<OcrFolder, ModelError> {
    OcrFolder::open(path, OcrOptions::default())
}

/// The recogniser without its characters.
fn mute_recogniser() -> Vec<u8> {
    let mut bytes = fs::read(tiny_ocr().join(RECOGNISER)).unwrap();
    let key = b"\x0a\x09character";
    let place = bytes.windows(key.len()).position(|part| part == key);
    bytes[place.expect("its key") + 2] = b'k';
    bytes
}

fn characters() -> String {
    let model = modelpool::models::OnnxModel::open(tiny_ocr().join(RECOGNISER)).unwrap();
    model.metadata("character").unwrap().to_owned()
}

#[test]
fn what_is_missing_or_there_twice_is_named() {
    let path = folder("missing");
    let missing = |path: &Path| match open(path).unwrap_err() {
        ModelError::MissingFile { path } => path.file_name().unwrap().to_owned(),
        other => panic!("{other}"),
    };
    assert_eq!(missing(&path), "*det*.onnx");
    put(&path, DETECTOR, "det.onnx");
    assert_eq!(missing(&path), "*rec*.onnx");
    put(&path, RECOGNISER, "rec.onnx");
    open(&path).unwrap();
    put(&path, RECOGNISER, "other-rec.onnx");
    let error = open(&path).unwrap_err();
    assert!(matches!(error, ModelError::InvalidConfig { .. }), "{error}");
    assert!(matches!(
        open(&path.join("det.onnx")),
        Err(ModelError::WrongFileKind { .. })
    ));
    assert!(matches!(
        ModelSpec::<Vision>::ocr_folder(path.join("nothing")),
        Err(ModelError::MissingFile { .. })
    ));
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let options = OcrOptions::default();
    for (options, wrong) in [
        (options.detector_side(31), "detector_side"),
        (options.detector_side(2881), "detector_side"),
        (options.min_confidence(1.1), "min_confidence"),
        (options.min_confidence(f32::NAN), "min_confidence"),
    ] {
        let error = OcrFolder::open(tiny_ocr(), options).unwrap_err();
        assert!(
            matches!(&error, ModelError::InvalidConfig { field, .. } if field == wrong),
            "{error}"
        );
    }
}

#[test]
fn characters_may_lie_beside_the_recogniser() {
    let path = folder("beside");
    put(&path, DETECTOR, "det.onnx");
    fs::write(path.join("rec.onnx"), mute_recogniser()).unwrap();
    let error = open(&path).unwrap().load().unwrap_err();
    assert!(
        matches!(&error, ModelError::InvalidConfig { field, .. } if field == "character"),
        "{error}"
    );
    fs::write(path.join("keys.txt"), characters()).unwrap();
    open(&path).unwrap().load().unwrap();
    // One too few, far too many, and no text at all.
    let (fewer, _) =
        characters()
            .rsplit_once('\n')
            .map_or_else(Default::default, |(start, end)| {
                (
                    start.rsplit_once('\n').unwrap().0.to_owned(),
                    end.to_owned(),
                )
            });
    fs::write(path.join("keys.txt"), fewer).unwrap();
    let error = open(&path).unwrap().load().unwrap_err();
    assert!(
        error.to_string().contains("the recogniser's output"),
        "{error}"
    );
    fs::write(path.join("keys.txt"), "a\n".repeat(1 << 17)).unwrap();
    let error = open(&path).unwrap().load().unwrap_err();
    assert!(error.to_string().contains("too many"), "{error}");
    fs::write(path.join("keys.txt"), [0xff, 0xfe]).unwrap();
    let error = open(&path).unwrap().load().unwrap_err();
    assert!(matches!(error, ModelError::Corrupt { .. }), "{error}");
}

#[test]
fn files_that_are_damaged_or_mistaken_are_found_when_they_are_loaded() {
    let path = folder("mistaken");
    put(&path, RECOGNISER, "det.onnx");
    put(&path, DETECTOR, "rec.onnx");
    assert!(open(&path).unwrap().load().is_err());
    put(&path, RECOGNISER, "rec.onnx");
    let error = open(&path).unwrap().load().unwrap_err();
    assert!(matches!(error, ModelError::Corrupt { .. }), "{error}");
    let whole = fs::read(tiny_ocr().join(DETECTOR)).unwrap();
    fs::write(path.join("det.onnx"), &whole[..whole.len() / 2]).unwrap();
    assert!(open(&path).unwrap().load().is_err());
}

#[test]
fn the_memory_that_it_takes_is_told_before_it_is_loaded() {
    let spec = ModelSpec::<Vision>::ocr_folder(tiny_ocr()).unwrap();
    let info = spec.info();
    assert_eq!(info.name, "PP-OCRv6-tiny");
    let stored: u64 = [DETECTOR, RECOGNISER]
        .map(|name| fs::metadata(tiny_ocr().join(name)).unwrap().len())
        .iter()
        .sum();
    assert_eq!(info.shared_weights_bytes, 4 * stored);
    let larger = OcrOptions::default().detector_side(1920);
    let larger = ModelSpec::<Vision>::ocr_folder_with(tiny_ocr(), larger).unwrap();
    assert!(larger.info().est_memory_allocation_mb > 2 * info.est_memory_allocation_mb);
}
