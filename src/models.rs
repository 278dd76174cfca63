//! Candle models, one family a file, and the adapters that make them servable.

mod checkpoint;
mod decoder;
mod encoder;
mod error;
pub(crate) mod fields;
pub(crate) mod files;
mod gguf;
mod guarded;
mod onnx;
mod static_embedding;
mod stored;

pub use decoder::{CacheFormat, DecoderFiles, DecoderOptions, DecoderWeights, TextDecoder};
pub use encoder::{EncoderFolder, EncoderPreparer, EncoderWeights, TextEncoder};
pub use error::ModelError;
pub use gguf::{Gguf, GgufStrings, GgufTensor, GgufType};
pub use onnx::{OnnxArray, OnnxModel};
pub use static_embedding::{StaticEmbedder, StaticFolder, StaticPreparer, StaticWeights};
pub use stored::StoredWeights;
