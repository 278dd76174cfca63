//! The product of bytes for every machine.

use pulp::{Simd, WithSimd};

use super::{GROUP, PANEL, Part, QUAD, groups, quads};
use crate::kernels::Cpu;

pub(super) fn add_to(cpu: Cpu, part: &Part<'_>, rows: usize, out: &mut [f32]) {
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
                    add_row(part, row, out);
                }
            },
        );
    }
}

#[inline(always)]
fn add_row(part: &Part<'_>, row: usize, out: &mut [f32]) {
    let (width, groups) = (quads(part.inputs), groups(part.inputs));
    let (codes, _) = part.rows.codes[row * width * QUAD..][..width * QUAD].as_chunks::<QUAD>();
    let (weights, _) = part.codes.as_chunks::<{ PANEL * QUAD }>();
    let line = &mut out[row * part.outputs + part.first..][..part.count];
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
        let [scale, zero] = part.rows.scales[row * groups + group];
        let (worth, whole) = part.scales[group * 2 * PANEL..][..2 * PANEL].split_at(PANEL);
        for (((value, sum), worth), whole) in line.iter_mut().zip(sums).zip(worth).zip(whole) {
            *value += scale * (sum as f32 * worth) - zero * whole;
        }
    }
}
