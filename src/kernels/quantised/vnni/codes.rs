//! How levels of sixteen rows are read out of two blocks.
//!
//! Levels that have a sign are read so many times higher that [`RAISED`] is what is to be taken off of all of them.

use std::arch::x86_64::{
    __m512i, _mm512_and_si512, _mm512_broadcast_i32x4, _mm512_castsi256_si512, _mm512_inserti64x4,
    _mm512_or_si512, _mm512_set1_epi8, _mm512_setzero_si512, _mm512_shuffle_epi8,
    _mm512_slli_epi16, _mm512_srli_epi16,
};

use pulp::cast;

use crate::kernels::piece::{IQ4_VALUES, Levels};
use crate::kernels::quantised::activations::RAISED;
use crate::kernels::quantised::compiled::CodeForm;
use crate::kernels::quantised::form::Codes;
use crate::kernels::quantised::strip::STEP;

/// Registers of the longest block.
const REGISTERS: usize = 8;

/// The same block of two strips, as it is stored.
#[derive(Clone, Copy)]
pub(super) struct Blocks([__m512i; REGISTERS]);

/// The values of the IQ4 types, raised.
const RAISED_IQ4_VALUES: [u8; 16] = {
    let mut values = [0; 16];
    let mut code = 0;
    while code < 16 {
        values[code] = (IQ4_VALUES[code] as i32 + RAISED) as u8;
        code += 1;
    }
    values
};

/// Whether levels have a sign, so that [`RAISED`] is to be taken off what [`levels`] gives.
pub(super) const fn are_raised<C: CodeForm>() -> bool {
    !matches!(C::LEVELS, Levels::Offset(0))
}

/// How many times higher levels are read.
pub(super) const fn factor<C: CodeForm>() -> i32 {
    1 << shift::<C>()
}

/// The same as a number of bits.
const fn shift<C: CodeForm>() -> i32 {
    match C::LEVELS {
        Levels::Offset(0) | Levels::Iq4 => 0,
        Levels::Offset(offset) => offset.leading_zeros() as i32,
    }
}

/// Reads a block of two strips.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load<C: CodeForm>(near: &[u8], far: &[u8]) -> Blocks {
    let (near, _) = near.as_chunks::<STEP>();
    let (far, _) = far.as_chunks::<STEP>();
    let mut registers = [_mm512_setzero_si512(); REGISTERS];
    for i in 0..C::CODES.bytes() / STEP {
        let half = _mm512_castsi256_si512(cast(near[i]));
        registers[i] = _mm512_inserti64x4::<1>(half, cast(far[i]));
    }
    Blocks(registers)
}

/// The levels of four columns of each of the sixteen rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn levels<C: CodeForm>(blocks: Blocks, step: usize) -> __m512i {
    // Where the bits that follow the lowest four lie, how many there are, and which one is the step's lowest.
    let (plane, count, at) = match C::CODES {
        Codes::Eight => return blocks.0[step],
        Codes::Four => return nibbles::<C>(blocks, step),
        Codes::Five => (4, 1, step),
        Codes::Six => (4 + step / 4, 2, step % 4 * 2),
    };
    let place = 4 + shift::<C>();
    let high = bits(
        blocks.0[plane],
        place - at as i32,
        ((1 << count) - 1) << place,
    );
    _mm512_or_si512(nibbles::<C>(blocks, step), high)
}

/// Levels of four bits, or the lowest four of more.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn nibbles<C: CodeForm>(blocks: Blocks, step: usize) -> __m512i {
    let place = shift::<C>();
    let low = bits(blocks.0[step % 4], place - step as i32 / 4 * 4, 15 << place);
    match C::LEVELS {
        Levels::Offset(_) => low,
        Levels::Iq4 => _mm512_shuffle_epi8(_mm512_broadcast_i32x4(cast(RAISED_IQ4_VALUES)), low),
    }
}

/// Bytes that are moved up, or with `by` below zero down, and what `mask` leaves of them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn bits(bytes: __m512i, by: i32, mask: i32) -> __m512i {
    let moved = match by {
        -7 => _mm512_srli_epi16::<7>(bytes),
        -6 => _mm512_srli_epi16::<6>(bytes),
        -5 => _mm512_srli_epi16::<5>(bytes),
        -4 => _mm512_srli_epi16::<4>(bytes),
        -3 => _mm512_srli_epi16::<3>(bytes),
        -2 => _mm512_srli_epi16::<2>(bytes),
        -1 => _mm512_srli_epi16::<1>(bytes),
        1 => _mm512_slli_epi16::<1>(bytes),
        2 => _mm512_slli_epi16::<2>(bytes),
        3 => _mm512_slli_epi16::<3>(bytes),
        4 => _mm512_slli_epi16::<4>(bytes),
        5 => _mm512_slli_epi16::<5>(bytes),
        6 => _mm512_slli_epi16::<6>(bytes),
        7 => _mm512_slli_epi16::<7>(bytes),
        _ => bytes,
    };
    _mm512_and_si512(moved, _mm512_set1_epi8(mask as i8))
}
