//! Optical character recognition: PaddleOCR's detector of lines and its recogniser, as ONNX files.
//!
//! The detector gives each place of a picture a probability that it belongs to a line; what hangs
//! together becomes a rectangle, however it is turned. Each is cut out, straightened, scaled to a
//! height of 48 pixels and read by the recogniser, whose classes become characters. Every number on the
//! way is as RapidOCR has it, so that models trained for it see what they expect.

mod characters;
mod cut;
mod folder;
mod geometry;
mod layout;
mod options;
mod order;
mod preparer;
mod reader;
mod regions;
mod scaling;

pub use folder::{OcrFolder, OcrWeights};
pub use options::OcrOptions;
pub use preparer::OcrPreparer;
pub use reader::{OcrLook, OcrReader};

// For its tests (see `testing::ocr`), and no part of the crate's face.
#[cfg(feature = "testing")]
pub(crate) mod parts {
    pub(crate) use super::cut::{cut, recogniser_pixels};
    pub(crate) use super::order::reading_order;
    pub(crate) use super::regions::ProbabilityMap;
    pub(crate) use super::scaling::scale;
}
