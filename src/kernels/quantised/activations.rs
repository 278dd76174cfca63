//! Activations as signed bytes with a scale for each 32.

use rayon::prelude::*;

use crate::kernels::piece::PIECE;
use crate::kernels::{Cpu, Team};

#[cfg(target_arch = "x86_64")]
use super::compiled::ScaleForm;

/// Fewer activations than this are quantised on one thread.
const WORTH_A_FORK: usize = 1 << 15;

/// By how much levels are higher than they mean, where bytes without a sign stand for signed ones.
pub(super) const RAISED: i32 = 128;

/// 32 activations of one row, in a cache line.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub(crate) struct Block {
    /// The codes, −127 to 127, four to each number, the first in its lowest byte.
    pub(crate) codes: [i32; 8],
    /// What a code is worth; not a number if one of the activations is not finite.
    pub(crate) scale: f32,
    /// The sum of the codes, times the scale.
    pub(crate) sum: f32,
    /// The same for each half of the codes.
    pub(crate) half_sums: [f32; 2],
    /// What makes up for levels that are [`RAISED`] in a sum of products with the codes.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(dead_code, reason = "for AVX-512 alone")
    )]
    pub(crate) correction: i32,
    /// The same for each half of the codes.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(dead_code, reason = "for AVX-512 alone")
    )]
    pub(crate) half_corrections: [i32; 2],
}

impl Block {
    /// Quantises; each activation is off by at most half of `scale`, which is the largest one's
    /// 127th part.
    fn of(x: &[f32; PIECE]) -> Self {
        // Added to a value below 2²², it leaves the value rounded to a whole number in the low bits.
        const ROUND: f32 = 12_582_912.0;
        // Without their sign, floats are in order as whole numbers, with what is not finite last.
        let magnitudes = x.map(|value| value.to_bits() & 0x7fff_ffff);
        let (scale, inverse) = steps(magnitudes.into_iter().fold(0, u32::max));
        let codes = x.map(|value| (value * inverse + ROUND).to_bits() as i8);
        let mut words = [0; 8];
        for (word, four) in words.iter_mut().zip(codes.as_chunks::<4>().0) {
            *word = i32::from_le_bytes(four.map(i8::cast_unsigned));
        }
        let (first, second) = codes.split_at(PIECE / 2);
        let sum = |codes: &[i8]| codes.iter().map(|code| i32::from(*code)).sum();
        Self::new(words, scale, [sum(first), sum(second)])
    }

    /// [`Self::sum`] of what has a scale of its own: all codes or a half.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn sum_of<S: ScaleForm>(&self, part: usize) -> f32 {
        match S::SCALES.parts() {
            1 => self.sum,
            _ => self.half_sums[part],
        }
    }

    /// [`Self::correction`], likewise.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn correction_of<S: ScaleForm>(&self, part: usize) -> i32 {
        match S::SCALES.parts() {
            1 => self.correction,
            _ => self.half_corrections[part],
        }
    }

    /// `sums` are those of each half of the codes.
    #[inline(always)]
    pub(super) fn new(codes: [i32; 8], scale: f32, sums: [i32; 2]) -> Self {
        Self {
            codes,
            scale,
            sum: scale * (sums[0] + sums[1]) as f32,
            half_sums: sums.map(|sum| scale * sum as f32),
            correction: -RAISED * (sums[0] + sums[1]),
            half_corrections: sums.map(|sum| -RAISED * sum),
        }
    }
}

/// What a code is worth, and its inverse, for the bits of the largest magnitude.
#[inline(always)]
pub(super) fn steps(largest: u32) -> (f32, f32) {
    let largest = f32::from_bits(largest);
    if !largest.is_finite() {
        return (f32::NAN, 0.0);
    }
    let scale = largest / 127.0;
    let inverse = if scale >= f32::MIN_POSITIVE {
        127.0 / largest
    } else {
        0.0
    };
    (scale, inverse)
}

/// The rows of activations of one call, quantised once for all its matrices.
#[derive(Debug, Default)]
pub(crate) struct Activations {
    blocks: Vec<Block>,
    row: usize,
}

impl Activations {
    /// Quantises `x`, rows of `columns`, which are a multiple of 32.
    pub(crate) fn fill(&mut self, cpu: Cpu, team: &Team, x: &[f32], columns: usize) {
        let (pieces, _) = x.as_chunks::<PIECE>();
        self.row = columns / PIECE;
        self.blocks.resize(pieces.len(), Block::default());
        if team.threads() == 1 || x.len() < WORTH_A_FORK {
            quantise(cpu, pieces, &mut self.blocks);
            return;
        }
        let share = pieces.len().div_ceil(team.threads());
        let blocks = self.blocks.par_chunks_mut(share);
        blocks
            .zip(pieces.par_chunks(share))
            .for_each(|(blocks, pieces)| quantise(cpu, pieces, blocks));
    }

    /// The blocks of rows `first .. first + count`.
    pub(crate) fn rows(&self, first: usize, count: usize) -> &[Block] {
        &self.blocks[first * self.row..(first + count) * self.row]
    }
}

fn quantise(cpu: Cpu, pieces: &[[f32; PIECE]], blocks: &mut [Block]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = cpu.avx2() {
        super::avx2::quantise(simd, pieces, blocks);
        return;
    }
    let _ = cpu;
    for (block, piece) in blocks.iter_mut().zip(pieces) {
        *block = Block::of(piece);
    }
}
