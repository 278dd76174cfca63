//! What may be chosen when a pipeline is opened.

/// What may be chosen when a pipeline is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiffusionOptions {
    /// The most pixels of a picture: what a worker takes in memory grows with them. Default: four times
    /// those of the size that the model was trained on.
    pub max_pixels: Option<usize>,
}

impl DiffusionOptions {
    /// Allows pictures of so many pixels.
    #[must_use]
    pub fn max_pixels(mut self, pixels: usize) -> Self {
        self.max_pixels = Some(pixels);
        self
    }
}
