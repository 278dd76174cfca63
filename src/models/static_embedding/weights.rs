//! The table of a static embedding model.

use std::fmt;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::models::ModelError;

static EMBEDDED: &[u8] = include_bytes!("../../../assets/embedded/model.safetensors");

/// A row's elements as they are stored: they are widened when they are summed, never before.
enum Table {
    Int8(Vec<i8>),
    Float(Vec<f32>),
}

/// An immutable token table: one row for each token, and how much each token weighs.
///
/// It reads what `model2vec` writes: a tensor `embeddings` (`I8`, `F16`, `F32` or `F64`, one row a
/// token), and, where present, `weights` (one factor a token) and `mapping` (the row of each token,
/// for tables whose tokens share rows).
pub struct StaticWeights {
    table: Table,
    token_weights: Option<Vec<f32>>,
    row_of_token: Option<Vec<u32>>,
    rows: usize,
    dimensions: usize,
}

impl StaticWeights {
    /// The table that is compiled into this crate. Each call makes a copy: share one in an `Arc`.
    ///
    /// # Errors
    /// As [`Self::from_bytes`]; the crate's tests show that its own table is sound.
    pub fn embedded() -> Result<Self, ModelError> {
        Self::from_bytes(EMBEDDED)
    }

    /// Reads a table from the bytes of a safetensors file.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] for bytes that are no such file, [`ModelError::MissingTensor`] without
    /// `embeddings`, [`ModelError::WrongDtype`], [`ModelError::WrongShape`] and
    /// [`ModelError::NotFiniteWeights`] for tensors that do not fit.
    pub fn from_bytes(safetensors: &[u8]) -> Result<Self, ModelError> {
        Self::from_named_bytes(safetensors, Path::new("model.safetensors"))
    }

    /// As [`Self::from_bytes`], with the file's path for the errors.
    pub(super) fn from_named_bytes(bytes: &[u8], path: &Path) -> Result<Self, ModelError> {
        let file = SafeTensors::deserialize(bytes).map_err(|error| ModelError::Corrupt {
            path: path.to_owned(),
            format: "safetensors file",
            detail: error.to_string(),
        })?;
        let embeddings = file
            .tensor("embeddings")
            .map_err(|_| ModelError::MissingTensor {
                tensor: "embeddings".to_owned(),
            })?;
        let (rows, dimensions) = match *embeddings.shape() {
            [rows, dimensions] if rows > 0 && dimensions > 0 => (rows, dimensions),
            ref other => {
                return Err(ModelError::WrongShape {
                    tensor: "embeddings".to_owned(),
                    expected: vec![1, 1],
                    found: other.to_vec(),
                });
            }
        };
        let table = if embeddings.dtype() == Dtype::I8 {
            Table::Int8(embeddings.data().iter().map(|byte| *byte as i8).collect())
        } else {
            Table::Float(read_floats("embeddings", &embeddings, "I8, F16, F32, F64")?)
        };
        let row_of_token = match file.tensor("mapping") {
            Ok(view) => Some(read_mapping(&view, rows)?),
            Err(_) => None,
        };
        let tokens = row_of_token.as_ref().map_or(rows, Vec::len);
        let token_weights = match file.tensor("weights") {
            Ok(view) => Some(read_token_weights(&view, tokens)?),
            Err(_) => None,
        };
        Ok(Self {
            table,
            token_weights,
            row_of_token,
            rows,
            dimensions,
        })
    }

    /// What the table takes in memory, in bytes.
    pub fn bytes(&self) -> u64 {
        let table = match &self.table {
            Table::Int8(values) => size_of_val(values.as_slice()),
            Table::Float(values) => size_of_val(values.as_slice()),
        };
        let weights = self.token_weights.as_deref().map_or(0, size_of_val);
        let mapping = self.row_of_token.as_deref().map_or(0, size_of_val);
        (table + weights + mapping) as u64
    }

    /// How many components a vector has.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// How many tokens the table knows: ids run from 0 up to this.
    pub fn tokens(&self) -> usize {
        self.row_of_token.as_ref().map_or(self.rows, Vec::len)
    }

    /// The weighted sum of the tokens' rows, of which the first `dimensions` components. A mean would
    /// point the same way, and the caller normalises.
    pub(super) fn sum_rows(
        &self,
        tokens: &[u32],
        dimensions: usize,
    ) -> Result<Vec<f32>, ModelError> {
        let mut sum = vec![0.0; dimensions];
        for token in tokens {
            let index = *token as usize;
            if index >= self.tokens() {
                return Err(ModelError::Tokenize {
                    detail: format!("the model has {} tokens, not {token}", self.tokens()),
                });
            }
            let row = match &self.row_of_token {
                Some(rows) => rows[index] as usize,
                None => index,
            };
            let weight = self.token_weights.as_ref().map_or(1.0, |all| all[index]);
            let first = row * self.dimensions;
            match &self.table {
                Table::Int8(values) => {
                    let row = &values[first..first + dimensions];
                    for (total, value) in sum.iter_mut().zip(row) {
                        *total += weight * f32::from(*value);
                    }
                }
                Table::Float(values) => {
                    let row = &values[first..first + dimensions];
                    for (total, value) in sum.iter_mut().zip(row) {
                        *total += weight * value;
                    }
                }
            }
        }
        Ok(sum)
    }
}

impl fmt::Debug for StaticWeights {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("StaticWeights")
            .field("tokens", &self.tokens())
            .field("dimensions", &self.dimensions)
            .field("bytes", &self.bytes())
            .finish()
    }
}

fn wrong_dtype(tensor: &str, view: &TensorView<'_>, supported: &'static str) -> ModelError {
    ModelError::WrongDtype {
        tensor: tensor.to_owned(),
        found: format!("{:?}", view.dtype()),
        supported,
    }
}

/// A float tensor's elements; the file's own header has vouched for its length.
fn read_floats(
    tensor: &str,
    view: &TensorView<'_>,
    supported: &'static str,
) -> Result<Vec<f32>, ModelError> {
    let data = view.data();
    let values: Vec<f32> = match view.dtype() {
        Dtype::F32 => widen(data, f32::from_le_bytes),
        Dtype::F64 => widen(data, |bytes| f64::from_le_bytes(bytes) as f32),
        Dtype::F16 => widen(data, |bytes| f16_to_f32(u16::from_le_bytes(bytes))),
        _ => return Err(wrong_dtype(tensor, view, supported)),
    };
    if values.iter().all(|value| value.is_finite()) {
        Ok(values)
    } else {
        Err(ModelError::NotFiniteWeights {
            tensor: tensor.to_owned(),
        })
    }
}

fn widen<const N: usize, T>(data: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (elements, _rest) = data.as_chunks::<N>();
    elements.iter().map(|bytes| convert(*bytes)).collect()
}

/// IEEE half precision, by its definition.
fn f16_to_f32(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from((bits >> 10) & 0x1f);
    let fraction = f32::from(bits & 0x3ff) / 1024.0;
    match exponent {
        0 => sign * fraction * 2_f32.powi(-14),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1.0 + fraction) * 2_f32.powi(exponent - 15),
    }
}

fn read_token_weights(view: &TensorView<'_>, tokens: usize) -> Result<Vec<f32>, ModelError> {
    expect_length("weights", view, tokens)?;
    read_floats("weights", view, "F16, F32, F64")
}

fn read_mapping(view: &TensorView<'_>, rows: usize) -> Result<Vec<u32>, ModelError> {
    let tokens = view.shape().iter().product();
    expect_length("mapping", view, tokens)?;
    let wide: Vec<i64> = match view.dtype() {
        Dtype::I64 => widen(view.data(), i64::from_le_bytes),
        Dtype::I32 => widen(view.data(), |bytes| i64::from(i32::from_le_bytes(bytes))),
        _ => return Err(wrong_dtype("mapping", view, "I32, I64")),
    };
    wide.into_iter()
        .map(|row| {
            u32::try_from(row)
                .ok()
                .filter(|row| (*row as usize) < rows)
                .ok_or_else(|| ModelError::InvalidConfig {
                    file: "model.safetensors".to_owned(),
                    field: "mapping".to_owned(),
                    detail: format!("{row} is not one of the {rows} rows"),
                })
        })
        .collect()
}

fn expect_length(tensor: &str, view: &TensorView<'_>, length: usize) -> Result<(), ModelError> {
    if view.shape() == [length] {
        return Ok(());
    }
    Err(ModelError::WrongShape {
        tensor: tensor.to_owned(),
        expected: vec![length],
        found: view.shape().to_vec(),
    })
}
