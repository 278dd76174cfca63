//! What may be chosen when a pipeline is opened.

use std::path::PathBuf;

/// What may be chosen when a pipeline is opened.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct DiffusionOptions {
    /// The most pixels of a picture: what a worker takes in memory grows with them. Default: half
    /// as many again as the size that the model was trained on has.
    pub max_pixels: Option<usize>,
    /// Low-rank adapters (LoRA) in safetensors files, each with its strength: they are merged into the
    /// weights of the network and of the text encoders when these are loaded. Default: none.
    pub adapters: Vec<(PathBuf, f32)>,
}

impl DiffusionOptions {
    /// Allows pictures of so many pixels.
    #[must_use]
    pub fn max_pixels(mut self, pixels: usize) -> Self {
        self.max_pixels = Some(pixels);
        self
    }

    /// Merges a low-rank adapter (LoRA) as diffusers, PEFT or kohya's scripts save it; 1 is the strength
    /// that it was trained with.
    #[must_use]
    pub fn adapter(mut self, path: impl Into<PathBuf>, strength: f32) -> Self {
        self.adapters.push((path.into(), strength));
        self
    }
}
