//! FLUX (Black Forest Labs 2024): a transformer over text and picture together, trained by flow matching.
//!
//! Prompts are read by two encoders: CLIP gives one vector of the whole, T5 one for each token. The
//! pipeline's folder is as diffusers saves it; the transformer may come from a GGUF file instead.

mod blocks;
mod config;
mod embedding;
mod folder;
mod gguf;
mod joint;
mod modulation;
mod painter;
mod preparer;
mod rotary;
mod transformer;

pub use folder::{FluxFolder, FluxWeights};
pub use painter::FluxPainter;
pub use preparer::FluxPreparer;
