//! Where a decoder's tensors are: a GGUF file or a hub folder's safetensors.

use std::sync::Arc;

use half::{bf16, f16};

use crate::kernels::GgmlType;
use crate::models::checkpoint::Checkpoint;
use crate::models::{Gguf, ModelError};

/// The element types of hub checkpoints that will do.
const SUPPORTED: &str = "F32, F16 and BF16";

/// A model's tensors, to be found by name.
#[derive(Debug, Clone)]
pub(super) enum Store {
    Gguf(Arc<Gguf>),
    Hub {
        checkpoint: Checkpoint,
        /// What stands before the names of the transformer's tensors, such as "model.".
        prefix: String,
    },
}

/// What a header says of a tensor.
pub(super) struct Found {
    pub(super) kind: GgmlType,
    /// The innermost dimension last.
    pub(super) shape: Vec<usize>,
}

impl Store {
    /// Finds the prefix of a hub checkpoint: what stands before the word embeddings' name.
    pub(super) fn hub(checkpoint: Checkpoint, words: &str) -> Self {
        let suffix = format!("{words}.weight");
        let prefix = checkpoint
            .names()
            .filter_map(|name| name.strip_suffix(&suffix))
            .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
            .min_by_key(|prefix| prefix.len())
            .unwrap_or_default()
            .to_owned();
        Self::Hub { checkpoint, prefix }
    }

    /// The full name of a tensor of the transformer; `kind` is "weight" or "bias".
    pub(super) fn full(&self, name: &str, kind: &str) -> String {
        match self {
            Self::Gguf(_) => format!("{name}.{kind}"),
            Self::Hub { prefix, .. } => format!("{prefix}{name}.{kind}"),
        }
    }

    /// The full name of the head's weight, which stands beside the transformer.
    pub(super) fn head(&self, name: &str) -> String {
        match self {
            Self::Gguf(_) => format!("{name}.weight"),
            Self::Hub { checkpoint, prefix } => {
                // It stands beside the transformer: beside "model.", and beside "model.language_model." too.
                let beside = prefix.strip_suffix("model.");
                let beside = beside.filter(|rest| rest.is_empty() || rest.ends_with('.'));
                let nearest = format!("{}{name}.weight", beside.unwrap_or(prefix));
                let outermost = format!("{name}.weight");
                match checkpoint.entry(&nearest).is_none() && checkpoint.entry(&outermost).is_some()
                {
                    true => outermost,
                    false => nearest,
                }
            }
        }
    }

    pub(super) fn find(&self, name: &str) -> Result<Found, ModelError> {
        let missing = || ModelError::MissingTensor {
            tensor: name.to_owned(),
        };
        let wrong = |found: &str, supported| ModelError::WrongDtype {
            tensor: name.to_owned(),
            found: found.to_owned(),
            supported,
        };
        match self {
            Self::Gguf(file) => {
                let tensor = file.tensor(name).ok_or_else(missing)?;
                let kind = GgmlType::from_id(tensor.kind().id())
                    .ok_or_else(|| wrong(tensor.kind().name(), UNKNOWN))?;
                Ok(Found {
                    kind,
                    shape: tensor.shape().to_vec(),
                })
            }
            Self::Hub { checkpoint, .. } => {
                let entry = checkpoint.entry(name).ok_or_else(missing)?;
                let kind = match entry.dtype.as_str() {
                    "F32" => GgmlType::F32,
                    "F16" => GgmlType::F16,
                    "BF16" => GgmlType::Bf16,
                    other => return Err(wrong(other, SUPPORTED)),
                };
                Ok(Found {
                    kind,
                    shape: entry.shape.clone(),
                })
            }
        }
    }

    /// A tensor's bytes; those of a floating-point tensor hold no number that is not finite.
    pub(super) fn read(&self, name: &str, kind: GgmlType) -> Result<Vec<u8>, ModelError> {
        let bytes = match self {
            Self::Gguf(file) => file.read_tensor(name)?,
            Self::Hub { checkpoint, .. } => {
                let entry = checkpoint
                    .entry(name)
                    .ok_or_else(|| ModelError::MissingTensor {
                        tensor: name.to_owned(),
                    })?;
                checkpoint.read_bytes(entry)?
            }
        };
        if is_finite(kind, &bytes) {
            Ok(bytes)
        } else {
            Err(ModelError::NotFiniteWeights {
                tensor: name.to_owned(),
            })
        }
    }

    /// The names of all tensors.
    pub(super) fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Self::Gguf(file) => Box::new(file.tensors().map(|(name, _)| name)),
            Self::Hub { checkpoint, .. } => Box::new(checkpoint.names()),
        }
    }
}

/// The element types of GGUF files that will do.
pub(super) const UNKNOWN: &str =
    "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, IQ4_NL and IQ4_XS";

/// Bytes of a floating-point tensor as `f32`; `None` for other types.
pub(super) fn floats(kind: GgmlType, bytes: &[u8]) -> Option<Vec<f32>> {
    let pairs = || bytes.as_chunks::<2>().0.iter();
    match kind {
        GgmlType::F32 => Some(
            bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|word| f32::from_le_bytes(*word))
                .collect(),
        ),
        GgmlType::F16 => Some(
            pairs()
                .map(|pair| f16::from_le_bytes(*pair).to_f32())
                .collect(),
        ),
        GgmlType::Bf16 => Some(
            pairs()
                .map(|pair| bf16::from_le_bytes(*pair).to_f32())
                .collect(),
        ),
        _ => None,
    }
}

/// Whether no element of a floating-point tensor is NaN or infinite; the scales of blocks are
/// checked where they are laid out.
pub(in crate::models) fn is_finite(kind: GgmlType, bytes: &[u8]) -> bool {
    let is_sound = |pair: &[u8; 2], mask: u16| u16::from_le_bytes(*pair) & mask != mask;
    let (pairs, _) = bytes.as_chunks::<2>();
    let mut pairs = pairs.iter();
    match kind {
        GgmlType::F16 => pairs.all(|pair| is_sound(pair, 0x7c00)),
        GgmlType::Bf16 => pairs.all(|pair| is_sound(pair, 0x7f80)),
        // The upper half of a single has all of its exponent.
        GgmlType::F32 => pairs.skip(1).step_by(2).all(|pair| is_sound(pair, 0x7f80)),
        _ => true,
    }
}
