//! Decoders: Llama and its relatives, from a GGUF file or from a folder of the hub.
//!
//! One code path serves all families. What sets them apart (where norms stand, how positions enter,
//! which layers see how far, which numbers are scaled or capped, how tensors are called) is data,
//! read from the file's header. Weights stay as the file has them, quantised or not, and are shared;
//! keys and values lie in blocks of a worker's own cache.
//!
//! ```no_run
//! use std::sync::Arc;
//! use modelpool::model::ModelInfo;
//! use modelpool::models::{DecoderFiles, DecoderOptions, ModelError, TextDecoder};
//! # fn main() -> Result<(), ModelError> {
//! let files = DecoderFiles::open("models/SmolLM2-135M-Instruct.Q8_0.gguf")?; // the header only
//! let options = DecoderOptions::default().context_tokens(2048);
//! let bytes = files.estimated_bytes(&options)?; // exact, before anything is loaded
//! let weights = Arc::new(files.load()?); // once, shared by all workers
//! let info = ModelInfo::new("smollm2", bytes >> 20);
//! let decoder = TextDecoder::new(info, weights, &options)?;
//! # Ok(())
//! # }
//! ```

mod attention;
mod cache;
mod description;
mod families;
mod files;
mod forward;
mod gguf;
mod names;
mod options;
mod rope;
mod store;
mod text_decoder;
mod weights;

pub use cache::CacheFormat;
pub(super) use families::MOONDREAM;
pub use files::{DecoderFiles, DecoderWeights};
pub use options::DecoderOptions;
pub(super) use store::is_finite;
pub use text_decoder::TextDecoder;
