//! The product of bytes by AVX-512's instructions for it (VNNI).

use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_ps, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_fmsub_ps,
    _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_si512,
};

use super::{GROUP, PANEL, Part, QUAD, groups, quads};
use crate::kernels::Cpu;

/// Registers of a panel.
const REGISTERS: usize = 3;
const LANES: usize = PANEL / REGISTERS;
/// Rows that are multiplied with a panel at once: with three registers of a panel, their sums fill 24 of 32.
const ROWS: usize = 8;

/// Shows that this machine has AVX-512 with VNNI: nothing else makes one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vnni(());

impl Vnni {
    /// `None` where the machine has it not, or `cpu` is of a narrower instruction set.
    pub(super) fn of(cpu: Cpu) -> Option<Self> {
        let wide = cpu.lanes() == LANES;
        let has = wide
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni");
        has.then_some(Self(()))
    }

    pub(super) fn add_to(self, part: &Part<'_>, rows: usize, out: &mut [f32]) {
        // SAFETY: `self` was made by `of`, which has found the features that the function is compiled for.
        #[allow(unsafe_code)]
        unsafe {
            add_rows(part, rows, out);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add_rows(part: &Part<'_>, rows: usize, out: &mut [f32]) {
    let mut row = 0;
    while rows - row >= ROWS {
        tile::<ROWS>(part, row, out);
        row += ROWS;
    }
    if rows - row >= 4 {
        tile::<4>(part, row, out);
        row += 4;
    }
    if rows - row >= 2 {
        tile::<2>(part, row, out);
        row += 2;
    }
    if rows > row {
        tile::<1>(part, row, out);
    }
}

fn floats(values: &[f32; LANES]) -> __m512 {
    pulp::cast(*values)
}

/// `M` rows by a panel.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn tile<const M: usize>(part: &Part<'_>, row: usize, out: &mut [f32]) {
    let (width, groups) = (quads(part.inputs), groups(part.inputs));
    let (weights, _) = part.codes.as_chunks::<{ LANES * QUAD }>();
    let (weights, _) = weights.as_chunks::<REGISTERS>();
    let (scales, _) = part.scales.as_chunks::<LANES>();
    let (scales, _) = scales.as_chunks::<REGISTERS>();
    let (codes, _) = part.rows.codes[row * width * QUAD..].as_chunks::<QUAD>();
    let mut lines: [&[[u8; QUAD]]; M] = [&[]; M];
    for i in 0..M {
        lines[i] = &codes[i * width..][..width];
    }
    for group in 0..groups {
        let from = group * GROUP / QUAD;
        let to = width.min(from + GROUP / QUAD);
        let mut sums = [[_mm512_setzero_si512(); REGISTERS]; M];
        for quad in from..to {
            let weights: [__m512i; REGISTERS] = weights[quad].map(pulp::cast);
            for i in 0..M {
                let codes = _mm512_set1_epi32(i32::from_le_bytes(lines[i][quad]));
                for j in 0..REGISTERS {
                    sums[i][j] = _mm512_dpbusd_epi32(sums[i][j], codes, weights[j]);
                }
            }
        }
        let (worth, whole) = (&scales[2 * group], &scales[2 * group + 1]);
        for i in 0..M {
            let [scale, zero] = part.rows.scales[(row + i) * groups + group];
            let (scale, zero) = (_mm512_set1_ps(scale), _mm512_set1_ps(zero));
            let line = &mut out[(row + i) * part.outputs + part.first..][..part.count];
            for j in 0..REGISTERS {
                let product = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[i][j]), floats(&worth[j]));
                let shift = _mm512_mul_ps(zero, floats(&whole[j]));
                let more = _mm512_fmsub_ps(scale, product, shift);
                add(line, j * LANES, more);
            }
        }
    }
}

/// Adds a register to what is there of its values.
#[target_feature(enable = "avx512f")]
fn add(line: &mut [f32], from: usize, more: __m512) {
    let to = line.len().min(from + LANES);
    let Some(values) = line.get_mut(from..to) else {
        return;
    };
    match <&mut [f32; LANES]>::try_from(&mut *values) {
        Ok(values) => *values = pulp::cast(_mm512_add_ps(floats(values), more)),
        Err(_) => {
            let more: [f32; LANES] = pulp::cast(more);
            for (value, more) in values.iter_mut().zip(more) {
                *value += more;
            }
        }
    }
}
