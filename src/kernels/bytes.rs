//! Products of bytes: weights of 8 bits, activations that are rounded to 8 bits on the way.
//!
//! Columns and rows are cut into groups of [`GROUP`] values, each with a scale of its own; a group of activations also
//! has a zero of its own, so that what is mostly positive, as after GELU, uses all 256 steps. Within a group the sums
//! are whole numbers and exact, so that every instruction set gives the same.

mod portable;
#[cfg(target_arch = "x86_64")]
mod vnni;

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::Cpu;
use super::pages::prefer_large_pages;
use super::rows::RowPart;
use super::tiles::{ROW_BYTES, SIDE, Units};
#[cfg(target_arch = "x86_64")]
use super::vnni::Vnni;

/// Values that share a scale.
const GROUP: usize = 128;
/// Values of one row that are multiplied at once.
const QUAD: usize = 4;
/// Rows for which tiles are not worth it: their units would multiply nothing for the most part.
const FEW: usize = 4;
/// Columns of a panel: three registers of 16 whole numbers.
const PANEL: usize = 48;

/// A linear layer's weight [outputs, inputs] in bytes; immutable, to be shared by workers.
#[derive(Debug)]
pub(crate) struct ByteMatrix {
    inputs: usize,
    #[cfg(feature = "testing")]
    outputs: usize,
    /// For each panel of outputs and each four inputs, the four of each output; outputs are filled up to whole panels
    /// and inputs to whole fours.
    codes: Vec<i8>,
    /// For each panel and each group of inputs: what a code of each output is worth, then the sum of its codes, times
    /// that.
    scales: Vec<f32>,
}

/// Fours that `inputs` values take.
fn quads(inputs: usize) -> usize {
    inputs.div_ceil(QUAD)
}

fn groups(inputs: usize) -> usize {
    inputs.div_ceil(GROUP)
}

impl ByteMatrix {
    /// An empty one, to be filled with [`ByteMatrix::put`].
    pub(crate) fn new(inputs: usize, outputs: usize) -> Self {
        let panels = outputs.div_ceil(PANEL);
        let mut codes = vec![0; panels * quads(inputs) * PANEL * QUAD];
        prefer_large_pages(&mut codes);
        Self {
            inputs,
            #[cfg(feature = "testing")]
            outputs,
            codes,
            scales: vec![0.0; panels * groups(inputs) * 2 * PANEL],
        }
    }

    /// What one takes, in bytes.
    pub(crate) fn bytes(inputs: usize, outputs: usize) -> u64 {
        let panels = outputs.div_ceil(PANEL) as u64;
        let column = quads(inputs) * QUAD + groups(inputs) * 2 * size_of::<f32>();
        panels.saturating_mul((PANEL * column) as u64)
    }

    /// Rounds the rows of `weight`, each as long as there are inputs, to bytes and puts them in place from output
    /// `first` on.
    pub(crate) fn put(&mut self, first: usize, weight: &[f32]) {
        for (output, row) in (first..).zip(weight.chunks_exact(self.inputs.max(1))) {
            let (panel, column) = (output / PANEL, output % PANEL);
            let codes = &mut self.codes[panel * quads(self.inputs) * PANEL * QUAD..];
            let scales = &mut self.scales[panel * groups(self.inputs) * 2 * PANEL..];
            for (group, values) in row.chunks(GROUP).enumerate() {
                let largest = values
                    .iter()
                    .fold(0.0, |most: f32, value| most.max(value.abs()));
                let scale = largest / 127.0;
                let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
                let mut sum = 0;
                for (place, value) in (group * GROUP..).zip(values) {
                    let code = (value * inverse).round() as i8;
                    sum += i32::from(code);
                    codes[(place / QUAD * PANEL + column) * QUAD + place % QUAD] = code;
                }
                let scales = &mut scales[group * 2 * PANEL..];
                scales[column] = scale;
                scales[PANEL + column] = scale * sum as f32;
            }
        }
    }

    /// How many values it makes of a row.
    #[cfg(feature = "testing")]
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// How many bytes it takes.
    pub(crate) fn held_bytes(&self) -> u64 {
        (self.codes.len() + size_of_val(self.scales.as_slice())) as u64
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
        scratch: &mut ByteRows,
        rows: usize,
        x: &[f32],
        stride: usize,
        bias: &[f32],
        columns: Range<usize>,
        out: &mut [f32],
    ) {
        scratch.fill(cpu, rows, self.inputs, x, stride);
        let scratch = &*scratch;
        for line in out[..rows * columns.len()].chunks_exact_mut(columns.len().max(1)) {
            match bias.get(columns.clone()) {
                Some(bias) => line.copy_from_slice(bias),
                None => line.fill(0.0),
            }
        }
        let panels = columns.start / PANEL..columns.end.div_ceil(PANEL);
        let parts = panels.map(|panel| self.part(scratch, panel, &columns));
        let whole = self.inputs.is_multiple_of(ROW_BYTES);
        if let Some(tiles) = cpu.tiles.filter(|_| whole && rows > FEW) {
            return tiles.with(|units| {
                for part in parts {
                    part.add_to(cpu, Some(units), rows, out);
                }
            });
        }
        for part in parts {
            part.add_to(cpu, None, rows, out);
        }
    }

    fn part<'a>(&'a self, rows: &'a ByteRows, panel: usize, columns: &Range<usize>) -> Part<'a> {
        let codes = quads(self.inputs) * PANEL * QUAD;
        let scales = groups(self.inputs) * 2 * PANEL;
        Part {
            inputs: self.inputs,
            codes: &self.codes[panel * codes..][..codes],
            scales: &self.scales[panel * scales..][..scales],
            first: panel * PANEL - columns.start,
            count: PANEL.min(columns.end - panel * PANEL),
            outputs: columns.len(),
            rows,
        }
    }
}

/// One panel's share of a product.
struct Part<'a> {
    inputs: usize,
    codes: &'a [i8],
    scales: &'a [f32],
    /// Where its columns stand in a row of the result, and how many of them there are.
    first: usize,
    count: usize,
    outputs: usize,
    rows: &'a ByteRows,
}

impl Part<'_> {
    fn add_to(&self, cpu: Cpu, units: Option<&mut Units>, rows: usize, out: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(vnni) = Vnni::of(cpu) {
            vnni::add_to(vnni, self, units, rows, out);
            return;
        }
        let _ = units;
        self.make_all(cpu, rows, out);
    }
}

/// Rows of activations in bytes, to be used again.
#[derive(Debug, Default)]
pub(crate) struct ByteRows {
    /// Rows filled up to whole fours.
    codes: Vec<u8>,
    /// For each row and group, what a code is worth, and the group's zero times that.
    scales: Vec<[f32; 2]>,
}

impl ByteRows {
    /// What it takes, in bytes.
    #[cfg(feature = "testing")]
    pub(crate) fn held_bytes(&self) -> u64 {
        (self.codes.capacity() + self.scales.capacity() * size_of::<[f32; 2]>()) as u64
    }

    fn fill(&mut self, cpu: Cpu, rows: usize, inputs: usize, x: &[f32], stride: usize) {
        let (width, groups) = (quads(inputs) * QUAD, groups(inputs));
        // Filled up to whole tiles: what the rows beyond hold makes results that nobody reads.
        self.codes.resize(rows.next_multiple_of(SIDE) * width, 0);
        self.scales.resize(rows * groups, [0.0; 2]);
        cpu.run(Round {
            inputs,
            x,
            stride,
            codes: self.codes.chunks_exact_mut(width.max(1)),
            scales: self.scales.chunks_exact_mut(groups.max(1)),
        });
    }
}

struct Round<'a> {
    inputs: usize,
    x: &'a [f32],
    stride: usize,
    codes: std::slice::ChunksExactMut<'a, u8>,
    scales: std::slice::ChunksExactMut<'a, [f32; 2]>,
}

impl WithSimd for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        simd.vectorize(
            #[inline(always)]
            || {
                let rows = self.codes.zip(self.scales).enumerate();
                for (row, (codes, scales)) in rows {
                    let values = &self.x[row * self.stride..][..self.inputs];
                    let (codes, rest) = codes.split_at_mut(self.inputs);
                    rest.fill(0);
                    let groups = values.chunks(GROUP).zip(codes.chunks_mut(GROUP));
                    for ((values, codes), scale) in groups.zip(scales) {
                        *scale = round(values, codes);
                    }
                }
            },
        );
    }
}

/// Rounds a group; gives what a code is worth, and the group's zero times that.
#[inline(always)]
fn round(values: &[f32], codes: &mut [u8]) -> [f32; 2] {
    // Added to a value below 2²², it leaves the value rounded to a whole number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let (mut low, mut high, mut magnitude) = (0.0_f32, 0.0_f32, 0_u32);
    for value in values {
        low = if *value < low { *value } else { low };
        high = if *value > high { *value } else { high };
        magnitude = magnitude.max(value.to_bits() & 0x7fff_ffff);
    }
    // Without their sign, floats are in order as whole numbers, with what is not finite last.
    if !f32::from_bits(magnitude).is_finite() {
        codes.fill(0);
        return [f32::NAN; 2];
    }
    // As quarters, so that the largest floats do not overflow.
    let scale = (high * 0.25 - low * 0.25) / 63.75;
    if scale < f32::MIN_POSITIVE {
        codes.fill(0);
        return [0.0; 2];
    }
    let inverse = 1.0 / scale;
    let zero = (-low * inverse).round();
    for (code, value) in codes.iter_mut().zip(values) {
        let place = value * inverse + zero;
        let place = if place > 255.0 { 255.0 } else { place };
        let place = if place < 0.0 { 0.0 } else { place };
        *code = (place + ROUND).to_bits() as u8;
    }
    [scale, scale * zero]
}
