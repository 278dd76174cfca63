//! How the scales of eight rows are read.

use std::arch::x86_64::__m256;

use pulp::cast;
use pulp::x86::V3;

use crate::kernels::quantised::compiled::ScaleForm;
use crate::kernels::quantised::strip::STRIP;

/// What blocks share: scales and minimums, the latter zero where the form has none. `bias` is
/// [`Raise::bias`](crate::kernels::halves::Raise::bias).
#[inline(always)]
pub(super) fn shared<S: ScaleForm>(simd: V3, bias: __m256, shared: &[u8]) -> [__m256; 2] {
    let (halves, _) = shared.as_chunks();
    let scale = widen(simd, bias, halves[0]);
    if S::SCALES.minimums() {
        [scale, widen(simd, bias, halves[1])]
    } else {
        [scale, simd.avx._mm256_setzero_ps()]
    }
}

/// The same for one part of a block.
#[inline(always)]
pub(super) fn part<S: ScaleForm>(
    simd: V3,
    shared: [__m256; 2],
    steps: &[u8],
    part: usize,
) -> [__m256; 2] {
    if S::SCALES.shared_by() == 1 {
        return shared;
    }
    let (steps, _) = steps.as_chunks();
    let times = |value, step| simd.avx._mm256_mul_ps(value, floats(simd, step));
    let scale = times(shared[0], steps[part]);
    if S::SCALES.minimums() {
        [scale, times(shared[1], steps[S::SCALES.parts() + part])]
    } else {
        [scale, shared[1]]
    }
}

/// Widens finite 16-bit floats: their bits are moved into place and the exponent's bias made up
/// for by a multiplication.
#[inline(always)]
fn widen(simd: V3, bias: __m256, halves: [u8; 2 * STRIP]) -> __m256 {
    let bits = simd.avx2._mm256_cvtepi16_epi32(cast(halves));
    let bits = simd.avx2._mm256_slli_epi32::<13>(bits);
    let sign_and_rest = simd.avx._mm256_set1_epi32(0x8fff_e000_u32.cast_signed());
    let bits = simd.avx2._mm256_and_si256(bits, sign_and_rest);
    simd.avx._mm256_mul_ps(cast(bits), bias)
}

/// Eight signed bytes as floats.
#[inline(always)]
fn floats(simd: V3, steps: [u8; STRIP]) -> __m256 {
    let steps = simd.sse2._mm_set_epi64x(0, i64::from_le_bytes(steps));
    simd.avx
        ._mm256_cvtepi32_ps(simd.avx2._mm256_cvtepi8_epi32(steps))
}
