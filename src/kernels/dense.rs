//! Products with weights that were laid out beforehand, on the threads of the current pool.

use rayon::prelude::*;

use super::Cpu;
use super::gemm::{Packed, gemm, pack_transposed, packed_len, panel_width};
use super::pages::prefer_large_pages;

/// Pieces of work for each thread.
const PIECES: usize = 2;
/// Rows that share what is read of the weights.
const ROWS: usize = 8;
/// Multiplications that are worth a fork.
const WORTH_A_FORK: usize = 1 << 17;

/// A linear layer's weights, `[outputs, inputs]`, in the panels of [`super::gemm`].
#[derive(Debug)]
pub(crate) struct Dense {
    panels: Vec<f32>,
    inputs: usize,
    outputs: usize,
}

impl Dense {
    /// Lays out a row-major matrix.
    pub(crate) fn pack(cpu: Cpu, outputs: usize, inputs: usize, weight: &[f32]) -> Self {
        let mut panels = vec![0.0; packed_len(cpu, inputs, outputs)];
        prefer_large_pages(&mut panels);
        pack_transposed(
            cpu,
            &mut panels,
            inputs,
            outputs,
            0,
            outputs,
            weight,
            inputs,
        );
        Self {
            panels,
            inputs,
            outputs,
        }
    }

    /// `out = x · Wᵀ + bias`, for as many rows as `x` has; an empty `bias` is none. A row of the result
    /// depends on its own row of `x` alone, bit for bit, and not on the number of threads.
    pub(crate) fn run(&self, cpu: Cpu, x: &[f32], bias: &[f32], out: &mut [f32]) {
        let Self {
            inputs, outputs, ..
        } = *self;
        if inputs == 0 || outputs == 0 {
            return;
        }
        let rows = x.len() / inputs;
        let threads = rayon::current_num_threads();
        let work = rows.saturating_mul(inputs).saturating_mul(outputs);
        let pieces = (work / WORTH_A_FORK).clamp(1, threads * PIECES);
        if rows < threads * ROWS && pieces > 1 {
            self.by_columns(cpu, pieces, x, bias, out);
            return;
        }
        let at_once = rows.div_ceil(pieces).next_multiple_of(ROWS);
        out.par_chunks_mut(at_once * outputs)
            .zip(x.par_chunks(at_once * inputs))
            .for_each(|(out, x)| {
                let rows = x.len() / inputs;
                gemm(
                    cpu,
                    rows,
                    x,
                    inputs,
                    self.columns(0, outputs),
                    bias,
                    out,
                    outputs,
                );
            });
    }

    /// Few rows: all threads share each of them.
    fn by_columns(&self, cpu: Cpu, pieces: usize, x: &[f32], bias: &[f32], out: &mut [f32]) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let width = outputs.div_ceil(pieces).next_multiple_of(panel_width(cpu));
        let rows = x.len() / inputs;
        let made: Vec<Vec<f32>> = (0..outputs.div_ceil(width))
            .into_par_iter()
            .map(|piece| {
                let first = piece * width;
                let count = width.min(outputs - first);
                let mut made = vec![0.0; rows * count];
                let bias = bias.get(first..first + count).unwrap_or_default();
                let columns = self.columns(first, count);
                gemm(cpu, rows, x, inputs, columns, bias, &mut made, count);
                made
            })
            .collect();
        for (piece, made) in made.iter().enumerate() {
            let first = piece * width;
            let count = width.min(outputs - first);
            let lines = out.chunks_exact_mut(outputs).zip(made.chunks_exact(count));
            lines.for_each(|(out, made)| out[first..first + count].copy_from_slice(made));
        }
    }

    /// `count` columns of the product, from a whole panel's first on.
    fn columns(&self, first: usize, count: usize) -> Packed<'_> {
        Packed {
            data: &self.panels[first * self.inputs..],
            k: self.inputs,
            n: count,
        }
    }
}
