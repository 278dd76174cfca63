//! Candle models, one family a file, and the adapters that make them servable.

mod encoder;
mod error;
mod static_embedding;

pub use encoder::{EncoderFolder, EncoderPreparer, EncoderWeights, TextEncoder};
pub use error::ModelError;
pub use static_embedding::{StaticEmbedder, StaticFolder, StaticPreparer, StaticWeights};
