//! What models can be asked.

pub mod text_embedding;
