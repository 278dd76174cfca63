//! The product of terms for every machine.

use pulp::{Simd, WithSimd};

use super::{PANEL, Part, STEP, value};
use crate::kernels::Cpu;
use crate::kernels::tiles::SIDE;

pub(super) fn write(cpu: Cpu, part: &Part<'_>, rows: usize, out: &mut [f32]) {
    cpu.run(Job { part, rows, out });
}

struct Job<'a> {
    part: &'a Part<'a>,
    rows: usize,
    out: &'a mut [f32],
}

impl WithSimd for Job<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { part, rows, out } = self;
        simd.vectorize(
            #[inline(always)]
            || {
                for row in 0..rows {
                    write_row(part, row, out);
                }
            },
        );
    }
}

#[inline(always)]
fn write_row(part: &Part<'_>, row: usize, out: &mut [f32]) {
    let terms = part.terms.count();
    let mut sums = [0.0; PANEL];
    let (left, right) = sums.split_at_mut(SIDE);
    let block = part.rows.block(part, row / SIDE).chunks_exact(terms);
    for (x, weights) in block.zip(part.tiles.chunks_exact(2 * terms)) {
        for (of_x, of_weights) in part.terms.products() {
            let x = &x[*of_x].0[row % SIDE];
            for (side, sums) in [&mut *left, &mut *right].into_iter().enumerate() {
                let weights = &weights[2 * of_weights + side].0;
                for pair in 0..STEP / 2 {
                    let [first, second] = [value(x[2 * pair]), value(x[2 * pair + 1])];
                    let (weights, _) = weights[pair].as_chunks::<2>();
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        *sum += first * value(weights[0]) + second * value(weights[1]);
                    }
                }
            }
        }
    }
    let line = &mut out[row * part.outputs + part.first..][..part.count];
    line.copy_from_slice(&sums[..part.count]);
    for (value, bias) in line.iter_mut().zip(part.bias) {
        *value += bias;
    }
}
