//! Candle models, one family a file, and the adapters that make them servable.

mod checkpoint;
mod decoder;
mod diffusion;
mod efficientnet;
mod encoder;
mod error;
pub(crate) mod fields;
pub(crate) mod files;
mod flux;
mod gguf;
mod guarded;
mod ocr;
mod onnx;
mod pth;
mod static_embedding;
mod stored;
mod tensors;
mod vision_language;

pub use decoder::{CacheFormat, DecoderFiles, DecoderOptions, DecoderWeights, TextDecoder};
pub use diffusion::{
    DiffusionFolder, DiffusionOptions, DiffusionPreparer, DiffusionWeights, LatentDiffusion,
};
pub use efficientnet::{EfficientNet, EfficientNetWeights};
pub use encoder::{EncoderFolder, EncoderPrecision, EncoderPreparer, EncoderWeights, TextEncoder};
pub use encoder::{ImageTower, TowerFolder, TowerPreparer, TowerWeights};
pub use error::ModelError;
pub use flux::{FluxFolder, FluxPainter, FluxPreparer, FluxWeights};
pub use gguf::{Gguf, GgufStrings, GgufTensor, GgufType};
#[cfg(feature = "testing")]
pub(crate) use ocr::parts as ocr_parts;
pub use ocr::{OcrFolder, OcrLook, OcrOptions, OcrPreparer, OcrReader, OcrWeights};
pub use onnx::{OnnxArray, OnnxModel};
pub use pth::Pth;
pub use static_embedding::{StaticEmbedder, StaticFolder, StaticPreparer, StaticWeights};
pub use stored::StoredWeights;
pub use vision_language::{
    BlipFiles, BlipModel, BlipPreparer, BlipWeights, VisionLanguageFiles, VisionLanguageModel,
    VisionLanguagePreparer, VisionLanguageWeights,
};
