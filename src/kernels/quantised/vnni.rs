//! The products with AVX-512's instructions for bytes (VNNI).
//!
//! A register holds a step of two neighbouring strips: four columns of sixteen rows. Its levels are bytes without a sign,
//! so signed levels are raised; what that adds to a sum is known from the activations alone, and a sum begins with as much
//! less.

mod codes;
mod scales;

use std::arch::x86_64::{
    __m512, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_fnmadd_ps,
    _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
};
use std::sync::atomic::{Ordering, compiler_fence};

use pulp::cast;

use crate::kernels::vnni::Vnni;

use super::Quantised;
use super::activations::Block;
use super::compiled::{CodeForm, ScaleForm, WithForm, Work};
use super::strip::{STRIP, Strip};

/// Steps of four columns in a block.
const STEPS: usize = 8;
/// Rows of two strips.
const LANES: usize = 2 * STRIP;

impl WithForm for Work<'_, '_, Vnni> {
    fn run<C: CodeForm, S: ScaleForm>(self) {
        // SAFETY: a `Vnni` exists only where the features that the function is compiled for were found.
        #[allow(unsafe_code)]
        unsafe {
            multiply_form::<C, S>(self.matrix, self.x, self.first, self.rows);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn multiply_form<C: CodeForm, S: ScaleForm>(
    matrix: &Quantised,
    x: &[Block],
    first: usize,
    rows: &mut [&mut [f32]],
) {
    let blocks = matrix.blocks;
    let bias = matrix.raise.bias() / codes::factor::<C>() as f32;
    let width = rows.first().map_or(0, |row| row.len());
    let last = first + width.div_ceil(STRIP).saturating_sub(1);
    for (pair, from) in (0..width).step_by(LANES).enumerate() {
        let at = first + 2 * pair;
        // A last strip that has no neighbour is its own.
        let strips = [matrix.strip(at), matrix.strip(last.min(at + 1))];
        let to = width.min(from + LANES);
        let mut i = 0;
        while rows.len() - i >= 8 {
            let sums = tile::<C, S, 8>(bias, strips, &x[i * blocks..], blocks);
            store(sums, &mut rows[i..], from, to);
            i += 8;
        }
        let x = &x[i * blocks..];
        let rows = &mut rows[i..];
        match rows.len() {
            0 => {}
            1 => store(tile::<C, S, 1>(bias, strips, x, blocks), rows, from, to),
            2 => store(tile::<C, S, 2>(bias, strips, x, blocks), rows, from, to),
            3 => store(tile::<C, S, 3>(bias, strips, x, blocks), rows, from, to),
            4 => store(tile::<C, S, 4>(bias, strips, x, blocks), rows, from, to),
            5 => store(tile::<C, S, 5>(bias, strips, x, blocks), rows, from, to),
            6 => store(tile::<C, S, 6>(bias, strips, x, blocks), rows, from, to),
            _ => store(tile::<C, S, 7>(bias, strips, x, blocks), rows, from, to),
        }
    }
}

#[inline]
fn store<const M: usize>(sums: [__m512; M], rows: &mut [&mut [f32]], from: usize, to: usize) {
    for (row, sum) in rows.iter_mut().zip(sums) {
        let sum: [f32; LANES] = cast(sum);
        row[from..to].copy_from_slice(&sum[..to - from]);
    }
}

/// The products of `M` rows of activations with the sixteen rows of two strips.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn tile<C: CodeForm, S: ScaleForm, const M: usize>(
    bias: f32,
    strips: [Strip<'_>; 2],
    x: &[Block],
    blocks: usize,
) -> [__m512; M] {
    let mut x_rows: [&[Block]; M] = [&[]; M];
    for i in 0..M {
        x_rows[i] = &x[i * blocks..][..blocks];
    }
    let mut sums = [_mm512_setzero_ps(); M];
    let mut scales = [_mm512_setzero_ps(); 2];
    let near = strips[0].codes.chunks_exact(C::CODES.bytes());
    let far = strips[1].codes.chunks_exact(C::CODES.bytes());
    for (b, (near, far)) in (0..blocks).zip(near.zip(far)) {
        let codes = codes::load::<C>(near, far);
        if b % S::SCALES.shared_by() == 0 {
            scales = scales::shared::<S>(bias, strips, b);
        }
        for part in 0..S::SCALES.parts() {
            let [scale, minimum] = scales::part::<S>(scales, strips, b, part);
            let steps_of_part = STEPS / S::SCALES.parts();
            let mut whole = [_mm512_setzero_si512(); M];
            if codes::are_raised::<C>() {
                for i in 0..M {
                    whole[i] = _mm512_set1_epi32(x_rows[i][b].correction_of::<S>(part));
                }
            }
            for step in part * steps_of_part..(part + 1) * steps_of_part {
                // Else the compiler takes row by row, in which each product waits for the one before.
                compiler_fence(Ordering::SeqCst);
                let levels = codes::levels::<C>(codes, step);
                for i in 0..M {
                    let x = _mm512_set1_epi32(x_rows[i][b].codes[step]);
                    whole[i] = _mm512_dpbusd_epi32(whole[i], levels, x);
                }
            }
            for i in 0..M {
                let x = &x_rows[i][b];
                let sum = _mm512_mul_ps(_mm512_cvtepi32_ps(whole[i]), _mm512_set1_ps(x.scale));
                sums[i] = _mm512_fmadd_ps(sum, scale, sums[i]);
                if S::SCALES.minimums() {
                    let x_sum = _mm512_set1_ps(x.sum_of::<S>(part));
                    sums[i] = _mm512_fnmadd_ps(minimum, x_sum, sums[i]);
                }
            }
        }
    }
    sums
}
