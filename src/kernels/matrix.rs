//! A linear layer's weight, in the format of its file or a like one.

use super::floats::Floats;
use super::quantised::{Block, Form, Quantised, UNIT};
use super::{Cpu, GgmlType};

/// Why bytes do not make a matrix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MatrixError {
    /// There are no kernels for the type.
    #[error("tensors of type {kind} cannot be computed with")]
    Unsupported {
        /// The type.
        kind: GgmlType,
    },
    /// A row does not consist of whole blocks.
    #[error("rows of {columns} columns are not whole blocks of {kind}'s {block} columns", block = kind.block_columns())]
    Columns {
        /// The type.
        kind: GgmlType,
        /// The columns of a row.
        columns: usize,
    },
    /// There are more or fewer bytes than the shape takes.
    #[error("{rows} rows of {columns} columns in {kind} do not take {bytes} bytes")]
    Bytes {
        /// The type.
        kind: GgmlType,
        /// The rows.
        rows: usize,
        /// The columns of a row.
        columns: usize,
        /// How many bytes there are.
        bytes: usize,
    },
    /// A block's scale is infinite or not a number: the file is damaged.
    #[error("a block of {kind} has a scale that is not finite")]
    NotFinite {
        /// The type.
        kind: GgmlType,
    },
}

/// A linear layer's weight [rows = outputs, columns = inputs]; immutable, to be shared by workers.
#[derive(Debug)]
pub(crate) struct Matrix {
    rows: usize,
    columns: usize,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Floats(Floats),
    Quantised(Quantised),
}

impl Matrix {
    /// Takes a tensor's bytes as they lie in a file, row by row, and lays them out for products.
    /// Done in parallel by the threads that rayon has where it is called.
    ///
    /// # Errors
    /// [`MatrixError`] if the type has no kernels, if rows are not whole blocks, if there are more
    /// or fewer bytes than the shape takes, or if a block's scale is not finite.
    pub(crate) fn from_ggml(
        cpu: Cpu,
        kind: GgmlType,
        rows: usize,
        columns: usize,
        bytes: &[u8],
    ) -> Result<Self, MatrixError> {
        let form = Form::of(kind);
        if form.is_none() && !is_float(kind) {
            return Err(MatrixError::Unsupported { kind });
        }
        let row_bytes = kind
            .row_bytes(columns)
            .ok_or(MatrixError::Columns { kind, columns })?;
        if row_bytes.checked_mul(rows) != Some(bytes.len()) {
            return Err(MatrixError::Bytes {
                kind,
                rows,
                columns,
                bytes: bytes.len(),
            });
        }
        let values = match form {
            None => Values::Floats(Floats::pack(cpu, kind, rows, columns, bytes)),
            Some(form) => {
                let packed = Quantised::pack(cpu, kind, form, rows, columns, bytes);
                Values::Quantised(packed.ok_or(MatrixError::NotFinite { kind })?)
            }
        };
        Ok(Self {
            rows,
            columns,
            values,
        })
    }

    /// How many bytes [`Self::from_ggml`] will take; `None` if it would refuse.
    pub(crate) fn estimated_bytes(
        cpu: Cpu,
        kind: GgmlType,
        rows: usize,
        columns: usize,
    ) -> Option<u64> {
        kind.row_bytes(columns)?.checked_mul(rows)?;
        let bytes = match Form::of(kind) {
            Some(form) => form.matrix_bytes(rows, columns)?,
            None => Floats::matrix_bytes(cpu, kind, rows, columns)?,
        };
        u64::try_from(bytes).ok()
    }

    /// How many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        match &self.values {
            Values::Floats(floats) => floats.bytes(),
            Values::Quantised(quantised) => quantised.bytes(),
        }
    }

    /// Outputs.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Whether it is multiplied by quantised activations.
    pub(crate) fn is_quantised(&self) -> bool {
        matches!(self.values, Values::Quantised(_))
    }

    /// How many rows make a unit: the work can be cut between units only.
    pub(crate) fn unit(&self) -> usize {
        match &self.values {
            Values::Floats(floats) => floats.width(),
            Values::Quantised(_) => UNIT,
        }
    }

    /// The values of one row, `columns` of them, as `f32`.
    pub(crate) fn read_row(&self, row: usize, out: &mut [f32]) {
        match &self.values {
            Values::Floats(floats) => floats.read_row(row, out),
            Values::Quantised(quantised) => quantised.read_row(row, out),
        }
    }

    /// The products of some rows of activations, as floats and quantised, with the rows of units
    /// `first ..`, as many as `rows` have room for: `rows[i]` is row `i`'s share of the result.
    pub(crate) fn multiply(
        &self,
        cpu: Cpu,
        x: &[f32],
        blocks: &[Block],
        first: usize,
        rows: &mut [&mut [f32]],
    ) {
        match &self.values {
            Values::Floats(floats) => floats.multiply(cpu, x, first, rows),
            Values::Quantised(quantised) => quantised.multiply(cpu, blocks, first, rows),
        }
    }
}

fn is_float(kind: GgmlType) -> bool {
    matches!(kind, GgmlType::F32 | GgmlType::F16 | GgmlType::Bf16)
}
