//! In what numbers an encoder computes.

use serde::{Deserialize, Serialize};

/// In what numbers an encoder's linear layers are kept and multiplied. All else is `f32`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EncoderPrecision {
    /// 32-bit floats, whatever the file has. On processors with tile units for 16-bit floats (Intel AMX, since Sapphire
    /// Rapids) each float is multiplied as the sum of two of those, which keeps 16 of its 24 bits and is twice as fast or more:
    /// vectors of unit length are then within 1e-5 of the reference implementations', elsewhere within 2e-6.
    #[default]
    F32,
    /// 32-bit floats and nothing else, on every processor alike.
    F32Exact,
    /// 16-bit floats (bf16: 8 bits of precision), weights and what they are multiplied with; sums are of 32 bits. Weights take
    /// half the memory. Made to be fast on processors with tile units, or with AVX-512 BF16.
    Bf16,
    /// Bytes: weights are rounded when they are loaded and take a quarter of the memory, activations on the way, in
    /// groups of 128 with a scale each. Made to be fast on machines with AVX-512 VNNI; what it costs in quality
    /// is told in the README.
    Int8,
}
