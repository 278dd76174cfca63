//! The products in plain code, for every processor, and what the others are tested against.

use super::activations::Block;
use super::strip::{STRIP, Strip, code};
use super::{PIECE, Quantised};

/// A strip's block with its levels and scales spelt out.
struct Spelt {
    /// By column, then row.
    levels: [[i8; STRIP]; PIECE],
    /// By half of the columns, then row.
    scales: [[f32; STRIP]; 2],
    minimums: [[f32; STRIP]; 2],
}

/// See [`Quantised::multiply`].
pub(super) fn multiply(matrix: &Quantised, x: &[Block], first: usize, rows: &mut [&mut [f32]]) {
    let width = rows.first().map_or(0, |row| row.len());
    for (index, from) in (0..width).step_by(STRIP).enumerate() {
        let strip = matrix.strip(first + index);
        let to = width.min(from + STRIP);
        for row in rows.iter_mut() {
            row[from..to].fill(0.0);
        }
        for block in 0..matrix.blocks {
            let spelt = spell(matrix, strip, block);
            for (i, row) in rows.iter_mut().enumerate() {
                let x = &x[i * matrix.blocks + block];
                let added = product(&spelt, x);
                for (sum, added) in row[from..to].iter_mut().zip(added) {
                    *sum += added;
                }
            }
        }
    }
}

fn product(spelt: &Spelt, x: &Block) -> [f32; STRIP] {
    let mut sums = [[0_i32; STRIP]; 2];
    for (step, four) in x.codes.iter().enumerate() {
        for (place, x) in four.to_le_bytes().into_iter().enumerate() {
            let x = i32::from(x.cast_signed());
            let levels = &spelt.levels[4 * step + place];
            for (sum, level) in sums[step / 4].iter_mut().zip(levels) {
                *sum += x * i32::from(*level);
            }
        }
    }
    let mut result = [0.0; STRIP];
    for (half, sums) in sums.iter().enumerate() {
        for (lane, result) in result.iter_mut().enumerate() {
            let sum = sums[lane] as f32 * x.scale;
            *result += sum * spelt.scales[half][lane];
            *result -= spelt.minimums[half][lane] * x.half_sums[half];
        }
    }
    result
}

fn spell(matrix: &Quantised, strip: Strip<'_>, block: usize) -> Spelt {
    let form = matrix.form;
    let codes = &strip.codes[block * form.codes.bytes()..][..form.codes.bytes()];
    let mut spelt = Spelt {
        levels: [[0; STRIP]; PIECE],
        scales: [[0.0; STRIP]; 2],
        minimums: [[0.0; STRIP]; 2],
    };
    for lane in 0..STRIP {
        for column in 0..PIECE {
            let level = form.levels.level(code(form.codes, codes, lane, column));
            spelt.levels[column][lane] = level as i8;
        }
        let (scales, minimums) = form.scales_of(matrix.raise, strip, lane, block);
        for half in 0..2 {
            spelt.scales[half][lane] = scales[half];
            spelt.minimums[half][lane] = minimums[half];
        }
    }
    spelt
}
