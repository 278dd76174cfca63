//! How levels are read out of a block and multiplied.

use std::arch::x86_64::{__m128i, __m256i};

use pulp::cast;
use pulp::x86::V3;

use crate::kernels::piece::{IQ4_VALUES, Levels};
use crate::kernels::quantised::compiled::CodeForm;
use crate::kernels::quantised::form::Codes;

use super::REGISTER;

/// How many steps' products can be added before they are widened: a sum of neighbours' products is at most twice the
/// largest level times 127, and a sum of such has to stay below 2¹⁵.
pub(super) const fn group<C: CodeForm>() -> usize {
    match C::CODES {
        _ if is_signed::<C>() => 1,
        Codes::Four => 8,
        Codes::Five => 4,
        Codes::Six | Codes::Eight => 2,
    }
}

/// Whether levels use all eight bits, so that they are read as they are, with their sign: unsigned, the products would not
/// stay below 2¹⁵.
const fn is_signed<C: CodeForm>() -> bool {
    matches!((C::CODES, C::LEVELS), (Codes::Eight, _) | (_, Levels::Iq4))
}

/// What is to be taken off each level that [`read`] gives.
pub(super) const fn offset<C: CodeForm>() -> u8 {
    match C::LEVELS {
        Levels::Offset(offset) if !is_signed::<C>() => offset,
        _ => 0,
    }
}

/// The levels of four columns of each of the eight rows, before the offset.
#[inline(always)]
pub(super) fn read<C: CodeForm>(simd: V3, block: &[[u8; REGISTER]], step: usize) -> __m256i {
    match (C::CODES, C::LEVELS) {
        (Codes::Four, Levels::Offset(_)) => nibbles(simd, block, step),
        (Codes::Four, Levels::Iq4) => {
            let table: __m128i = cast(IQ4_VALUES);
            let table = simd.avx2._mm256_broadcastsi128_si256(table);
            simd.avx2
                ._mm256_shuffle_epi8(table, nibbles(simd, block, step))
        }
        (Codes::Five, _) => fives(simd, block, step),
        (Codes::Six, _) => sixes(simd, block, step),
        (Codes::Eight, _) => {
            let raised = simd.avx._mm256_set1_epi8(i8::MIN);
            simd.avx2._mm256_xor_si256(cast(block[step]), raised)
        }
    }
}

/// The sums of neighbours' products.
#[inline(always)]
pub(super) fn multiply<C: CodeForm>(simd: V3, level: __m256i, x: __m256i) -> __m256i {
    if !is_signed::<C>() {
        return simd.avx2._mm256_maddubs_epi16(level, x);
    }
    // No product of neighbours leaves 16 bits, since no activation is −128.
    let x = simd.avx2._mm256_sign_epi8(x, level);
    simd.avx2
        ._mm256_maddubs_epi16(simd.avx2._mm256_abs_epi8(level), x)
}

#[inline(always)]
fn nibbles(simd: V3, block: &[[u8; REGISTER]], step: usize) -> __m256i {
    let mut pairs: __m256i = cast(block[step % 4]);
    if step >= 4 {
        pairs = simd.avx2._mm256_srli_epi16::<4>(pairs);
    }
    simd.avx2
        ._mm256_and_si256(pairs, simd.avx._mm256_set1_epi8(15))
}

#[inline(always)]
fn fives(simd: V3, block: &[[u8; REGISTER]], step: usize) -> __m256i {
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
    simd.avx2._mm256_or_si256(nibbles(simd, block, step), high)
}

#[inline(always)]
fn sixes(simd: V3, block: &[[u8; REGISTER]], step: usize) -> __m256i {
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
    simd.avx2._mm256_or_si256(nibbles(simd, block, step), high)
}
