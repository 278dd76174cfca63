//! What can be chosen about reading.

use crate::models::ModelError;

/// What the detector's longer side may be.
const SIDES: std::ops::RangeInclusive<u32> = 32..=2880;

/// What lines are looked for, and which are told.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct OcrOptions {
    /// Pixels of the longer side of what the detector looks at, from 32 to 2880; larger pictures are
    /// scaled down to it. Small print on large pages needs more. Time and memory grow with its square.
    /// Default: 960.
    pub detector_side: u32,
    /// Lines of a lower confidence are left out. Default: 0.5.
    pub min_confidence: f32,
}

impl Default for OcrOptions {
    fn default() -> Self {
        Self {
            detector_side: 960,
            min_confidence: 0.5,
        }
    }
}

impl OcrOptions {
    /// Sets [`detector_side`](Self::detector_side).
    #[must_use]
    pub fn detector_side(mut self, pixels: u32) -> Self {
        self.detector_side = pixels;
        self
    }

    /// Sets [`min_confidence`](Self::min_confidence).
    #[must_use]
    pub fn min_confidence(mut self, confidence: f32) -> Self {
        self.min_confidence = confidence;
        self
    }

    pub(super) fn validate(&self) -> Result<(), ModelError> {
        let invalid = |field: &str, detail: String| {
            Err(ModelError::InvalidConfig {
                file: "OcrOptions".to_owned(),
                field: field.to_owned(),
                detail,
            })
        };
        if !SIDES.contains(&self.detector_side) {
            let detail = format!("is {}, allowed is 32 to 2880", self.detector_side);
            return invalid("detector_side", detail);
        }
        if !(0.0..=1.0).contains(&self.min_confidence) {
            let detail = format!("is {}, allowed is 0 to 1", self.min_confidence);
            return invalid("min_confidence", detail);
        }
        Ok(())
    }
}
