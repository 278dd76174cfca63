//! The product of terms by AVX-512's instructions for it (BF16).

use std::arch::x86_64::{
    __m512, __m512bh, _mm512_add_ps, _mm512_dpbf16_ps, _mm512_set1_epi32, _mm512_setzero_ps,
};

use super::{Part, STEP};
use crate::kernels::Cpu;
use crate::kernels::tiles::{SIDE, Tile};

/// Registers of a panel.
const REGISTERS: usize = 2;
/// Rows that are multiplied with a panel at once: a divisor of a tile's, and with two registers of a panel their sums
/// fill 16 of 32.
const ROWS: usize = 8;

/// Shows that this machine has AVX-512 with BF16: nothing else makes one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    /// `None` where the machine has it not, or `cpu` is of a narrower instruction set.
    pub(super) fn of(cpu: Cpu) -> Option<Self> {
        let wide = cpu.lanes() == SIDE;
        let has =
            wide && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16");
        has.then_some(Self(()))
    }

    pub(super) fn write(self, part: &Part<'_>, rows: usize, out: &mut [f32]) {
        // SAFETY: `self` was made by `of`, which has found the features that the function is compiled for.
        #[allow(unsafe_code)]
        unsafe {
            write_rows(part, rows, out);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn write_rows(part: &Part<'_>, rows: usize, out: &mut [f32]) {
    let mut row = 0;
    while row < rows {
        match rows - row {
            1 => write::<1>(part, row, out),
            2 | 3 => write::<2>(part, row, out),
            4..ROWS => write::<4>(part, row, out),
            _ => write::<ROWS>(part, row, out),
        }
        row += match rows - row {
            1 => 1,
            2 | 3 => 2,
            4..ROWS => 4,
            _ => ROWS,
        };
    }
}

/// `M` rows by a panel. They are of one tile.
#[target_feature(enable = "avx512f,avx512bf16")]
fn write<const M: usize>(part: &Part<'_>, row: usize, out: &mut [f32]) {
    let terms = part.terms.count();
    let mut sums = [[_mm512_setzero_ps(); REGISTERS]; M];
    let block = part.rows.block(part, row / SIDE).chunks_exact(terms);
    for (x, weights) in block.zip(part.tiles.chunks_exact(REGISTERS * terms)) {
        for (of_x, of_weights) in part.terms.products() {
            let x: [&[[u16; 2]]; M] =
                std::array::from_fn(|i| x[*of_x].0[row % SIDE + i].as_chunks().0);
            let weights: [&Tile; REGISTERS] =
                std::array::from_fn(|side| &weights[REGISTERS * of_weights + side]);
            for pair in 0..STEP / 2 {
                let weights: [__m512bh; REGISTERS] =
                    std::array::from_fn(|side| pulp::cast(weights[side].0[pair]));
                for i in 0..M {
                    let x = pulp::cast(_mm512_set1_epi32(pulp::cast(x[i][pair])));
                    for side in 0..REGISTERS {
                        sums[i][side] = _mm512_dpbf16_ps(sums[i][side], x, weights[side]);
                    }
                }
            }
        }
    }
    for (i, sums) in sums.into_iter().enumerate() {
        let line = &mut out[(row + i) * part.outputs + part.first..][..part.count];
        for (side, line) in line.chunks_mut(SIDE).enumerate() {
            let mut bias = [0.0; SIDE];
            for (place, value) in bias.iter_mut().zip(part.bias.iter().skip(side * SIDE)) {
                *place = *value;
            }
            let bias: __m512 = pulp::cast(bias);
            let made: [f32; SIDE] = pulp::cast(_mm512_add_ps(sums[side], bias));
            line.copy_from_slice(&made[..line.len()]);
        }
    }
}
