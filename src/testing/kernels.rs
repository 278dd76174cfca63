//! A linear layer by itself, as decoders compute it.

use std::error::Error;
use std::fmt;

use crate::kernels::{Cpu, GgmlType, LinearScratch, Matrix, Team, linear};

/// The instruction sets of this machine for which there are kernels: `portable`, `best`, ….
#[must_use]
pub fn instruction_sets() -> Vec<&'static str> {
    Cpu::all().into_iter().map(|(name, _)| name).collect()
}

/// A weight matrix with threads to multiply by it.
pub struct Linear {
    cpu: Cpu,
    team: Team,
    scratch: LinearScratch,
    matrix: Matrix,
}

impl Linear {
    /// Takes a tensor's bytes as they lie in a GGUF file; `kind` is the type's number there.
    ///
    /// # Errors
    /// As decoders report it, if there are no kernels for the type, or if shape and bytes do not
    /// agree; also for an instruction set that [`instruction_sets`] does not list.
    pub fn new(
        instruction_set: &str,
        threads: usize,
        kind: u32,
        rows: usize,
        columns: usize,
        bytes: &[u8],
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let mut sets = Cpu::all().into_iter();
        let found = sets.find(|(name, _)| *name == instruction_set);
        let (_, cpu) = found.ok_or("no such instruction set")?;
        let kind = GgmlType::from_id(kind).ok_or("no such type")?;
        Ok(Self {
            cpu,
            team: Team::new(threads),
            scratch: LinearScratch::default(),
            matrix: Matrix::from_ggml(cpu, kind, rows, columns, bytes)?,
        })
    }

    /// Multiplies `m` rows: `x` is [m, columns], `out` is [m, rows].
    pub fn apply(&mut self, x: &[f32], m: usize, out: &mut [f32]) {
        let (cpu, team) = (self.cpu, &self.team);
        let outputs = &mut [(&self.matrix, out)];
        linear(cpu, team, &mut self.scratch, x, m, outputs);
    }

    /// One row of the weights.
    #[must_use]
    pub fn weights(&self, row: usize) -> Vec<f32> {
        let mut values = vec![0.0; self.matrix.columns()];
        self.matrix.read_row(row, &mut values);
        values
    }

    /// How many bytes the weights take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.matrix.bytes()
    }
}

impl fmt::Debug for Linear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Linear")
            .field("rows", &self.matrix.rows())
            .field("columns", &self.matrix.columns())
            .field("threads", &self.team.threads())
            .finish_non_exhaustive()
    }
}

/// How many bytes a tensor of this type and shape takes once loaded; `None` if it is refused.
#[must_use]
pub fn estimated_bytes(kind: u32, rows: usize, columns: usize) -> Option<u64> {
    Matrix::estimated_bytes(GgmlType::from_id(kind)?, rows, columns)
}

/// Columns and bytes of a block of this type; `None` if it is not known.
#[must_use]
pub fn block(kind: u32) -> Option<(usize, usize)> {
    let kind = GgmlType::from_id(kind)?;
    Some((kind.block_columns(), kind.block_bytes()))
}
