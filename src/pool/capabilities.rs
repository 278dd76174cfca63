//! What models can be asked.

mod first_item;
pub mod image_embedding;
mod refusal;
pub mod text_embedding;
pub mod text_to_image;
pub mod text_to_text;
pub mod vision;
