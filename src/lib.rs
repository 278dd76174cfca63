#![doc = include_str!("../README.md")]

pub mod model;
pub mod models;
pub mod pool;
pub mod sources;
#[cfg(feature = "testing")]
pub mod testing;

pub use model::{CandleModel, ModelInfo, ModelSpec};
pub use models::ModelError;
pub use pool::capabilities::text_embedding::{
    EmbedOptions, EmbedTask, Embedding, TextEmbedding, TextEmbeddingCapable,
};
pub use pool::core::{
    ModelHandle, Pool, PoolConfig, PoolError, PoolEvent, PoolStatus, Priority, RequestOptions,
};
