//! A model's weights, laid out once for the kernels that read them.

use std::ops::Range;

use rayon::prelude::*;

use super::attention::grow;
use super::builder::Builder;
use super::description::Description;
use super::families;
use super::modules::{Modules, Stage};
use super::precision::EncoderPrecision;
use crate::kernels::{
    self, Activation, ByteMatrix, ByteRows, Cpu, Packed, TermMatrix, TermRows, Terms,
};
use crate::models::ModelError;
use crate::models::checkpoint::Checkpoint;

/// A linear layer, its bias empty where it has none.
#[derive(Debug)]
pub(super) struct Linear {
    pub(super) weight: Weight,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) bias: Vec<f32>,
}

/// A weight as the kernels read it.
#[derive(Debug)]
pub(super) enum Weight {
    /// Packed as [inputs, outputs].
    Floats(Vec<f32>),
    Terms(TermMatrix),
    Bytes(ByteMatrix),
}

/// How a weight is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Floats,
    Terms(Terms),
    Bytes,
}

impl Layout {
    /// The fastest that is as precise.
    pub(super) fn of(cpu: Cpu, precision: EncoderPrecision) -> Self {
        match precision {
            EncoderPrecision::F32 if cpu.has_tiles() => Self::Terms(Terms::Two),
            EncoderPrecision::F32 | EncoderPrecision::F32Exact => Self::Floats,
            EncoderPrecision::Bf16 => Self::Terms(Terms::One),
            EncoderPrecision::Int8 => Self::Bytes,
        }
    }

    /// What a weight of a shape takes, in bytes.
    pub(super) fn bytes(self, cpu: Cpu, inputs: usize, outputs: usize) -> u64 {
        match self {
            Self::Floats => (kernels::packed_len(cpu, inputs, outputs) as u64).saturating_mul(4),
            Self::Terms(terms) => TermMatrix::bytes(terms, inputs, outputs),
            Self::Bytes => ByteMatrix::bytes(inputs, outputs),
        }
    }

    /// Room for a weight.
    pub(super) fn room(self, cpu: Cpu, inputs: usize, outputs: usize) -> Weight {
        match self {
            Self::Floats => {
                let mut panels = vec![0.0; kernels::packed_len(cpu, inputs, outputs)];
                kernels::prefer_large_pages(&mut panels);
                Weight::Floats(panels)
            }
            Self::Terms(terms) => Weight::Terms(TermMatrix::new(terms, inputs, outputs)),
            Self::Bytes => Weight::Bytes(ByteMatrix::new(inputs, outputs)),
        }
    }
}

/// What a linear layer's product needs besides its sides, to be used again.
#[derive(Debug, Default)]
pub(super) struct LinearScratch {
    rows: Rounded,
    /// Of each piece that a product is cut into by columns, for the threads to share; empty where it is not cut.
    pieces: Vec<Piece>,
}

/// Activations as the weights' layout wants them.
#[derive(Debug, Default)]
struct Rounded {
    terms: TermRows,
    bytes: ByteRows,
}

#[derive(Debug, Default)]
struct Piece {
    rows: Rounded,
    made: Vec<f32>,
}

impl LinearScratch {
    /// Has products cut into `pieces` from now on.
    pub(super) fn cut(&mut self, pieces: usize) {
        self.pieces
            .resize_with(if pieces > 1 { pieces } else { 0 }, Piece::default);
    }

    /// What it takes, in bytes.
    #[cfg(feature = "testing")]
    pub(super) fn held_bytes(&self) -> u64 {
        let of = |rows: &Rounded| rows.terms.held_bytes() + rows.bytes.held_bytes();
        let pieces = self.pieces.iter();
        of(&self.rows)
            + pieces
                .map(|piece| of(&piece.rows) + 4 * piece.made.capacity() as u64)
                .sum::<u64>()
    }
}

impl Linear {
    /// One whose weight is yet to be laid out.
    pub(super) fn new(inputs: usize, outputs: usize) -> Self {
        Self {
            weight: Weight::Floats(Vec::new()),
            inputs,
            outputs,
            bias: Vec::new(),
        }
    }

    /// What it takes in memory, as so many `f32`.
    pub(super) fn values(&self) -> usize {
        let weight = match &self.weight {
            Weight::Floats(data) => data.len(),
            Weight::Terms(matrix) => matrix.held_bytes().div_ceil(4) as usize,
            Weight::Bytes(matrix) => matrix.held_bytes().div_ceil(4) as usize,
        };
        weight + self.bias.len()
    }

    /// Runs it on `rows` rows of `x`, their values side by side, of a layer that is seldom run.
    pub(super) fn apply_once(&self, cpu: Cpu, rows: usize, x: &[f32], y: &mut [f32]) {
        self.apply(cpu, &mut LinearScratch::default(), rows, x, self.inputs, y);
    }

    /// Runs it on `rows` rows of `x`, `stride` apart; `y` has rows of its outputs.
    pub(super) fn apply(
        &self,
        cpu: Cpu,
        scratch: &mut LinearScratch,
        rows: usize,
        x: &[f32],
        stride: usize,
        y: &mut [f32],
    ) {
        let all = 0..self.outputs;
        if scratch.pieces.is_empty() {
            self.columns(cpu, &mut scratch.rows, rows, x, stride, all, y);
            return;
        }
        let panel = match &self.weight {
            Weight::Floats(_) => kernels::panel_width(cpu),
            Weight::Terms(_) => TermMatrix::PANEL,
            Weight::Bytes(_) => ByteMatrix::PANEL,
        };
        let panels = self.outputs.div_ceil(panel);
        let width = panels.div_ceil(scratch.pieces.len()) * panel;
        let of_piece = |index: usize| all.end.min(index * width)..all.end.min((index + 1) * width);
        let pieces = scratch.pieces.par_iter_mut().enumerate();
        pieces.for_each(|(index, piece)| {
            let columns = of_piece(index);
            let made = grow(&mut piece.made, rows * columns.len());
            self.columns(cpu, &mut piece.rows, rows, x, stride, columns, made);
        });
        for (index, piece) in scratch.pieces.iter().enumerate() {
            let columns = of_piece(index);
            let lines = y.chunks_exact_mut(self.outputs.max(1));
            let made = piece.made.chunks_exact(columns.len().max(1));
            for (line, made) in lines.zip(made).take(rows) {
                line[columns.clone()].copy_from_slice(&made[..columns.len()]);
            }
        }
    }

    /// A range of its columns, from a whole panel's first on; `y` has rows of them alone.
    #[expect(clippy::too_many_arguments, reason = "two matrices and their shapes")]
    fn columns(
        &self,
        cpu: Cpu,
        scratch: &mut Rounded,
        rows: usize,
        x: &[f32],
        stride: usize,
        columns: Range<usize>,
        y: &mut [f32],
    ) {
        if columns.is_empty() {
            return;
        }
        let bias = &self.bias;
        match &self.weight {
            Weight::Floats(data) => {
                let weight = Packed {
                    data: &data[columns.start * self.inputs..],
                    k: self.inputs,
                    n: columns.len(),
                };
                let count = columns.len();
                let bias = bias.get(columns).unwrap_or_default();
                kernels::gemm(cpu, rows, x, stride, weight, bias, y, count);
            }
            Weight::Terms(matrix) => {
                matrix.multiply(cpu, &mut scratch.terms, rows, x, stride, bias, columns, y);
            }
            Weight::Bytes(matrix) => {
                matrix.multiply(cpu, &mut scratch.bytes, rows, x, stride, bias, columns, y);
            }
        }
    }
}

/// A norm's weight and its bias, empty where it has none.
#[derive(Debug)]
pub(super) struct Norm {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) epsilon: f32,
    pub(super) rms: bool,
}

impl Norm {
    /// How many values it takes in memory.
    pub(super) fn values(&self) -> usize {
        self.weight.len() + self.bias.len()
    }

    /// Normalises all rows of `x`.
    pub(super) fn apply(&self, cpu: Cpu, x: &mut [f32]) {
        kernels::norm(cpu, x, &self.weight, &self.bias, self.epsilon, self.rms);
    }
}

/// One layer's weights.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) qkv: Linear,
    pub(super) query_norm: Option<Norm>,
    pub(super) key_norm: Option<Norm>,
    pub(super) attention_out: Linear,
    pub(super) attention_norm: Option<Norm>,
    pub(super) mlp_in: Linear,
    pub(super) mlp_out: Linear,
    pub(super) mlp_norm: Norm,
}

impl Layer {
    fn values(&self) -> usize {
        let linears = [&self.qkv, &self.attention_out, &self.mlp_in, &self.mlp_out];
        let norms = [&self.query_norm, &self.key_norm, &self.attention_norm];
        let norms = norms.into_iter().flatten().chain([&self.mlp_norm]);
        linears.into_iter().map(Linear::values).sum::<usize>()
            + norms.map(Norm::values).sum::<usize>()
    }
}

/// What is done with the pooled vector.
#[derive(Debug)]
pub(super) enum HeadStage {
    Dense(Linear, Activation),
    Normalize,
}

/// All weights of a model.
#[derive(Debug)]
pub(super) struct Tensors {
    /// [vocabulary, hidden]; empty where the rows are not of words.
    pub(super) words: Vec<f32>,
    /// What is added to a token's vector by its position: [positions, hidden], or a single row
    /// where the position adds nothing, or empty. The vector of token type 0 is part of it.
    pub(super) positions: Vec<f32>,
    pub(super) embedding_norm: Option<Norm>,
    /// [buckets, heads]; empty where the model has none.
    pub(super) distance_buckets: Vec<f32>,
    pub(super) layers: Vec<Layer>,
    pub(super) final_norm: Option<Norm>,
    pub(super) head: Vec<HeadStage>,
}

impl Tensors {
    /// What all weights take in memory.
    pub(super) fn bytes(&self) -> u64 {
        let tables = self.words.len() + self.positions.len() + self.distance_buckets.len();
        let norms = self.embedding_norm.iter().chain(&self.final_norm);
        let head = self.head.iter().map(|stage| match stage {
            HeadStage::Dense(linear, _) => linear.values(),
            HeadStage::Normalize => 0,
        });
        let values = tables
            + norms.map(Norm::values).sum::<usize>()
            + self.layers.iter().map(Layer::values).sum::<usize>()
            + head.sum::<usize>();
        4 * values as u64
    }
}

/// Checks a checkpoint against its description and counts the bytes that its weights will take.
pub(super) fn measure(
    cpu: Cpu,
    precision: EncoderPrecision,
    description: &Description,
    modules: &Modules,
    checkpoint: &Checkpoint,
) -> Result<u64, ModelError> {
    build(cpu, precision, description, modules, checkpoint, true).map(|(_, bytes)| bytes)
}

/// Loads all weights.
pub(super) fn load(
    cpu: Cpu,
    precision: EncoderPrecision,
    description: &Description,
    modules: &Modules,
    checkpoint: &Checkpoint,
) -> Result<Tensors, ModelError> {
    build(cpu, precision, description, modules, checkpoint, false).map(|(tensors, _)| tensors)
}

fn build(
    cpu: Cpu,
    precision: EncoderPrecision,
    description: &Description,
    modules: &Modules,
    checkpoint: &Checkpoint,
    measure: bool,
) -> Result<(Tensors, u64), ModelError> {
    let mut builder = Builder::new(cpu, checkpoint, measure);
    builder.layout = Layout::of(cpu, precision);
    builder.enter(description.names.word);
    let mut tensors = builder.transformer(description)?;
    builder.require_all_used(description, &families::SUPPORTED)?;
    let mut values = builder.values;
    for stage in &modules.stages {
        match stage {
            Stage::Normalize => tensors.head.push(HeadStage::Normalize),
            Stage::Dense {
                folder,
                inputs,
                outputs,
                bias,
                activation,
            } => {
                let dense = Checkpoint::open(folder)?;
                let mut builder = Builder::new(cpu, &dense, measure);
                let linear = builder.linear(&["linear".to_owned()], *inputs, &[*outputs], *bias)?;
                tensors.head.push(HeadStage::Dense(linear, *activation));
                values = values.saturating_add(builder.values);
            }
        }
    }
    Ok((tensors, values.saturating_mul(4)))
}
