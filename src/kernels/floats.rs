//! Matrices of floats: 32 bits, or 16 which are widened where they are needed.

use half::{bf16, f16};
use rayon::prelude::*;

use super::gemm::{Packed, gemm, gemm_onto, panel_width};
use super::halves::{self, Raise};
use super::{Cpu, GgmlType};

/// How many columns of a panel are widened at a time: they stay in the nearest cache.
const WIDENED: usize = 128;
/// Rows of the widest panel that any instruction set has.
const MAX_WIDTH: usize = 48;
/// The most rows of activations at a time.
pub(crate) const ROWS_AT_ONCE: usize = 32;

/// A matrix of floats in the panels of [`super::gemm`].
#[derive(Debug)]
pub(crate) struct Floats {
    panels: Panels,
    /// Rows of a panel but the last.
    width: usize,
    /// Rows of the last panel are filled up to a multiple of this.
    lanes: usize,
    rows: usize,
    columns: usize,
}

#[derive(Debug)]
enum Panels {
    F32(Vec<f32>),
    F16(Vec<u16>, Raise),
    Bf16(Vec<u16>),
}

impl Floats {
    /// Lays out a tensor's bytes; a type other than the 16-bit ones is taken for `f32`.
    pub(crate) fn pack(
        cpu: Cpu,
        kind: GgmlType,
        rows: usize,
        columns: usize,
        bytes: &[u8],
    ) -> Self {
        let mut packed = Self::empty(cpu, rows, columns);
        let (pairs, fours) = (bytes.as_chunks::<2>().0, bytes.as_chunks::<4>().0);
        let half = |index: usize| u16::from_le_bytes(pairs[index]);
        packed.panels = match kind {
            GgmlType::F16 => {
                let all_fit = pairs
                    .par_iter()
                    .all(|pair| Raise::Full.store(f16::from_le_bytes(*pair)).is_some());
                let raise = if all_fit { Raise::Full } else { Raise::None };
                let stored = |index| {
                    let value = f16::from_bits(half(index));
                    raise.store(value).unwrap_or_default()
                };
                Panels::F16(packed.lay_out(stored), raise)
            }
            GgmlType::Bf16 => Panels::Bf16(packed.lay_out(half)),
            _ => Panels::F32(packed.lay_out(|index| f32::from_le_bytes(fours[index]))),
        };
        packed
    }

    fn empty(cpu: Cpu, rows: usize, columns: usize) -> Self {
        Self {
            panels: Panels::F32(Vec::new()),
            width: panel_width(cpu),
            lanes: cpu.lanes(),
            rows,
            columns,
        }
    }

    /// `value` gives the value at a place of the row-major matrix.
    fn lay_out<T: Copy + Default + Send>(&self, value: impl Fn(usize) -> T + Sync) -> Vec<T> {
        let length = self.rows.next_multiple_of(self.lanes) * self.columns;
        let mut panels = vec![T::default(); length];
        if length > 0 {
            let size = self.width * self.columns;
            let all = panels.par_chunks_mut(size).enumerate();
            all.for_each(|(index, panel)| {
                let first = index * self.width;
                let count = self.width.min(self.rows - first);
                let stride = panel.len() / self.columns;
                for row in 0..count {
                    let places = panel[row..].iter_mut().step_by(stride);
                    for (column, place) in places.enumerate() {
                        *place = value((first + row) * self.columns + column);
                    }
                }
            });
        }
        panels
    }

    /// How many bytes a matrix takes; `None` if `kind` is no float type or if the number would not
    /// fit.
    pub(crate) fn matrix_bytes(
        cpu: Cpu,
        kind: GgmlType,
        rows: usize,
        columns: usize,
    ) -> Option<usize> {
        if !matches!(kind, GgmlType::F32 | GgmlType::F16 | GgmlType::Bf16) {
            return None;
        }
        let rows = rows.checked_next_multiple_of(cpu.lanes())?;
        rows.checked_mul(columns)?.checked_mul(kind.block_bytes())
    }

    /// How many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        match &self.panels {
            Panels::F32(values) => size_of_val(values.as_slice()),
            Panels::F16(values, _) | Panels::Bf16(values) => size_of_val(values.as_slice()),
        }
    }

    /// Rows that can be told apart in [`Self::multiply`].
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Where the panel that begins with row `first` lies, and its rows with those that fill it up.
    fn panel(&self, first: usize) -> (usize, usize) {
        let stride = self
            .width
            .min((self.rows - first).next_multiple_of(self.lanes));
        (first * self.columns, stride)
    }

    /// The values of one row.
    pub(crate) fn read_row(&self, row: usize, out: &mut [f32]) {
        let lane = row % self.width;
        let (start, stride) = self.panel(row - lane);
        for (column, out) in out.iter_mut().enumerate() {
            let place = start + column * stride + lane;
            *out = match &self.panels {
                Panels::F32(values) => values[place],
                Panels::F16(values, raise) => raise.read(values[place]),
                Panels::Bf16(values) => bf16::from_bits(values[place]).to_f32(),
            };
        }
    }

    /// The products of `x`'s rows with the rows of panels `first ..`, as many as `rows` have room
    /// for: `rows[i]`, of at most [`ROWS_AT_ONCE`], is row `i`'s share of the result.
    pub(crate) fn multiply(&self, cpu: Cpu, x: &[f32], first: usize, rows: &mut [&mut [f32]]) {
        let room = rows.first().map_or(0, |row| row.len());
        let mut sums = [0.0; ROWS_AT_ONCE * MAX_WIDTH];
        for from in (0..room).step_by(self.width) {
            let count = self.width.min(room - from);
            self.panel_product(
                cpu,
                x,
                first * self.width + from,
                count,
                rows.len(),
                &mut sums,
            );
            for (row, sums) in rows.iter_mut().zip(sums.chunks_exact(count)) {
                row[from..from + count].copy_from_slice(sums);
            }
        }
    }

    /// The products of `m` rows with `count` rows of the matrix, from a panel's first one on.
    fn panel_product(
        &self,
        cpu: Cpu,
        x: &[f32],
        first: usize,
        count: usize,
        m: usize,
        sums: &mut [f32],
    ) {
        let (start, stride) = self.panel(first);
        let k = self.columns;
        let halves = match &self.panels {
            Panels::F32(values) => {
                let data = &values[start..start + stride * k];
                let packed = Packed { data, k, n: count };
                gemm(cpu, m, x, k, packed, &[], sums, count);
                return;
            }
            Panels::F16(values, _) | Panels::Bf16(values) => values,
        };
        sums[..m * count].fill(0.0);
        let mut widened = [0.0; WIDENED * MAX_WIDTH];
        for from in (0..k).step_by(WIDENED) {
            let k_part = WIDENED.min(k - from);
            let data = &mut widened[..k_part * stride];
            let source = &halves[start + from * stride..][..k_part * stride];
            match self.panels {
                Panels::F16(_, raise) => cpu.run(|| widen_f16(source, raise, data)),
                _ => cpu.run(|| widen_bf16(source, data)),
            }
            let packed = Packed {
                data,
                k: k_part,
                n: count,
            };
            gemm_onto(cpu, m, &x[from..], k, packed, sums, count);
        }
    }
}

/// Plain code without branches, which the compiler turns into vector instructions.
#[inline(always)]
fn widen_bf16(source: &[u16], out: &mut [f32]) {
    for (out, bits) in out.iter_mut().zip(source) {
        *out = f32::from_bits(u32::from(*bits) << 16);
    }
}

/// As [`widen_bf16`].
#[inline(always)]
fn widen_f16(source: &[u16], raise: Raise, out: &mut [f32]) {
    let bias = raise.bias();
    let pairs = out.iter_mut().zip(source);
    match raise {
        Raise::Full => pairs.for_each(|(out, bits)| *out = halves::widen_finite(*bits, bias)),
        Raise::None => pairs.for_each(|(out, bits)| *out = halves::widen(*bits, bias)),
    }
}
