//! The product of bytes for every machine.

use super::{GROUP, PANEL, Part, QUAD, groups, quads};
use crate::kernels::rows::RowPart;

impl RowPart for Part<'_> {
    #[inline(always)]
    fn make(&self, row: usize, out: &mut [f32]) {
        let (width, groups) = (quads(self.inputs), groups(self.inputs));
        let (codes, _) = self.rows.codes[row * width * QUAD..][..width * QUAD].as_chunks::<QUAD>();
        let (weights, _) = self.codes.as_chunks::<{ PANEL * QUAD }>();
        let line = &mut out[row * self.outputs + self.first..][..self.count];
        for group in 0..groups {
            let from = group * GROUP / QUAD;
            let to = width.min(from + GROUP / QUAD);
            let mut sums = [0_i32; PANEL];
            for (quad, weights) in codes[from..to].iter().zip(&weights[from..to]) {
                let quad = quad.map(i32::from);
                for (sum, weights) in sums.iter_mut().zip(weights.as_chunks::<QUAD>().0) {
                    let products = quad.iter().zip(weights);
                    *sum += products
                        .map(|(code, weight)| code * i32::from(*weight))
                        .sum::<i32>();
                }
            }
            let [scale, zero] = self.rows.scales[row * groups + group];
            let (worth, whole) = self.scales[group * 2 * PANEL..][..2 * PANEL].split_at(PANEL);
            for (((value, sum), worth), whole) in line.iter_mut().zip(sums).zip(worth).zip(whole) {
                *value += scale * (sum as f32 * worth) - zero * whole;
            }
        }
    }
}
