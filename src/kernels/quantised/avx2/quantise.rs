//! Activations as signed bytes.

use std::arch::x86_64::{__m256, __m256i};

use pulp::x86::V3;
use pulp::{NullaryFnOnce, cast};

use crate::kernels::piece::PIECE;
use crate::kernels::quantised::activations::{Block, steps};

/// Fills `blocks` with what [`Block::of`] makes of `pieces`.
pub(in crate::kernels::quantised) fn quantise(
    simd: V3,
    pieces: &[[f32; PIECE]],
    blocks: &mut [Block],
) {
    simd.vectorize(Quantise {
        simd,
        pieces,
        blocks,
    });
}

struct Quantise<'a> {
    simd: V3,
    pieces: &'a [[f32; PIECE]],
    blocks: &'a mut [Block],
}

impl NullaryFnOnce for Quantise<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (block, piece) in self.blocks.iter_mut().zip(self.pieces) {
            *block = block_of(self.simd, piece);
        }
    }
}

#[inline(always)]
fn block_of(simd: V3, piece: &[f32; PIECE]) -> Block {
    let x: [__m256; 4] = cast(*piece);
    let (scale, inverse) = steps(largest(simd, x));
    let inverse = simd.avx._mm256_set1_ps(inverse);
    let whole = x.map(|x| {
        simd.avx
            ._mm256_cvtps_epi32(simd.avx._mm256_mul_ps(x, inverse))
    });
    let first = simd.avx2._mm256_packs_epi32(whole[0], whole[1]);
    let second = simd.avx2._mm256_packs_epi32(whole[2], whole[3]);
    let bytes = simd.avx2._mm256_packs_epi16(first, second);
    // Packing works on halves of registers: put the fours back in order.
    let order = simd.avx._mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    let bytes = simd.avx2._mm256_permutevar8x32_epi32(bytes, order);

    let pairs = simd
        .avx2
        ._mm256_maddubs_epi16(simd.avx._mm256_set1_epi8(1), bytes);
    let fours: [i32; 8] = cast(
        simd.avx2
            ._mm256_madd_epi16(pairs, simd.avx._mm256_set1_epi16(1)),
    );
    let first = fours[0] + fours[1] + fours[2] + fours[3];
    let second = fours[4] + fours[5] + fours[6] + fours[7];
    Block::new(cast(bytes), scale, [first, second])
}

/// The largest magnitude; without their sign, floats are in order as whole numbers.
#[inline(always)]
fn largest(simd: V3, x: [__m256; 4]) -> u32 {
    let sign = simd.avx._mm256_set1_epi32(i32::MAX);
    let magnitudes = x.map(|x| simd.avx2._mm256_and_si256(cast(x), sign));
    let max = |a: __m256i, b: __m256i| simd.avx2._mm256_max_epi32(a, b);
    let all = max(
        max(magnitudes[0], magnitudes[1]),
        max(magnitudes[2], magnitudes[3]),
    );
    let all = max(all, simd.avx2._mm256_permute2x128_si256::<1>(all, all));
    let all = max(all, simd.avx2._mm256_shuffle_epi32::<0b0100_1110>(all));
    let all = max(all, simd.avx2._mm256_shuffle_epi32::<0b1011_0001>(all));
    let lanes: [u32; 8] = cast(all);
    lanes[0]
}
