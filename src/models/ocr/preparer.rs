//! What is made of a picture before a worker sees it.

use super::layout::Layout;
use super::options::OcrOptions;
use crate::images::RgbImage;
use crate::models::ModelError;
use crate::pool::capabilities::text_to_text::GenerationParams;
use crate::pool::capabilities::vision::{VisionInput, VisionPreparer};

/// Scales pictures for the detector, and for cutting lines out of them.
#[derive(Debug, Clone, Copy)]
pub struct OcrPreparer {
    detector_side: u32,
}

impl OcrPreparer {
    /// For a reader with these options.
    pub fn new(options: OcrOptions) -> Self {
        Self {
            detector_side: options.detector_side,
        }
    }
}

impl VisionPreparer for OcrPreparer {
    fn prepare(
        &self,
        picture: RgbImage,
        query: String,
        _params: &GenerationParams,
    ) -> Result<VisionInput, ModelError> {
        let size = [picture.width(), picture.height()];
        let layout = Layout::new(size, self.detector_side);
        let framed = layout.frame(&picture)?;
        Ok(VisionInput {
            query,
            size,
            pictures: vec![layout.detector_pixels(&framed)?],
            picture: Some(framed),
            ..VisionInput::default()
        })
    }
}
