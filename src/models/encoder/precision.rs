//! In what numbers an encoder computes.

use serde::{Deserialize, Serialize};

/// In what numbers an encoder's linear layers are kept and multiplied. All else is `f32`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EncoderPrecision {
    /// 32-bit floats, whatever the file has: as the reference implementations compute.
    #[default]
    F32,
    /// Bytes: weights are rounded when they are loaded and take a quarter of the memory, activations on the way, in
    /// groups of 128 with a scale each. Made to be fast on machines with AVX-512 VNNI; what it costs in quality
    /// is told in the README.
    Int8,
}
