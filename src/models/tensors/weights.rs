//! From checked files to tensors.

use std::cell::Cell;

use candle_core::{DType, Device, Tensor};

use crate::models::ModelError;
use crate::models::checkpoint::Checkpoint;

/// Files that hold named tensors.
pub(crate) trait TensorSource {
    /// A tensor's shape, if it is there.
    ///
    /// # Errors
    /// [`ModelError::WrongDtype`] for an element type that cannot become `f32`.
    fn shape(&self, name: &str) -> Result<Option<&[usize]>, ModelError>;

    /// A tensor's values as `f32`, all of them finite.
    ///
    /// # Errors
    /// [`ModelError::NotFiniteWeights`], or what keeps the file from being read.
    fn read(&self, name: &str) -> Result<Vec<f32>, ModelError>;
}

impl TensorSource for Checkpoint {
    fn shape(&self, name: &str) -> Result<Option<&[usize]>, ModelError> {
        let Some(entry) = self.entry(name) else {
            return Ok(None);
        };
        self.check_dtype(name, entry)?;
        Ok(Some(&entry.shape))
    }

    fn read(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        match self.entry(name) {
            Some(entry) => Checkpoint::read(self, name, entry),
            None => Err(missing(name.to_owned())),
        }
    }
}

fn missing(tensor: String) -> ModelError {
    ModelError::MissingTensor { tensor }
}

/// How far a model's construction goes.
#[derive(Clone, Copy)]
enum Depth<'a> {
    /// Only the headers are looked at: tensors have their shapes and no memory.
    Headers,
    Load(&'a Device),
}

/// The tensors below a prefix of their names. A model is made of them twice by the same code: once to
/// check the headers and count the bytes, and once to load.
#[derive(Clone)]
pub(crate) struct Weights<'a> {
    source: &'a dyn TensorSource,
    prefix: String,
    depth: Depth<'a>,
    bytes: &'a Cell<u64>,
}

impl<'a> Weights<'a> {
    /// Looks at the headers only. `bytes` is what the tensors that were asked for take once loaded.
    pub(crate) fn headers(source: &'a dyn TensorSource, bytes: &'a Cell<u64>) -> Self {
        Self::new(source, Depth::Headers, bytes)
    }

    /// Loads into a device's memory.
    pub(crate) fn load(
        source: &'a dyn TensorSource,
        device: &'a Device,
        bytes: &'a Cell<u64>,
    ) -> Self {
        Self::new(source, Depth::Load(device), bytes)
    }

    fn new(source: &'a dyn TensorSource, depth: Depth<'a>, bytes: &'a Cell<u64>) -> Self {
        Self {
            source,
            prefix: String::new(),
            depth,
            bytes,
        }
    }

    /// Whether tensors have values, in the CPU's memory.
    pub(super) fn loads_to_cpu(&self) -> bool {
        matches!(self.depth, Depth::Load(Device::Cpu))
    }

    /// Those below `name`, with a dot between.
    pub(crate) fn under(&self, name: impl AsRef<str>) -> Self {
        Self {
            prefix: self.full_name(name.as_ref()) + ".",
            ..self.clone()
        }
    }

    /// The name of a tensor in the file.
    pub(crate) fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Whether a tensor is there.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    pub(crate) fn has(&self, name: &str) -> Result<bool, ModelError> {
        Ok(self.source.shape(&self.full_name(name))?.is_some())
    }

    /// A tensor that must be there in this shape.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`], [`ModelError::WrongShape`], [`ModelError::WrongDtype`],
    /// [`ModelError::NotFiniteWeights`], or what keeps the file from being read. Nothing is allocated
    /// unless the file holds it.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let full = self.full_name(name);
        let Some(found) = self.source.shape(&full)? else {
            return Err(missing(full));
        };
        if found != shape {
            return Err(ModelError::WrongShape {
                tensor: full,
                expected: shape.to_vec(),
                found: found.to_vec(),
            });
        }
        // The file holds as many, so the product is known to fit.
        let elements: usize = shape.iter().product();
        let bytes = self.bytes.get().saturating_add(4 * elements as u64);
        self.bytes.set(bytes);
        match self.depth {
            Depth::Headers => Ok(shape_only(shape)?),
            Depth::Load(device) => {
                let values = self.source.read(&full)?;
                Ok(Tensor::from_vec(values, shape, device)?)
            }
        }
    }
}

/// A tensor of a shape, without the memory for it: all of its values are the same zero.
pub(super) fn shape_only(shape: &[usize]) -> candle_core::Result<Tensor> {
    Tensor::zeros((), DType::F32, &Device::Cpu)?.broadcast_as(shape)
}
