//! Text encoders: BERT and its relatives, from a sentence-transformers folder as it is on disk.
//!
//! One code path serves all families. What sets them apart (where norms stand, how positions
//! enter, which tokens see which, whether the feed-forward network has a gate, how tensors are
//! called) is data, read from `config.json`; what follows the transformer (pooling, dense layers,
//! normalisation) is data from `modules.json`.
//!
//! The same network runs the [towers](ImageTower) of models that see, and those that read beside them: its
//! rows are patches of pictures, or the tokens of their captions.
//!
//! Nothing is padded: all tokens of a step are the rows of one matrix, so a step costs what its
//! tokens cost, whatever their texts' lengths and order.
//!
//! ```no_run
//! use std::sync::Arc;
//! use modelpool::model::ModelInfo;
//! use modelpool::models::{EncoderFolder, ModelError, TextEncoder};
//! # fn main() -> Result<(), ModelError> {
//! let folder = EncoderFolder::open("models/all-MiniLM-L6-v2")?; // headers and small files only
//! let preparer = folder.preparer()?; // the tokenizer, for the caller's side
//! let weights = Arc::new(folder.load()?); // once, shared by all workers
//! let info = ModelInfo::new("minilm", folder.estimated_bytes() >> 20);
//! let encoder = TextEncoder::new(info, weights);
//! # Ok(())
//! # }
//! ```

mod attention;
mod builder;
mod description;
mod families;
mod folder;
mod footprint;
mod forward;
mod head;
mod modules;
mod names;
mod precision;
mod preparer;
mod source;
mod tables;
mod text_encoder;
mod tower;
mod truncation;
mod weights;

pub use folder::{EncoderFolder, EncoderWeights};
pub use precision::EncoderPrecision;
pub use preparer::EncoderPreparer;
pub use text_encoder::TextEncoder;
pub use tower::{ImageTower, TowerFolder, TowerPreparer, TowerWeights};
