//! Small random models, and what transformers makes of pictures with them
//! (`scripts/reference/vision_language.py`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use modelpool::images::{PixelTensor, RgbImage};
use modelpool::model::ModelInfo;
use modelpool::models::{
    BlipFiles, BlipModel, CacheFormat, DecoderOptions, VisionLanguageFiles, VisionLanguageModel,
};
use safetensors::SafeTensors;

/// Those whose pictures have a token of their own in a chat template's text.
pub const FAMILIES: [&str; 2] = ["llava", "qwen2_5_vl"];

/// Those whose pictures stand among the tokens.
pub const PLACED: [&str; 3] = ["llava", "moondream", "qwen2_5_vl"];

/// With those whose pictures stand beside the text.
pub const ALL: [&str; 5] = ["blip", "blip_vqa", "llava", "moondream", "qwen2_5_vl"];

/// A model's folder.
pub fn data(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/vision_language")
        .join(family)
}

/// Options for small models with exact caches.
pub fn exact() -> DecoderOptions {
    DecoderOptions::default()
        .cache_format(CacheFormat::F32)
        .context_tokens(256)
        .cache_tokens(512)
}

/// The same, for as many positions as the family's model has.
pub fn options(family: &str) -> DecoderOptions {
    match family.starts_with("blip") {
        true => exact().context_tokens(64),
        false => exact(),
    }
}

/// What was asked about each picture.
pub fn queries() -> Vec<String> {
    let text = std::fs::read_to_string(data("queries.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A model, loaded.
pub fn load(family: &str) -> VisionLanguageModel {
    load_from(&data(family))
}

/// The model in a folder, loaded.
pub fn load_from(folder: &Path) -> VisionLanguageModel {
    let files = VisionLanguageFiles::open(folder).unwrap();
    let weights = files.load().unwrap();
    assert_eq!(
        weights.bytes(),
        files.weight_bytes(),
        "the estimate is exact"
    );
    let info = ModelInfo::new("model", weights.bytes() >> 20);
    VisionLanguageModel::new(info, Arc::new(weights), &exact()).unwrap()
}

/// Reference values of one family.
pub struct Reference(Vec<u8>);

impl Reference {
    pub fn of(family: &str) -> Self {
        Self(std::fs::read(data(family).join("reference.safetensors")).unwrap())
    }

    fn words(&self, name: &str) -> Vec<[u8; 4]> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        tensors.tensor(name).unwrap().data().as_chunks().0.to_vec()
    }

    pub fn floats(&self, name: &str) -> Vec<f32> {
        self.words(name)
            .into_iter()
            .map(f32::from_le_bytes)
            .collect()
    }

    pub fn numbers(&self, name: &str) -> Vec<u32> {
        self.words(name)
            .into_iter()
            .map(u32::from_le_bytes)
            .collect()
    }

    pub fn picture(&self, number: usize) -> RgbImage {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors.tensor(&format!("{number}.picture")).unwrap();
        let [height, width, 3] = *tensor.shape() else {
            panic!("a picture of shape {:?}", tensor.shape());
        };
        RgbImage::new(width as u32, height as u32, tensor.data().to_vec()).unwrap()
    }
}

/// A BLIP model, loaded.
pub fn load_blip(family: &str) -> BlipModel {
    let files = BlipFiles::open(data(family)).unwrap();
    let weights = files.load().unwrap();
    assert_eq!(
        weights.bytes(),
        files.weight_bytes(),
        "the estimate is exact"
    );
    let info = ModelInfo::new(family, weights.bytes() >> 20);
    BlipModel::new(info, Arc::new(weights), &options(family)).unwrap()
}

/// A prepared picture, as the family's processor gives it.
pub fn pixels(family: &str, picture: &RgbImage) -> PixelTensor {
    let files = VisionLanguageFiles::open(data(family)).unwrap();
    files.preprocessor().run(picture).unwrap()
}

/// The largest difference.
pub fn difference(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    let differences = left.iter().zip(right).map(|(a, b)| (a - b).abs());
    // Not `f32::max`, which would hide a NaN.
    differences.fold(0.0, |worst, next| if next <= worst { worst } else { next })
}
