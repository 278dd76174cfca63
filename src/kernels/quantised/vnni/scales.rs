//! How the scales of sixteen rows are read.

use std::arch::x86_64::{
    __m512, _mm512_and_si512, _mm512_castsi512_ps, _mm512_cvtepi8_epi32, _mm512_cvtepi16_epi32,
    _mm512_cvtepi32_ps, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_slli_epi32,
};

use pulp::cast;

use crate::kernels::quantised::compiled::ScaleForm;
use crate::kernels::quantised::strip::{STRIP, Strip};

/// What block `b` of two strips shares with others: scales and minimums, the latter zero where the
/// form has none. `bias` is [`Raise::bias`](crate::kernels::halves::Raise::bias), and less where
/// levels are read higher.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn shared<S: ScaleForm>(bias: f32, strips: [Strip<'_>; 2], b: usize) -> [__m512; 2] {
    let (at, size) = (b / S::SCALES.shared_by(), S::SCALES.shared_bytes());
    let (near, _) = strips[0].shared[at * size..][..size].as_chunks();
    let (far, _) = strips[1].shared[at * size..][..size].as_chunks();
    let scale = widen(bias, [near[0], far[0]]);
    if S::SCALES.minimums() {
        [scale, widen(bias, [near[1], far[1]])]
    } else {
        [scale, _mm512_setzero_ps()]
    }
}

/// The same for one part of a block.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn part<S: ScaleForm>(
    shared: [__m512; 2],
    strips: [Strip<'_>; 2],
    b: usize,
    part: usize,
) -> [__m512; 2] {
    if S::SCALES.shared_by() == 1 {
        return shared;
    }
    let size = S::SCALES.step_bytes();
    let (near, _) = strips[0].steps[b * size..][..size].as_chunks();
    let (far, _) = strips[1].steps[b * size..][..size].as_chunks();
    let scale = _mm512_mul_ps(shared[0], floats([near[part], far[part]]));
    if S::SCALES.minimums() {
        let part = S::SCALES.parts() + part;
        [
            scale,
            _mm512_mul_ps(shared[1], floats([near[part], far[part]])),
        ]
    } else {
        [scale, shared[1]]
    }
}

/// Widens finite 16-bit floats: their bits are moved into place and the exponent's bias made up
/// for by a multiplication.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn widen(bias: f32, halves: [[u8; 2 * STRIP]; 2]) -> __m512 {
    let bits = _mm512_slli_epi32::<13>(_mm512_cvtepi16_epi32(cast(halves)));
    let sign_and_rest = _mm512_set1_epi32(0x8fff_e000_u32.cast_signed());
    let bits = _mm512_and_si512(bits, sign_and_rest);
    _mm512_mul_ps(_mm512_castsi512_ps(bits), _mm512_set1_ps(bias))
}

/// Sixteen signed bytes as floats.
#[inline]
#[target_feature(enable = "avx512f")]
fn floats(steps: [[u8; STRIP]; 2]) -> __m512 {
    _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(cast(steps)))
}
