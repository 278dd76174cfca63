//! The products with AVX2 and FMA.

mod codes;
mod quantise;
mod scales;

pub(super) use quantise::quantise;

use std::arch::x86_64::__m256;
use std::marker::PhantomData;

use pulp::x86::V3;
use pulp::{NullaryFnOnce, cast};

use super::activations::Block;
use super::compiled::{CodeForm, ScaleForm, WithForm, Work};
use super::strip::{STRIP, Strip};

/// Steps of four columns in a block.
const STEPS: usize = 8;
/// Bytes of a register.
const REGISTER: usize = 32;

impl WithForm for Work<'_, '_, V3> {
    fn run<C: CodeForm, S: ScaleForm>(self) {
        let simd = self.token;
        simd.vectorize(Formed::<C, S>(self, PhantomData));
    }
}

/// Work on a matrix of a given form.
struct Formed<'a, 'b, C, S>(Work<'a, 'b, V3>, PhantomData<(C, S)>);

impl<C: CodeForm, S: ScaleForm> NullaryFnOnce for Formed<'_, '_, C, S> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Work {
            token: simd,
            matrix,
            x,
            first,
            rows,
        } = self.0;
        let blocks = matrix.blocks;
        let bias = simd.avx._mm256_set1_ps(matrix.raise.bias());
        let width = rows.first().map_or(0, |row| row.len());
        for (index, from) in (0..width).step_by(STRIP).enumerate() {
            let strip = matrix.strip(first + index);
            let to = width.min(from + STRIP);
            let mut i = 0;
            while rows.len() - i >= 4 {
                let sums = tile::<C, S, 4>(simd, bias, strip, &x[i * blocks..], blocks);
                store(sums, &mut rows[i..], from, to);
                i += 4;
            }
            if rows.len() - i >= 2 {
                let sums = tile::<C, S, 2>(simd, bias, strip, &x[i * blocks..], blocks);
                store(sums, &mut rows[i..], from, to);
                i += 2;
            }
            if rows.len() > i {
                let sums = tile::<C, S, 1>(simd, bias, strip, &x[i * blocks..], blocks);
                store(sums, &mut rows[i..], from, to);
            }
        }
    }
}

#[inline(always)]
fn store<const M: usize>(sums: [__m256; M], rows: &mut [&mut [f32]], from: usize, to: usize) {
    for (row, sum) in rows.iter_mut().zip(sums) {
        let sum: [f32; STRIP] = cast(sum);
        row[from..to].copy_from_slice(&sum[..to - from]);
    }
}

/// The products of `M` rows of activations with a strip's eight rows.
#[inline(always)]
fn tile<C: CodeForm, S: ScaleForm, const M: usize>(
    simd: V3,
    bias: __m256,
    strip: Strip<'_>,
    x: &[Block],
    blocks: usize,
) -> [__m256; M] {
    let zero = simd.avx._mm256_setzero_si256();
    let ones = simd.avx._mm256_set1_epi16(1);
    let mut x_rows: [&[Block]; M] = [&[]; M];
    for i in 0..M {
        x_rows[i] = &x[i * blocks..][..blocks];
    }
    let (group, offset) = (codes::group::<C>(), codes::offset::<C>());
    let mut shared = strip.shared.chunks_exact(S::SCALES.shared_bytes());
    let mut sums = [simd.avx._mm256_setzero_ps(); M];
    let mut scales = [simd.avx._mm256_setzero_ps(); 2];
    let codes = strip.codes.chunks_exact(C::CODES.bytes());
    for (b, codes) in (0..blocks).zip(codes) {
        if b % S::SCALES.shared_by() == 0 {
            scales = scales::shared::<S>(simd, bias, shared.next().unwrap_or_default());
        }
        let steps = &strip.steps[b * S::SCALES.step_bytes()..][..S::SCALES.step_bytes()];
        let (codes, _) = codes.as_chunks::<REGISTER>();
        for part in 0..S::SCALES.parts() {
            let [scale, minimum] = scales::part::<S>(simd, scales, steps, part);
            let steps_of_part = STEPS / S::SCALES.parts();
            let mut wide = [zero; M];
            for from in (0..steps_of_part).step_by(group) {
                let mut narrow = [zero; M];
                for place in from..steps_of_part.min(from + group) {
                    let step = part * steps_of_part + place;
                    let level = codes::read::<C>(simd, codes, step);
                    for i in 0..M {
                        let x = simd.avx._mm256_set1_epi32(x_rows[i][b].codes[step]);
                        let pairs = codes::multiply::<C>(simd, level, x);
                        narrow[i] = simd.avx2._mm256_add_epi16(narrow[i], pairs);
                    }
                }
                for i in 0..M {
                    let fours = simd.avx2._mm256_madd_epi16(narrow[i], ones);
                    wide[i] = simd.avx2._mm256_add_epi32(wide[i], fours);
                }
            }
            for i in 0..M {
                let x = &x_rows[i][b];
                let sum = simd.avx._mm256_cvtepi32_ps(wide[i]);
                let sum = simd
                    .avx
                    ._mm256_mul_ps(sum, simd.avx._mm256_set1_ps(x.scale));
                sums[i] = simd.fma._mm256_fmadd_ps(sum, scale, sums[i]);
                if offset != 0 || S::SCALES.minimums() {
                    let mut less = minimum;
                    if !S::SCALES.minimums() {
                        let offset = simd.avx._mm256_set1_ps(f32::from(offset));
                        less = simd.avx._mm256_mul_ps(scale, offset);
                    }
                    let x_sum = simd.avx._mm256_set1_ps(x.sum_of::<S>(part));
                    sums[i] = simd.fma._mm256_fnmadd_ps(less, x_sum, sums[i]);
                }
            }
        }
    }
    sums
}
