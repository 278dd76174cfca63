//! Candle models, one family a file, and the adapters that make them servable.

mod error;

pub use error::ModelError;
