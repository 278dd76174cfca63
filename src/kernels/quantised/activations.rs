//! Activations as signed bytes with a scale for each 32.

use rayon::prelude::*;

use crate::kernels::piece::PIECE;
use crate::kernels::{Cpu, Team};

/// Fewer activations than this are quantised on one thread.
const WORTH_A_FORK: usize = 1 << 15;

/// 32 activations of one row.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(16))]
pub(crate) struct Block {
    /// The codes, −127 to 127, four to each number, the first in its lowest byte.
    pub(crate) codes: [i32; 8],
    /// What a code is worth; not a number if one of the activations is not finite.
    pub(crate) scale: f32,
    /// The sum of the codes, times the scale.
    pub(crate) sum: f32,
    /// The same for each half of the codes.
    pub(crate) half_sums: [f32; 2],
}

impl Block {
    /// Quantises; each activation is off by at most half of `scale`, which is the largest one's
    /// 127th part.
    #[inline(always)]
    fn of(x: &[f32; PIECE]) -> Self {
        // Added to a value below 2²², it leaves the value rounded to a whole number in the low bits.
        const ROUND: f32 = 12_582_912.0;
        // Without their sign, floats are in order as whole numbers, with what is not finite last.
        let magnitudes = x.map(|value| value.to_bits() & 0x7fff_ffff);
        let largest = f32::from_bits(magnitudes.into_iter().fold(0, u32::max));
        let scale = if largest.is_finite() {
            largest / 127.0
        } else {
            f32::NAN
        };
        let inverse = if scale >= f32::MIN_POSITIVE {
            127.0 / largest
        } else {
            0.0
        };
        let codes = x.map(|value| (value * inverse + ROUND).to_bits() as i8);
        let mut words = [0; 8];
        for (word, four) in words.iter_mut().zip(codes.as_chunks::<4>().0) {
            *word = i32::from_le_bytes(four.map(i8::cast_unsigned));
        }
        let sum = |half: usize| {
            let codes = &codes[half * PIECE / 2..(half + 1) * PIECE / 2];
            codes.iter().map(|code| i32::from(*code)).sum::<i32>()
        };
        let (first, second) = (sum(0), sum(1));
        Self {
            codes: words,
            scale,
            sum: scale * (first + second) as f32,
            half_sums: [scale * first as f32, scale * second as f32],
        }
    }
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
    // Plain code, which the compiler turns into what the instruction set has.
    cpu.run(|| {
        for (block, piece) in blocks.iter_mut().zip(pieces) {
            *block = Block::of(piece);
        }
    });
}
