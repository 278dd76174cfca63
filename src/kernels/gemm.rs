//! Matrix product with a right side that was laid out beforehand.
//!
//! The right side `B` [k, n] is cut into panels of three registers' width, each panel contiguous
//! over k: what the inner loop reads lies in the order in which it is read, so that nothing is
//! packed while the model runs. The left side is read where it is, row by row.

use pulp::{Simd, WithSimd};

use super::Cpu;

/// Registers of `B` that one tile holds; with eight rows their products fill 24 of AVX-512's 32
/// registers, with three rows 9 of AVX2's 16 (with four, the compiler would run out of registers).
const PANEL_REGISTERS: usize = 3;

/// A matrix [k, n] in the layout of this module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packed<'a> {
    /// At least [`packed_len`] values.
    pub(crate) data: &'a [f32],
    /// Rows.
    pub(crate) k: usize,
    /// Columns.
    pub(crate) n: usize,
}

/// How many values a packed [k, n] matrix takes: columns are filled up to whole registers.
pub(crate) fn packed_len(cpu: Cpu, k: usize, n: usize) -> usize {
    n.next_multiple_of(cpu.lanes()).saturating_mul(k)
}

/// Where column `column` begins in the packed data, and how far its next row lies.
pub(super) fn column_place(lanes: usize, k: usize, n: usize, column: usize) -> (usize, usize) {
    let width = PANEL_REGISTERS * lanes;
    let first = column - column % width;
    let stride = width.min((n - first).next_multiple_of(lanes));
    (first * k + column % width, stride)
}

/// Packs rows of `source` as columns of a [k, n] matrix, from column `first` on: row `r` of the
/// `count` rows begins at `r * stride` and gives its first `k` values to column `first + r`.
/// This is the layout of a linear layer's weight, [out, in].
#[expect(clippy::too_many_arguments, reason = "two matrices and their shapes")]
pub(crate) fn pack_transposed(
    cpu: Cpu,
    packed: &mut [f32],
    k: usize,
    n: usize,
    first: usize,
    count: usize,
    source: &[f32],
    stride: usize,
) {
    for row in 0..count {
        let (start, step) = column_place(cpu.lanes(), k, n, first + row);
        let values = &source[row * stride..row * stride + k];
        let places = packed[start..].iter_mut().step_by(step);
        for (place, value) in places.zip(values) {
            *place = *value;
        }
    }
}

/// Packs a row-major [k, n] matrix whose rows lie `stride` apart.
pub(crate) fn pack_columns(
    cpu: Cpu,
    packed: &mut [f32],
    k: usize,
    n: usize,
    source: &[f32],
    stride: usize,
) {
    let width = PANEL_REGISTERS * cpu.lanes();
    for first in (0..n).step_by(width) {
        let count = width.min(n - first);
        let (start, step) = column_place(cpu.lanes(), k, n, first);
        for row in 0..k {
            let values = &source[row * stride + first..][..count];
            packed[start + row * step..][..count].copy_from_slice(values);
        }
    }
}

/// Packs one row of a [k, n] matrix, whose `n` values are given.
pub(crate) fn pack_row(cpu: Cpu, packed: &mut [f32], k: usize, row: usize, values: &[f32]) {
    let n = values.len();
    let width = PANEL_REGISTERS * cpu.lanes();
    for (index, values) in values.chunks(width).enumerate() {
        let (start, step) = column_place(cpu.lanes(), k, n, index * width);
        packed[start + row * step..][..values.len()].copy_from_slice(values);
    }
}

/// `c = a · b + bias`: `a` is [m, k] with rows `lda` apart, `c` is [m, n] with rows `ldc` apart;
/// an empty `bias` is none.
#[expect(clippy::too_many_arguments, reason = "three matrices and their shapes")]
pub(crate) fn gemm(
    cpu: Cpu,
    m: usize,
    a: &[f32],
    lda: usize,
    b: Packed<'_>,
    bias: &[f32],
    c: &mut [f32],
    ldc: usize,
) {
    cpu.run(Gemm {
        m,
        a,
        lda,
        b,
        bias,
        onto: false,
        c,
        ldc,
    });
}

/// `c += a · b`, each sum going on from what is in `c`: a product cut along k into several calls
/// gives the very same values as in one.
pub(crate) fn gemm_onto(
    cpu: Cpu,
    m: usize,
    a: &[f32],
    lda: usize,
    b: Packed<'_>,
    c: &mut [f32],
    ldc: usize,
) {
    cpu.run(Gemm {
        m,
        a,
        lda,
        b,
        bias: &[],
        onto: true,
        c,
        ldc,
    });
}

/// Columns of a full panel.
pub(crate) fn panel_width(cpu: Cpu) -> usize {
    PANEL_REGISTERS * cpu.lanes()
}

struct Gemm<'a> {
    m: usize,
    a: &'a [f32],
    lda: usize,
    b: Packed<'a>,
    bias: &'a [f32],
    onto: bool,
    c: &'a mut [f32],
    ldc: usize,
}

impl WithSimd for Gemm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Packed { data, k, n } = self.b;
        let width = PANEL_REGISTERS * S::F32_LANES;
        let mut first = 0;
        while first < n {
            let count = width.min(n - first);
            let registers = count.div_ceil(S::F32_LANES);
            let strip = Strip {
                a: self.a,
                lda: self.lda,
                m: self.m,
                panel: &data[first * k..][..registers * S::F32_LANES * k],
                k,
                bias: if self.bias.is_empty() {
                    &[]
                } else {
                    &self.bias[first..first + count]
                },
                onto: self.onto,
                c: &mut self.c[first..],
                ldc: self.ldc,
                count,
            };
            match registers {
                1 => simd.vectorize(Registers::<1>(strip)),
                2 => simd.vectorize(Registers::<2>(strip)),
                _ => simd.vectorize(Registers::<PANEL_REGISTERS>(strip)),
            }
            first += width;
        }
    }
}

/// One panel's share of the product: all rows of `a` by `count` columns.
struct Strip<'a> {
    a: &'a [f32],
    lda: usize,
    m: usize,
    panel: &'a [f32],
    k: usize,
    bias: &'a [f32],
    onto: bool,
    c: &'a mut [f32],
    ldc: usize,
    count: usize,
}

struct Registers<'a, const N: usize>(Strip<'a>);

impl<const N: usize> WithSimd for Registers<'_, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut strip = self.0;
        let mut row = 0;
        if S::REGISTER_COUNT >= 32 {
            while strip.m - row >= 8 {
                tile::<S, 8, N>(simd, &mut strip, row);
                row += 8;
            }
        }
        while S::REGISTER_COUNT >= 32 && strip.m - row >= 4 {
            tile::<S, 4, N>(simd, &mut strip, row);
            row += 4;
        }
        while strip.m - row >= 3 {
            tile::<S, 3, N>(simd, &mut strip, row);
            row += 3;
        }
        if strip.m - row >= 2 {
            tile::<S, 2, N>(simd, &mut strip, row);
            row += 2;
        }
        if strip.m > row {
            tile::<S, 1, N>(simd, &mut strip, row);
        }
    }
}

/// `M` rows by `N` registers of the product, kept in registers over the whole of k.
#[expect(
    clippy::needless_range_loop,
    reason = "indices with constant bounds are what the compiler unrolls into registers"
)]
#[inline(always)]
fn tile<S: Simd, const M: usize, const N: usize>(simd: S, strip: &mut Strip<'_>, row: usize) {
    let k = strip.k;
    let mut rows: [&[f32]; M] = [&[]; M];
    for i in 0..M {
        rows[i] = &strip.a[(row + i) * strip.lda..][..k];
    }
    let (panel, _) = S::as_simd_f32s(strip.panel);
    let (steps, _) = panel.as_chunks::<N>();
    let steps = &steps[..k];
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    if strip.onto {
        for i in 0..M {
            let line = &strip.c[(row + i) * strip.ldc..][..strip.count];
            for j in 0..N {
                let to = strip.count.min((j + 1) * S::F32_LANES);
                sums[i][j] = simd.partial_load_f32s(&line[j * S::F32_LANES..to]);
            }
        }
    }
    for p in 0..k {
        let b = steps[p];
        for i in 0..M {
            let a = simd.splat_f32s(rows[i][p]);
            for j in 0..N {
                sums[i][j] = simd.mul_add_e_f32s(a, b[j], sums[i][j]);
            }
        }
    }
    for i in 0..M {
        let line = &mut strip.c[(row + i) * strip.ldc..][..strip.count];
        for j in 0..N {
            let from = j * S::F32_LANES;
            let to = strip.count.min(from + S::F32_LANES);
            let mut sum = sums[i][j];
            if !strip.bias.is_empty() {
                let bias = simd.partial_load_f32s(&strip.bias[from..to]);
                sum = simd.add_f32s(sum, bias);
            }
            simd.partial_store_f32s(&mut line[from..to], sum);
        }
    }
}
