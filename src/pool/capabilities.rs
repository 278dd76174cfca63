//! What models can be asked.

pub mod image_embedding;
pub mod text_embedding;
pub mod text_to_text;
