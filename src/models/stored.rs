//! How much a model's weight files hold, from their headers alone.

use std::path::Path;

use super::checkpoint::Checkpoint;
use super::{Gguf, ModelError};

/// How much a model's weight files hold, told by their headers: nothing of the weights is read.
///
/// For the [`ModelInfo`](crate::ModelInfo) of a model that you bring:
///
/// ```no_run
/// use modelpool::models::StoredWeights;
/// use modelpool::ModelInfo;
///
/// # fn main() -> Result<(), modelpool::ModelError> {
/// let weights = StoredWeights::in_folder("models/mine")?;
/// let shared = weights.bytes_as(4); // they are loaded as f32
/// let own = 64 << 20; // activations of the largest step
/// let info = ModelInfo::from_bytes("mine", shared, own);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredWeights {
    /// How many tensors there are.
    pub tensors: usize,
    /// How many elements they have together.
    pub parameters: u64,
    /// What they take as they are stored, in bytes.
    pub bytes: u64,
}

impl StoredWeights {
    /// The safetensors of a folder: `model.safetensors`, or all shards of
    /// `model.safetensors.index.json`.
    ///
    /// # Errors
    /// A file that is [missing](ModelError::MissingFile), [of another
    /// kind](ModelError::WrongFileKind), [unreadable](ModelError::Unreadable) or
    /// [damaged](ModelError::Corrupt).
    pub fn in_folder(folder: impl AsRef<Path>) -> Result<Self, ModelError> {
        Ok(Self::of(&Checkpoint::open(folder.as_ref())?))
    }

    /// The safetensors files of these paths, together.
    ///
    /// # Errors
    /// As [`in_folder`](Self::in_folder).
    pub fn in_safetensors<P: AsRef<Path>>(
        paths: impl IntoIterator<Item = P>,
    ) -> Result<Self, ModelError> {
        let mut sum = Self::default();
        for path in paths {
            sum.add(Self::of(&Checkpoint::of_file(path.as_ref())?));
        }
        Ok(sum)
    }

    /// The tensors of a GGUF file, in their quantised types.
    ///
    /// # Errors
    /// As [`Gguf::open`].
    pub fn in_gguf(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let file = Gguf::open(path.as_ref())?;
        let mut sum = Self::default();
        for (_, tensor) in file.tensors() {
            let sides = tensor.shape().iter().map(|&side| side as u64);
            sum.add(Self {
                tensors: 1,
                parameters: sides.fold(1, u64::saturating_mul),
                bytes: tensor.bytes(),
            });
        }
        Ok(sum)
    }

    /// What they take once each element is `element_bytes` wide: 4 for `f32`, 2 for `f16`.
    pub fn bytes_as(&self, element_bytes: u64) -> u64 {
        self.parameters.saturating_mul(element_bytes)
    }

    fn of(checkpoint: &Checkpoint) -> Self {
        let mut sum = Self::default();
        for (parameters, bytes) in checkpoint.sizes() {
            sum.add(Self {
                tensors: 1,
                parameters,
                bytes,
            });
        }
        sum
    }

    fn add(&mut self, other: Self) {
        self.tensors += other.tensors;
        self.parameters = self.parameters.saturating_add(other.parameters);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}
