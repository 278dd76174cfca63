//! The product of terms for every machine.

use super::{PANEL, Part, STEP, value};
use crate::kernels::rows::RowPart;
use crate::kernels::tiles::SIDE;

impl RowPart for Part<'_> {
    #[inline(always)]
    fn make(&self, row: usize, out: &mut [f32]) {
        let terms = self.terms.count();
        let mut sums = [0.0; PANEL];
        let (left, right) = sums.split_at_mut(SIDE);
        let block = self.rows.block(self, row / SIDE).chunks_exact(terms);
        for (x, weights) in block.zip(self.tiles.chunks_exact(2 * terms)) {
            for (of_x, of_weights) in self.terms.products() {
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
        let line = &mut out[row * self.outputs + self.first..][..self.count];
        line.copy_from_slice(&sums[..self.count]);
        for (value, bias) in line.iter_mut().zip(self.bias) {
            *value += bias;
        }
    }
}
