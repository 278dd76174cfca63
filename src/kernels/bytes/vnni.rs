//! The product of bytes by AVX-512's instructions for it (VNNI).

use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_ps, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_fmsub_ps,
    _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
};

use super::{GROUP, PANEL, Part, QUAD, groups, quads};
use crate::kernels::tiles::{ROW_BYTES, SIDE, Units};
use crate::kernels::vnni::Vnni;

/// Registers of a panel.
const REGISTERS: usize = 3;
const LANES: usize = PANEL / REGISTERS;
/// Rows that are multiplied with a panel at once: with three registers of a panel, their sums fill 24 of 32.
const ROWS: usize = 8;

/// Adds the product of `part` with the first `rows` rows to `out`, by tile units where these are given.
pub(super) fn add_to(
    _: Vnni,
    part: &Part<'_>,
    units: Option<&mut Units>,
    rows: usize,
    out: &mut [f32],
) {
    // SAFETY: a `Vnni` exists only where the features that the functions are compiled for were found.
    #[allow(unsafe_code)]
    unsafe {
        match units {
            Some(units) => add_tiles(units, part, rows, out),
            None => add_rows(part, rows, out),
        }
    }
}

#[expect(
    clippy::needless_range_loop,
    reason = "indices with constant bounds are what the compiler unrolls into registers"
)]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add_tiles(units: &mut Units, part: &Part<'_>, rows: usize, out: &mut [f32]) {
    let (width, groups) = (quads(part.inputs) * QUAD, groups(part.inputs));
    // In the order of the products, and so of the registers: rows above, then below.
    let mut sums = [[[_mm512_setzero_ps(); SIDE]; REGISTERS]; 2];
    for row in (0..rows).step_by(2 * SIDE) {
        let above = &part.rows.codes[row * width..];
        // Sixteen rows alone are both, and what they make below is left.
        let below = match row + SIDE < rows {
            true => &above[SIDE * width..],
            false => above,
        };
        let counts = [
            (rows - row).min(SIDE),
            (rows - row).min(2 * SIDE).saturating_sub(SIDE),
        ];
        for group in 0..groups {
            let from = group * GROUP;
            let steps = (part.inputs - from).min(GROUP) / ROW_BYTES;
            let sides = [&above[from..], &below[from..]];
            let made = units.multiply_bytes(steps, sides, width, &part.codes[from * PANEL..]);
            let (scales, _) = part.scales[group * 2 * PANEL..].as_chunks::<LANES>();
            let (worth, whole) = scales[..2 * REGISTERS].split_at(REGISTERS);
            for side in 0..2 {
                let rounded = part.rows.scales.get((row + side * SIDE) * groups..);
                let rounded = rounded.unwrap_or_default();
                for j in 0..REGISTERS {
                    let (worth, whole) = (floats(&worth[j]), floats(&whole[j]));
                    let made = &made[side * REGISTERS + j].0;
                    for i in 0..counts[side] {
                        let [scale, zero] = rounded[i * groups + group];
                        let (scale, zero) = (_mm512_set1_ps(scale), _mm512_set1_ps(zero));
                        let more = worth_of(pulp::cast(made[i]), worth, whole, scale, zero);
                        let before = match group {
                            0 => _mm512_setzero_ps(),
                            _ => sums[side][j][i],
                        };
                        sums[side][j][i] = _mm512_add_ps(before, more);
                    }
                }
            }
        }
        for side in 0..2 {
            for i in 0..counts[side] {
                let line = &mut out[(row + side * SIDE + i) * part.outputs + part.first..];
                let line = &mut line[..part.count];
                for j in 0..REGISTERS {
                    add(line, j * LANES, sums[side][j][i]);
                }
            }
        }
    }
}

/// What sums of a group's codes are worth.
#[inline]
#[target_feature(enable = "avx512f")]
fn worth_of(sums: __m512i, worth: __m512, whole: __m512, scale: __m512, zero: __m512) -> __m512 {
    let product = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), worth);
    _mm512_fmsub_ps(scale, product, _mm512_mul_ps(zero, whole))
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
#[expect(
    clippy::needless_range_loop,
    reason = "indices with constant bounds are what the compiler unrolls into registers"
)]
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
    let mut all = [[_mm512_setzero_ps(); REGISTERS]; M];
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
            for j in 0..REGISTERS {
                let (worth, whole) = (floats(&worth[j]), floats(&whole[j]));
                let more = worth_of(sums[i][j], worth, whole, scale, zero);
                all[i][j] = _mm512_add_ps(all[i][j], more);
            }
        }
    }
    for i in 0..M {
        let line = &mut out[(row + i) * part.outputs + part.first..][..part.count];
        for j in 0..REGISTERS {
            add(line, j * LANES, all[i][j]);
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
