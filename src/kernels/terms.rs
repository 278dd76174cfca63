//! Products of floats that are kept as one or two 16-bit terms (bf16: the upper half of a 32-bit float).
//!
//! One term has 8 bits of precision. Two have 16: the second is what the first leaves over. Of two floats of two terms
//! three products are added up, the fourth being as small as what two terms leave over: of the magnitudes that go into
//! a result, at most 2⁻¹⁴ is lost ("bf16x3": Henry, Tang and Heinecke 2019, "Leveraging the bfloat16 Artificial
//! Intelligence Datatype For Higher-Precision Computations"). Where a processor multiplies such terms sixteen times as
//! fast as floats, that is the fastest way to multiply floats too.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::Cpu;
use super::pages::prefer_large_pages;
use super::rows::RowPart;
use super::tiles::{HALVES, Product, SIDE, Tile, Units};

/// Inputs of a step.
const STEP: usize = HALVES;
/// Columns of a panel: two tiles' width.
const PANEL: usize = 2 * SIDE;

/// How many terms a float is the sum of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Terms {
    /// The float, rounded to 8 bits.
    One,
    /// What is left over too.
    Two,
}

impl Terms {
    fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    /// Which terms are multiplied: of the left side and of the right.
    fn products(self) -> &'static [(usize, usize)] {
        match self {
            Self::One => &[(0, 0)],
            Self::Two => &[(1, 0), (0, 0), (0, 1)],
        }
    }
}

/// A linear layer's weight [outputs, inputs]; immutable, to be shared by workers.
#[derive(Debug)]
pub(crate) struct TermMatrix {
    terms: Terms,
    inputs: usize,
    #[cfg(feature = "testing")]
    outputs: usize,
    /// For each panel of outputs, each step of inputs and each term, two tiles side by side.
    tiles: Vec<Tile>,
}

fn steps(inputs: usize) -> usize {
    inputs.div_ceil(STEP)
}

impl TermMatrix {
    /// An empty one, to be filled with [`TermMatrix::put`].
    pub(crate) fn new(terms: Terms, inputs: usize, outputs: usize) -> Self {
        let count = outputs.div_ceil(PANEL) * steps(inputs) * 2 * terms.count();
        let mut tiles = Vec::with_capacity(count);
        prefer_large_pages(tiles.spare_capacity_mut());
        tiles.resize(count, Tile::ZERO);
        Self {
            terms,
            inputs,
            #[cfg(feature = "testing")]
            outputs,
            tiles,
        }
    }

    /// What one takes, in bytes.
    pub(crate) fn bytes(terms: Terms, inputs: usize, outputs: usize) -> u64 {
        let tiles = outputs.div_ceil(PANEL) as u64 * 2 * terms.count() as u64;
        let tiles = tiles.saturating_mul(steps(inputs) as u64);
        tiles.saturating_mul(size_of::<Tile>() as u64)
    }

    /// Puts the rows of `weight`, each as long as there are inputs, in place from output `first` on.
    pub(crate) fn put(&mut self, cpu: Cpu, first: usize, weight: &[f32]) {
        let terms = self.terms.count();
        let mut lines = weight.chunks_exact(self.inputs.max(1));
        let mut output = first;
        // Tile by tile, and not row by row, so that what is written stays in the caches.
        while lines.len() > 0 {
            let column = output % SIDE;
            let count = (SIDE - column).min(lines.len());
            let panel = output / PANEL * steps(self.inputs) * 2 * terms;
            let taken: [&[f32]; SIDE] = std::array::from_fn(|i| match i < count {
                true => lines.next().unwrap_or_default(),
                false => &[],
            });
            cpu.run(Put {
                terms: self.terms,
                lines: &taken[..count],
                column,
                tiles: &mut self.tiles[panel..],
                side: output % PANEL / SIDE,
                inputs: self.inputs,
            });
            output += count;
        }
    }

    /// How many values it makes of a row.
    #[cfg(feature = "testing")]
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// How many bytes it takes.
    pub(crate) fn held_bytes(&self) -> u64 {
        size_of_val(self.tiles.as_slice()) as u64
    }

    /// Columns that belong together.
    pub(crate) const PANEL: usize = PANEL;

    /// `out = x[rows, inputs] · Wᵀ + bias`, of a range of columns [rows, columns] that begins with a whole panel; rows of
    /// `x` are `stride` apart, and an empty `bias` is none. A row of the result depends on its own row of `x` alone, bit for
    /// bit. A row that is not all finite gives one that is not either.
    #[expect(clippy::too_many_arguments, reason = "two matrices and their shapes")]
    pub(crate) fn multiply(
        &self,
        cpu: Cpu,
        scratch: &mut TermRows,
        rows: usize,
        x: &[f32],
        stride: usize,
        bias: &[f32],
        columns: Range<usize>,
        out: &mut [f32],
    ) {
        scratch.fill(cpu, self.terms, rows, self.inputs, x, stride);
        let scratch = &*scratch;
        let panels = columns.start / PANEL..columns.end.div_ceil(PANEL);
        let parts = panels.map(|index| self.part(scratch, bias, index, &columns));
        if let Some(tiles) = cpu.tiles {
            return tiles.with(|units| {
                for part in parts {
                    part.write_by(units, cpu, rows, out);
                }
            });
        }
        for part in parts {
            part.write(cpu, rows, out);
        }
    }

    fn part<'a>(
        &'a self,
        rows: &'a TermRows,
        bias: &'a [f32],
        index: usize,
        columns: &Range<usize>,
    ) -> Part<'a> {
        let panel = steps(self.inputs) * 2 * self.terms.count();
        let (tiles, ahead) = self.tiles[index * panel..].split_at(panel);
        let first = index * PANEL;
        Part {
            terms: self.terms,
            steps: steps(self.inputs),
            tiles,
            ahead,
            first: first - columns.start,
            count: PANEL.min(columns.end - first),
            outputs: columns.len(),
            bias: bias.get(first..).unwrap_or_default(),
            rows,
        }
    }
}

/// One panel's share of a product.
struct Part<'a> {
    terms: Terms,
    steps: usize,
    tiles: &'a [Tile],
    /// What follows them.
    ahead: &'a [Tile],
    /// Where its columns stand in a row of the result, and how many of them there are.
    first: usize,
    count: usize,
    outputs: usize,
    /// From the panel's first column on; empty if there is none.
    bias: &'a [f32],
    rows: &'a TermRows,
}

impl Part<'_> {
    fn write(&self, cpu: Cpu, rows: usize, out: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx512) = avx512::Avx512::of(cpu) {
            avx512.write(self, rows, out);
            return;
        }
        self.make_all(cpu, rows, out);
    }

    fn write_by(&self, units: &mut Units, cpu: Cpu, rows: usize, out: &mut [f32]) {
        for (pair, first) in (0..rows).step_by(2 * SIDE).enumerate() {
            let above = self.rows.block(self, first / SIDE);
            // A single block is both, and what it makes below is left.
            let below = match first + SIDE < rows {
                true => self.rows.block(self, first / SIDE + 1),
                false => above,
            };
            // Each pair of blocks fetches a part of the next panel.
            let ahead = self.ahead.get(pair * self.steps..).unwrap_or_default();
            let sums = match self.terms {
                Terms::One => units.multiply([above, below], self.tiles, ahead),
                Terms::Two => units.multiply_split([above, below], self.tiles, ahead),
            };
            let lines = out[first * self.outputs..rows * self.outputs]
                .chunks_exact_mut(self.outputs)
                .take(2 * SIDE);
            cpu.run(Write {
                sums,
                bias: self.bias,
                lines,
                columns: self.first..self.first + self.count,
            });
        }
    }
}

/// Writes what tiles have made to where it belongs.
struct Write<'a> {
    sums: &'a [Product<f32>; 4],
    bias: &'a [f32],
    lines: std::iter::Take<std::slice::ChunksExactMut<'a, f32>>,
    columns: Range<usize>,
}

impl WithSimd for Write<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        simd.vectorize(
            #[inline(always)]
            || {
                let mut bias = [[0.0; SIDE]; 2];
                for (place, value) in bias.as_flattened_mut().iter_mut().zip(self.bias) {
                    *place = *value;
                }
                for (row, line) in self.lines.enumerate() {
                    let half = row / SIDE * 2;
                    let line = &mut line[self.columns.clone()];
                    for (side, line) in line.chunks_mut(SIDE).enumerate() {
                        let sums = &self.sums[half + side].0[row % SIDE];
                        let made = sums.iter().zip(&bias[side]);
                        match <&mut [f32; SIDE]>::try_from(&mut *line) {
                            Ok(line) => {
                                for (value, (sum, bias)) in line.iter_mut().zip(made) {
                                    *value = sum + bias;
                                }
                            }
                            Err(_) => {
                                for (value, (sum, bias)) in line.iter_mut().zip(made) {
                                    *value = sum + bias;
                                }
                            }
                        }
                    }
                }
            },
        );
    }
}

/// Rows of activations in terms, to be used again.
#[derive(Debug, Default)]
pub(crate) struct TermRows {
    /// For each 16 rows, each step of inputs and each term, a tile. Rows and inputs are filled up to whole tiles.
    tiles: Vec<Tile>,
}

impl TermRows {
    /// What it takes, in bytes.
    #[cfg(feature = "testing")]
    pub(crate) fn held_bytes(&self) -> u64 {
        (self.tiles.capacity() * size_of::<Tile>()) as u64
    }

    fn fill(
        &mut self,
        cpu: Cpu,
        terms: Terms,
        rows: usize,
        inputs: usize,
        x: &[f32],
        stride: usize,
    ) {
        let block = steps(inputs) * terms.count();
        self.tiles.resize(rows.div_ceil(SIDE) * block, Tile::ZERO);
        cpu.run(Round {
            terms,
            rows,
            inputs,
            x,
            stride,
            blocks: self.tiles.chunks_exact_mut(block.max(1)),
        });
    }

    /// Sixteen rows' tiles.
    fn block(&self, part: &Part<'_>, index: usize) -> &[Tile] {
        let length = part.steps * part.terms.count();
        &self.tiles[index * length..][..length]
    }
}

struct Round<'a> {
    terms: Terms,
    rows: usize,
    inputs: usize,
    x: &'a [f32],
    stride: usize,
    blocks: std::slice::ChunksExactMut<'a, Tile>,
}

impl WithSimd for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        simd.vectorize(
            #[inline(always)]
            || {
                for (block, tiles) in self.blocks.enumerate() {
                    for row in 0..SIDE.min(self.rows - block * SIDE) {
                        let x = &self.x[(block * SIDE + row) * self.stride..][..self.inputs];
                        let steps = tiles.chunks_exact_mut(self.terms.count());
                        for (step, x) in steps.zip(x.chunks(STEP)) {
                            round(step, row, x);
                        }
                    }
                }
            },
        );
    }
}

/// Writes up to 32 values of a row to its line in the tiles of a step.
#[inline(always)]
fn round(step: &mut [Tile], row: usize, x: &[f32]) {
    let mut rest = [0.0; STEP];
    match <&[f32; STEP]>::try_from(x) {
        Ok(x) => rest = *x,
        Err(_) => rest[..x.len()].copy_from_slice(x),
    }
    for tile in step {
        // Loops, for closures may be compiled for the least of processors.
        for (half, rest) in tile.0[row].iter_mut().zip(&mut rest) {
            *half = nearest(*rest);
            *rest -= value(*half);
        }
    }
}

/// The nearest bf16, of two the even one; what is not a number stays so.
#[inline(always)]
fn nearest(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let kept = if x.is_nan() {
        bits | 0x0040_0000
    } else {
        rounded
    };
    (kept >> 16) as u16
}

#[inline(always)]
fn value(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Puts up to 16 rows of a weight, as columns from `column` on, into the tiles of one side of a panel.
struct Put<'a> {
    terms: Terms,
    lines: &'a [&'a [f32]],
    column: usize,
    tiles: &'a mut [Tile],
    side: usize,
    inputs: usize,
}

impl WithSimd for Put<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        simd.vectorize(
            #[inline(always)]
            || {
                let terms = self.terms.count();
                for step in 0..steps(self.inputs) {
                    let tiles = &mut self.tiles[step * 2 * terms..][..2 * terms];
                    let from = step * STEP;
                    let to = self.inputs.min(from + STEP);
                    // A column's values lie far apart in a tile: they are made side by side first.
                    let mut split = [[[0_u16; STEP]; SIDE]; 2];
                    for (column, line) in self.lines.iter().enumerate() {
                        let mut rest = [0.0; STEP];
                        rest[..to - from].copy_from_slice(&line[from..to]);
                        for split in split.iter_mut().take(terms) {
                            for (half, rest) in split[column].iter_mut().zip(&mut rest) {
                                *half = nearest(*rest);
                                *rest -= value(*half);
                            }
                        }
                    }
                    for (term, split) in split.iter().take(terms).enumerate() {
                        let tile = &mut tiles[2 * term + self.side].0;
                        for (pair, row) in tile.iter_mut().enumerate() {
                            for (column, halves) in
                                (self.column..self.column + self.lines.len()).zip(split)
                            {
                                row[2 * column] = halves[2 * pair];
                                row[2 * column + 1] = halves[2 * pair + 1];
                            }
                        }
                    }
                }
            },
        );
    }
}
