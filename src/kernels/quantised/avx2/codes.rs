//! How levels are read out of a block and multiplied.

use std::arch::x86_64::{__m128i, __m256i};

use pulp::cast;
use pulp::x86::V3;

use crate::kernels::piece::IQ4_VALUES;
use crate::kernels::quantised::form::Codes;

use super::REGISTER;

/// How levels are read out of a block, and how far their products add up in 16 bits.
pub(super) trait CodeForm {
    const FORM: Codes;
    /// What is to be taken off each code; none where there are minimums.
    const OFFSET: u8 = 0;
    /// How many steps' products can be added before they are widened.
    const GROUP: usize;

    /// The levels of four columns of each of the eight rows, before the offset.
    fn step(simd: V3, block: &[[u8; REGISTER]], step: usize) -> __m256i;

    /// The sums of neighbours' products.
    #[inline(always)]
    fn multiply(simd: V3, level: __m256i, x: __m256i) -> __m256i {
        simd.avx2._mm256_maddubs_epi16(level, x)
    }
}

/// As [`CodeForm::multiply`], for signed levels: no product of neighbours leaves 16 bits, since
/// no activation is −128.
#[inline(always)]
fn multiply_signed(simd: V3, level: __m256i, x: __m256i) -> __m256i {
    let x = simd.avx2._mm256_sign_epi8(x, level);
    simd.avx2
        ._mm256_maddubs_epi16(simd.avx2._mm256_abs_epi8(level), x)
}

#[inline(always)]
fn nibble(simd: V3, block: &[[u8; REGISTER]], step: usize) -> __m256i {
    let mut pairs: __m256i = cast(block[step % 4]);
    if step >= 4 {
        pairs = simd.avx2._mm256_srli_epi16::<4>(pairs);
    }
    simd.avx2
        ._mm256_and_si256(pairs, simd.avx._mm256_set1_epi8(15))
}

/// Four bits, less `OFFSET`.
pub(super) struct Four<const OFFSET: u8>;

impl<const OFFSET: u8> CodeForm for Four<OFFSET> {
    const FORM: Codes = Codes::Four;
    const OFFSET: u8 = OFFSET;
    // 8 · 2 · 15 · 127 < 2¹⁵
    const GROUP: usize = 8;

    #[inline(always)]
    fn step(simd: V3, block: &[[u8; REGISTER]], step: usize) -> __m256i {
        nibble(simd, block, step)
    }
}

/// Five bits, less `OFFSET`.
pub(super) struct Five<const OFFSET: u8>;

impl<const OFFSET: u8> CodeForm for Five<OFFSET> {
    const FORM: Codes = Codes::Five;
    const OFFSET: u8 = OFFSET;
    // 4 · 2 · 31 · 127 < 2¹⁵
    const GROUP: usize = 4;

    #[inline(always)]
    fn step(simd: V3, block: &[[u8; REGISTER]], step: usize) -> __m256i {
        let plane: __m256i = cast(block[4]);
        let high = match step {
            0 => simd.avx2._mm256_slli_epi16::<4>(plane),
            1 => simd.avx2._mm256_slli_epi16::<3>(plane),
            2 => simd.avx2._mm256_slli_epi16::<2>(plane),
            3 => simd.avx2._mm256_slli_epi16::<1>(plane),
            4 => plane,
            5 => simd.avx2._mm256_srli_epi16::<1>(plane),
            6 => simd.avx2._mm256_srli_epi16::<2>(plane),
            _ => simd.avx2._mm256_srli_epi16::<3>(plane),
        };
        let high = simd
            .avx2
            ._mm256_and_si256(high, simd.avx._mm256_set1_epi8(16));
        simd.avx2._mm256_or_si256(nibble(simd, block, step), high)
    }
}

/// Six bits, less 32.
pub(super) struct Six;

impl CodeForm for Six {
    const FORM: Codes = Codes::Six;
    const OFFSET: u8 = 32;
    // 2 · 2 · 63 · 127 < 2¹⁵
    const GROUP: usize = 2;

    #[inline(always)]
    fn step(simd: V3, block: &[[u8; REGISTER]], step: usize) -> __m256i {
        let plane: __m256i = cast(block[4 + step / 4]);
        let high = match step % 4 {
            0 => simd.avx2._mm256_slli_epi16::<4>(plane),
            1 => simd.avx2._mm256_slli_epi16::<2>(plane),
            2 => plane,
            _ => simd.avx2._mm256_srli_epi16::<2>(plane),
        };
        let high = simd
            .avx2
            ._mm256_and_si256(high, simd.avx._mm256_set1_epi8(48));
        simd.avx2._mm256_or_si256(nibble(simd, block, step), high)
    }
}

/// Signed bytes.
pub(super) struct Eight;

impl CodeForm for Eight {
    const FORM: Codes = Codes::Eight;
    const GROUP: usize = 1;

    #[inline(always)]
    fn step(_simd: V3, block: &[[u8; REGISTER]], step: usize) -> __m256i {
        cast(block[step])
    }

    #[inline(always)]
    fn multiply(simd: V3, level: __m256i, x: __m256i) -> __m256i {
        multiply_signed(simd, level, x)
    }
}

/// Places in a table of signed bytes.
pub(super) struct Iq4;

impl CodeForm for Iq4 {
    const FORM: Codes = Codes::Four;
    const GROUP: usize = 1;

    #[inline(always)]
    fn step(simd: V3, block: &[[u8; REGISTER]], step: usize) -> __m256i {
        let table: __m128i = cast(IQ4_VALUES);
        let table = simd.avx2._mm256_broadcastsi128_si256(table);
        simd.avx2
            ._mm256_shuffle_epi8(table, nibble(simd, block, step))
    }

    #[inline(always)]
    fn multiply(simd: V3, level: __m256i, x: __m256i) -> __m256i {
        multiply_signed(simd, level, x)
    }
}
