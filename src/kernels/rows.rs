//! Results that are made row by row, for every machine.

use pulp::{Simd, WithSimd};

use super::Cpu;

/// A part of each row of a result.
pub(super) trait RowPart {
    /// Makes it. To be inlined always: it is compiled for the instruction set of who calls it.
    fn make(&self, row: usize, out: &mut [f32]);

    /// Makes it of the first `rows` rows, with this instruction set.
    fn make_all(&self, cpu: Cpu, rows: usize, out: &mut [f32])
    where
        Self: Sized,
    {
        let part = self;
        cpu.run(Job { part, rows, out });
    }
}

struct Job<'a, P> {
    part: &'a P,
    rows: usize,
    out: &'a mut [f32],
}

impl<P: RowPart> WithSimd for Job<'_, P> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { part, rows, out } = self;
        simd.vectorize(
            #[inline(always)]
            || {
                for row in 0..rows {
                    part.make(row, out);
                }
            },
        );
    }
}
