//! What attention over a cache in blocks computes: small products, and the cache's number formats.

use half::f16;
use pulp::{Simd, WithSimd};

use super::Cpu;

/// The operands of [`multiply`].
pub(crate) struct Product<'a> {
    /// [m, k], rows `lda` apart.
    pub(crate) a: &'a [f32],
    pub(crate) lda: usize,
    /// [k, n], rows directly one after the other.
    pub(crate) b: &'a [f32],
    /// [m, n], rows `ldc` apart.
    pub(crate) c: &'a mut [f32],
    pub(crate) ldc: usize,
    pub(crate) m: usize,
    pub(crate) k: usize,
    pub(crate) n: usize,
    /// Whether the product is added to what is in `c`.
    pub(crate) add: bool,
}

/// `c = a · b`, or `c += a · b`. An element's terms are added one after the other in the order of
/// k, so that it is the same, bit for bit, whatever else is computed with it.
pub(crate) fn multiply(cpu: Cpu, product: Product<'_>) {
    cpu.run(product);
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = S::F32_LANES;
        let mut column = 0;
        while column < self.n {
            let left = self.n - column;
            column += if left >= 4 * lanes {
                panel::<S, 4>(simd, &mut self, column);
                4 * lanes
            } else if left >= 2 * lanes {
                panel::<S, 2>(simd, &mut self, column);
                2 * lanes
            } else if left >= lanes {
                panel::<S, 1>(simd, &mut self, column);
                lanes
            } else {
                edge(simd, &mut self, column);
                left
            };
        }
    }
}

/// All rows of `N` registers' width of columns.
#[inline(always)]
fn panel<S: Simd, const N: usize>(simd: S, product: &mut Product<'_>, column: usize) {
    // A tile's sums, its row of b and a factor of a are to fit into the registers.
    let most = (S::REGISTER_COUNT - 2 - N) / N;
    let mut row = 0;
    while row < product.m {
        let left = (product.m - row).min(most);
        row += if left >= 4 {
            tile::<S, 4, N>(simd, product, row, column);
            4
        } else if left == 3 {
            tile::<S, 3, N>(simd, product, row, column);
            3
        } else if left == 2 {
            tile::<S, 2, N>(simd, product, row, column);
            2
        } else {
            tile::<S, 1, N>(simd, product, row, column);
            1
        };
    }
}

/// `M` rows by `N` registers, kept in registers over the whole of k.
#[expect(
    clippy::needless_range_loop,
    reason = "indices with constant bounds are what the compiler unrolls into registers"
)]
#[inline(always)]
fn tile<S: Simd, const M: usize, const N: usize>(
    simd: S,
    product: &mut Product<'_>,
    row: usize,
    column: usize,
) {
    let width = N * S::F32_LANES;
    let k = product.k;
    let mut rows: [&[f32]; M] = [&[]; M];
    for i in 0..M {
        rows[i] = &product.a[(row + i) * product.lda..][..k];
    }
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    if product.add {
        for i in 0..M {
            let line = &product.c[(row + i) * product.ldc + column..][..width];
            let (line, _) = S::as_simd_f32s(line);
            sums[i].copy_from_slice(&line[..N]);
        }
    }
    for (p, line) in product.b.chunks_exact(product.n).take(k).enumerate() {
        let (b, _) = S::as_simd_f32s(&line[column..column + width]);
        for j in 0..N {
            for i in 0..M {
                let a = simd.splat_f32s(rows[i][p]);
                sums[i][j] = simd.mul_add_e_f32s(a, b[j], sums[i][j]);
            }
        }
    }
    for i in 0..M {
        let line = &mut product.c[(row + i) * product.ldc + column..][..width];
        let (line, _) = S::as_mut_simd_f32s(line);
        line[..N].copy_from_slice(&sums[i]);
    }
}

/// The last columns, fewer than a register holds.
#[inline(always)]
fn edge<S: Simd>(simd: S, product: &mut Product<'_>, column: usize) {
    for row in 0..product.m {
        let factors = &product.a[row * product.lda..][..product.k];
        let line = &mut product.c[row * product.ldc..][column..product.n];
        let mut sum = if product.add {
            simd.partial_load_f32s(line)
        } else {
            simd.splat_f32s(0.0)
        };
        for (factor, b) in factors.iter().zip(product.b.chunks_exact(product.n)) {
            let b = simd.partial_load_f32s(&b[column..]);
            sum = simd.mul_add_e_f32s(simd.splat_f32s(*factor), b, sum);
        }
        simd.partial_store_f32s(line, sum);
    }
}

/// Rounds to half precision; what is too large becomes the largest number, what is too small to be
/// normal becomes zero, and a NaN becomes some number (its row's other values still carry it on).
pub(crate) fn narrow(value: f32) -> u16 {
    const LARGEST: f32 = 65_504.0;
    let half = f16::from_f32(value.clamp(-LARGEST, LARGEST)).to_bits();
    if half & 0x7c00 == 0 {
        half & 0x8000
    } else {
        half
    }
}

/// What [`narrow`] has made, back as `f32`.
#[inline(always)]
pub(crate) fn widen_one(half: u16) -> f32 {
    // Sign and magnitude move to where f32 has them; the product corrects the exponent.
    let bits = ((u32::from(half) << 16) as i32 >> 3) as u32 & 0x8fff_e000;
    f32::from_bits(bits) * f32::from_bits((127 + 112) << 23)
}

/// [`widen_one`] for many.
pub(crate) fn widen(cpu: Cpu, halves: &[u16], out: &mut [f32]) {
    cpu.run(Widen { halves, out });
}

struct Widen<'a> {
    halves: &'a [u16],
    out: &'a mut [f32],
}

impl WithSimd for Widen<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        // The compiler makes vectors of the instruction set of it.
        for (out, half) in self.out.iter_mut().zip(self.halves) {
            *out = widen_one(*half);
        }
    }
}

/// Eight-bit values in rows of `width`, times factors, into `out`.
pub(crate) struct Rescale<'a> {
    pub(crate) values: &'a [i8],
    pub(crate) width: usize,
    pub(crate) factors: Factors<'a>,
    pub(crate) out: &'a mut [f32],
}

/// Which values share a factor.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Factors<'a> {
    /// Those of a column, in each stretch of this many rows: [stretches, width].
    Columns(usize, &'a [f32]),
    /// Those of a row, in each stretch of this many columns: [rows, stretches].
    Rows(usize, &'a [f32]),
}

/// Computes it.
pub(crate) fn rescale(cpu: Cpu, task: Rescale<'_>) {
    cpu.run(task);
}

impl WithSimd for Rescale<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let width = self.width.max(1);
        let rows = self.values.chunks_exact(width);
        let rows = rows.zip(self.out.chunks_exact_mut(width));
        match self.factors {
            Factors::Columns(stretch, factors) => {
                for (row, (values, out)) in rows.enumerate() {
                    let factors = &factors[row / stretch * width..][..width];
                    for ((out, value), factor) in out.iter_mut().zip(values).zip(factors) {
                        *out = f32::from(*value) * factor;
                    }
                }
            }
            Factors::Rows(stretch, factors) => {
                let factors = factors.chunks_exact(width.div_ceil(stretch));
                for ((values, out), factors) in rows.zip(factors) {
                    let parts = values.chunks(stretch).zip(out.chunks_mut(stretch));
                    for ((values, out), factor) in parts.zip(factors) {
                        for (out, value) in out.iter_mut().zip(values) {
                            *out = f32::from(*value) * factor;
                        }
                    }
                }
            }
        }
    }
}
