//! The decoder's kernels by themselves.

use std::error::Error;
use std::fmt;

use crate::kernels::{
    self, Activation, ByteMatrix, ByteRows, Cpu, GgmlType, LinearScratch, Matrix, Team, TermMatrix,
    TermRows, linear,
};

type Failure = Box<dyn Error + Send + Sync>;

/// The instruction sets of this machine for which there are kernels: `portable`, `best`, ….
#[must_use]
pub fn instruction_sets() -> Vec<&'static str> {
    Cpu::all().into_iter().map(|(name, _)| name).collect()
}

fn cpu(instruction_set: &str) -> Result<Cpu, Failure> {
    let mut sets = Cpu::all().into_iter();
    let found = sets.find(|(name, _)| *name == instruction_set);
    Ok(found.ok_or("no such instruction set")?.1)
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
    ) -> Result<Self, Failure> {
        let cpu = cpu(instruction_set)?;
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

/// A weight matrix [outputs, inputs] that is rounded to bytes.
#[derive(Debug)]
pub struct Bytes {
    cpu: Cpu,
    scratch: ByteRows,
    matrix: ByteMatrix,
}

impl Bytes {
    /// Rounds the weights, in two parts where there are two outputs or more.
    ///
    /// # Errors
    /// An instruction set that [`instruction_sets`] does not list.
    pub fn new(instruction_set: &str, inputs: usize, weight: &[f32]) -> Result<Self, Failure> {
        let outputs = weight.len() / inputs;
        let mut matrix = ByteMatrix::new(inputs, outputs);
        let (first, second) = weight.split_at(outputs / 2 * inputs);
        matrix.put(0, first);
        matrix.put(outputs / 2, second);
        Ok(Self {
            cpu: cpu(instruction_set)?,
            scratch: ByteRows::default(),
            matrix,
        })
    }

    /// Multiplies rows of `x`, which are `stride` apart, and adds `bias`, unless that is empty.
    pub fn apply(&mut self, x: &[f32], stride: usize, bias: &[f32]) -> Vec<f32> {
        let rows = x.len() / stride;
        let mut out = vec![f32::NAN; rows * self.matrix.outputs()];
        let (cpu, scratch) = (self.cpu, &mut self.scratch);
        let all = 0..self.matrix.outputs();
        self.matrix
            .multiply(cpu, scratch, rows, x, stride, bias, all, &mut out);
        out
    }
}

/// A weight matrix [outputs, inputs] whose values are sums of 16-bit terms.
#[derive(Debug)]
pub struct Terms {
    cpu: Cpu,
    scratch: TermRows,
    matrix: TermMatrix,
}

impl Terms {
    /// Takes the weights, in two parts where there are two outputs or more: as two terms each if `split`, or else as one.
    ///
    /// # Errors
    /// An instruction set that [`instruction_sets`] does not list.
    pub fn new(
        instruction_set: &str,
        split: bool,
        inputs: usize,
        weight: &[f32],
    ) -> Result<Self, Failure> {
        let cpu = cpu(instruction_set)?;
        let outputs = weight.len() / inputs;
        let terms = match split {
            true => kernels::Terms::Two,
            false => kernels::Terms::One,
        };
        let mut matrix = TermMatrix::new(terms, inputs, outputs);
        let (first, second) = weight.split_at(outputs / 2 * inputs);
        matrix.put(cpu, 0, first);
        matrix.put(cpu, outputs / 2, second);
        Ok(Self {
            cpu,
            scratch: TermRows::default(),
            matrix,
        })
    }

    /// Multiplies rows of `x`, which are `stride` apart, and adds `bias`, unless that is empty.
    pub fn apply(&mut self, x: &[f32], stride: usize, bias: &[f32]) -> Vec<f32> {
        let rows = x.len() / stride;
        let mut out = vec![f32::NAN; rows * self.matrix.outputs()];
        let (cpu, scratch) = (self.cpu, &mut self.scratch);
        let all = 0..self.matrix.outputs();
        self.matrix
            .multiply(cpu, scratch, rows, x, stride, bias, all, &mut out);
        out
    }
}

/// How many bytes a tensor of this type and shape takes once loaded on this machine; `None` if it is
/// refused.
#[must_use]
pub fn estimated_bytes(kind: u32, rows: usize, columns: usize) -> Option<u64> {
    Matrix::estimated_bytes(Cpu::detect(), GgmlType::from_id(kind)?, rows, columns)
}

/// Columns and bytes of a block of this type; `None` if it is not known.
#[must_use]
pub fn block(kind: u32) -> Option<(usize, usize)> {
    let kind = GgmlType::from_id(kind)?;
    Some((kind.block_columns(), kind.block_bytes()))
}

/// The threads of one worker.
#[derive(Debug)]
pub struct Threads(Team);

impl Threads {
    /// So many of them.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self(Team::new(count))
    }

    /// Runs `work` there; what it forks stays there.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.0.run(work)
    }
}

/// The root-mean-square norm of the rows of `x`, as long as `weight`.
///
/// # Errors
/// An instruction set that [`instruction_sets`] does not list; so do the functions below.
pub fn rms_norm(
    instruction_set: &str,
    x: &[f32],
    weight: &[f32],
    epsilon: f32,
) -> Result<Vec<f32>, Failure> {
    let mut out = vec![0.0; x.len()];
    kernels::rms_norm(cpu(instruction_set)?, x, &mut out, weight, epsilon);
    Ok(out)
}

/// `silu(gate) · up`, or with `gelu` the tanh form of GELU.
///
/// # Errors
/// As [`rms_norm`].
pub fn gate_by(
    instruction_set: &str,
    gelu: bool,
    gate: &[f32],
    up: &[f32],
) -> Result<Vec<f32>, Failure> {
    let activation = match gelu {
        true => Activation::GeluTanh,
        false => Activation::Silu,
    };
    let mut out = gate.to_vec();
    kernels::gate_by(cpu(instruction_set)?, activation, &mut out, up);
    Ok(out)
}

/// `cap · tanh(scale · x / cap)`.
///
/// # Errors
/// As [`rms_norm`].
pub fn soft_cap(
    instruction_set: &str,
    x: &[f32],
    scale: f32,
    cap: f32,
) -> Result<Vec<f32>, Failure> {
    let mut out = x.to_vec();
    kernels::soft_cap(cpu(instruction_set)?, &mut out, scale, cap);
    Ok(out)
}

/// Asks for large pages, as is done where weights will lie.
pub fn prefer_large_pages(room: &mut [u8]) {
    kernels::prefer_large_pages(room);
}
