//! A linear layer's weight, in the format of its file or a like one.

use half::{bf16, f16};

use super::piece::{Levels, PIECE, Piece};
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
}

fn is_supported(kind: GgmlType) -> bool {
    let floating = matches!(kind, GgmlType::F32 | GgmlType::F16 | GgmlType::Bf16);
    floating || Levels::of(kind).is_some()
}

/// A linear layer's weight [rows = outputs, columns = inputs]; immutable, to be shared by workers.
#[derive(Debug)]
pub(crate) struct Matrix {
    kind: GgmlType,
    rows: usize,
    columns: usize,
    data: Vec<u8>,
}

impl Matrix {
    /// Takes a tensor's bytes as they lie in a file, row by row.
    ///
    /// # Errors
    /// [`MatrixError`] if the type has no kernels, if rows are not whole blocks or if there are
    /// more or fewer bytes than the shape takes.
    pub(crate) fn from_ggml(
        _cpu: Cpu,
        kind: GgmlType,
        rows: usize,
        columns: usize,
        bytes: &[u8],
    ) -> Result<Self, MatrixError> {
        if !is_supported(kind) {
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
        Ok(Self {
            kind,
            rows,
            columns,
            data: bytes.to_vec(),
        })
    }

    /// Takes `f32` values, row by row; they stay `f32`.
    ///
    /// # Errors
    /// [`MatrixError::Bytes`] if there are more or fewer values than the shape takes.
    pub(crate) fn from_f32(
        cpu: Cpu,
        rows: usize,
        columns: usize,
        values: &[f32],
    ) -> Result<Self, MatrixError> {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        Self::from_ggml(cpu, GgmlType::F32, rows, columns, &bytes)
    }

    /// How many bytes [`Self::from_ggml`] will take; `None` if it would refuse.
    pub(crate) fn estimated_bytes(kind: GgmlType, rows: usize, columns: usize) -> Option<u64> {
        let row_bytes = is_supported(kind).then(|| kind.row_bytes(columns))??;
        u64::try_from(row_bytes.checked_mul(rows)?).ok()
    }

    /// How many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Outputs.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The values of one row, `columns` of them, as `f32`.
    pub(crate) fn read_row(&self, row: usize, out: &mut [f32]) {
        let row_bytes = self.data.len() / self.rows.max(1);
        let bytes = &self.data[row * row_bytes..(row + 1) * row_bytes];
        let (pairs, _) = bytes.as_chunks::<2>();
        match self.kind {
            GgmlType::F32 => {
                let (fours, _) = bytes.as_chunks::<4>();
                for (out, four) in out.iter_mut().zip(fours) {
                    *out = f32::from_le_bytes(*four);
                }
            }
            GgmlType::F16 => {
                for (out, pair) in out.iter_mut().zip(pairs) {
                    *out = f16::from_le_bytes(*pair).to_f32();
                }
            }
            GgmlType::Bf16 => {
                for (out, pair) in out.iter_mut().zip(pairs) {
                    *out = bf16::from_le_bytes(*pair).to_f32();
                }
            }
            kind => {
                let levels = Levels::of(kind).unwrap_or(Levels::Signed);
                let (pieces, _) = out.as_chunks_mut::<PIECE>();
                for (index, out) in pieces.iter_mut().enumerate() {
                    if let Some(piece) = Piece::read(kind, bytes, index) {
                        piece.values(levels, out);
                    }
                }
            }
        }
    }
}
