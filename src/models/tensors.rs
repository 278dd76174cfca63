//! What the models on candle's tensors share: weights read from checked files, layers, and threads.
//!
//! candle multiplies and convolves; element-wise work on the CPU is this crate's own, for candle's goes
//! through one pool of threads for the whole process, behind a lock. All values are `f32` on the CPU.

mod attention;
mod layers;
mod ops;
mod weights;

pub(super) use attention::{AttentionBias, attention};
pub(super) use layers::{Conv2d, Embedding, GroupNorm, LayerNorm, Linear, add_to_channels};
pub(super) use ops::{activate, add, fresh_copy, gate, in_rows, values};
pub(super) use weights::{TensorSource, Weights};
