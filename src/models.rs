//! Candle models, one family a file, and the adapters that make them servable.

mod encoder;
mod error;

pub use encoder::{EncoderFolder, EncoderPreparer, EncoderWeights, TextEncoder};
pub use error::ModelError;
