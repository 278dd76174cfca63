//! The products in plain code, for every processor, and what the others are tested against.
//!
//! Whole numbers of this size are exact as floats too, and with those compilers make vector
//! instructions of the loops, four columns of a row at a time.

use crate::kernels::piece::Levels;

use super::Quantised;
use super::activations::Block;
use super::form::{Codes, Form};
use super::strip::{STEP, STRIP, Strip};

/// Steps of four columns in a block.
const STEPS: usize = 8;

/// A strip's block with its levels and scales spelt out.
struct Spelt {
    /// By step, then row.
    levels: [[[f32; 4]; STRIP]; STEPS],
    /// By half of the columns, then row.
    scales: [[f32; STRIP]; 2],
    minimums: [[f32; STRIP]; 2],
}

/// See [`Quantised::multiply`]; `first` is a strip.
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
    let mut result = [0.0; STRIP];
    for half in 0..2 {
        let mut sums = [[0.0; 4]; STRIP];
        for step in half * STEPS / 2..(half + 1) * STEPS / 2 {
            let four = x.codes[step].to_le_bytes();
            let four = four.map(|code| f32::from(code.cast_signed()));
            for (sums, levels) in sums.iter_mut().zip(&spelt.levels[step]) {
                for place in 0..4 {
                    sums[place] += levels[place] * four[place];
                }
            }
        }
        for (lane, result) in result.iter_mut().enumerate() {
            let sum: f32 = sums[lane].iter().sum();
            *result += sum * x.scale * spelt.scales[half][lane];
            *result -= spelt.minimums[half][lane] * x.half_sums[half];
        }
    }
    result
}

fn spell(matrix: &Quantised, strip: Strip<'_>, block: usize) -> Spelt {
    let form = matrix.form;
    let codes = &strip.codes[block * form.codes.bytes()..][..form.codes.bytes()];
    let mut spelt = Spelt {
        levels: levels(form, codes).map(|step| {
            let step = step.map(f32::from);
            pulp::cast(step)
        }),
        scales: [[0.0; STRIP]; 2],
        minimums: [[0.0; STRIP]; 2],
    };
    for lane in 0..STRIP {
        let (scales, minimums) = form.scales_of(matrix.raise, strip, lane, block);
        for half in 0..2 {
            spelt.scales[half][lane] = scales[half];
            spelt.minimums[half][lane] = minimums[half];
        }
    }
    spelt
}

fn levels(form: Form, codes: &[u8]) -> [[i8; STEP]; STEPS] {
    let (registers, _) = codes.as_chunks::<STEP>();
    std::array::from_fn(|step| {
        let codes = match form.codes {
            Codes::Eight => registers[step],
            Codes::Four => nibbles(registers, step),
            Codes::Five => with_high(nibbles(registers, step), &registers[4], step, 1),
            Codes::Six => {
                let high = &registers[4 + step / 4];
                with_high(nibbles(registers, step), high, step % 4 * 2, 3)
            }
        };
        match form.levels {
            Levels::Offset(offset) => codes.map(|code| code.wrapping_sub(offset).cast_signed()),
            Levels::Iq4 => codes.map(|code| form.levels.level(code) as i8),
        }
    })
}

fn nibbles(registers: &[[u8; STEP]], step: usize) -> [u8; STEP] {
    let shift = step / 4 * 4;
    registers[step % 4].map(|pair| (pair >> shift) & 15)
}

/// Adds what lies at bit `shift` of `high` as the fifth bit and up.
fn with_high(low: [u8; STEP], high: &[u8; STEP], shift: usize, mask: u8) -> [u8; STEP] {
    let mut codes = low;
    for (code, high) in codes.iter_mut().zip(high) {
        *code |= ((high >> shift) & mask) << 4;
    }
    codes
}
