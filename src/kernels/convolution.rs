//! Convolutions of pictures, as products of the weights with the windows that they are laid over.

use rayon::prelude::*;

use super::Cpu;
use super::gemm::{Packed, gemm, gemm_onto, packed_len, panel_width};

/// Rows of the windows that are multiplied at once: a panel of them stays in a core's cache.
const DEPTH: usize = 1024;
/// Values of windows that are laid out at once.
const WINDOWS: usize = 1 << 21;
/// Pieces of work for each thread.
const PIECES: usize = 2;
/// Rows of weights that share a tile.
const ROWS: usize = 8;

/// A convolution of one picture with square windows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Convolution {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Of a window.
    pub(crate) side: usize,
    pub(crate) stride: usize,
    /// Zeros around the picture.
    pub(crate) padding: usize,
}

/// Places of one line of the result that lie together in a panel.
struct Run {
    /// Where they lie in the panel's rows.
    at: usize,
    line: usize,
    first: usize,
    count: usize,
}

impl Convolution {
    /// Height and width of the result; `None` where no window fits.
    pub(crate) fn result(&self) -> Option<[usize; 2]> {
        let of = |side: usize| {
            let room = side.checked_add(2 * self.padding)?.checked_sub(self.side)?;
            Some(room / self.stride.max(1) + 1)
        };
        Some([of(self.height)?, of(self.width)?])
    }

    /// Values of a window, over all channels.
    fn depth(&self) -> usize {
        self.channels * self.side * self.side
    }

    /// Convolves `[channels, height, width]` with `[outputs, channels, side, side]` on the threads of
    /// the current pool. A value of the result is the same, bit for bit, on any number of them.
    pub(crate) fn run(
        self,
        cpu: Cpu,
        picture: &[f32],
        weight: &[f32],
        bias: &[f32],
        out: &mut [f32],
    ) {
        let Some([height, width]) = self.result() else {
            return;
        };
        let (area, depth) = (height * width, self.depth());
        if area == 0 || depth == 0 {
            return;
        }
        let panel = panel_width(cpu);
        let most = (WINDOWS / DEPTH.min(depth)).max(panel);
        let columns = (most - most % panel).min(area.next_multiple_of(panel));
        let mut windows = vec![0.0; packed_len(cpu, DEPTH.min(depth), columns)];
        for first in (0..area).step_by(columns) {
            let count = columns.min(area - first);
            for begin in (0..depth).step_by(DEPTH) {
                let rows = DEPTH.min(depth - begin);
                let windows = &mut windows[..packed_len(cpu, rows, count)];
                self.lay_out(panel, picture, [first, count], [begin, rows], windows);
                let step = Step {
                    cpu,
                    windows: Packed {
                        data: windows,
                        k: rows,
                        n: count,
                    },
                    begin,
                    depth,
                    first,
                    area,
                };
                step.multiply(weight, bias, out);
            }
        }
    }

    /// Puts the rows of the windows from `begin` on, for the places from `first` on, into panels.
    fn lay_out(
        self,
        panel: usize,
        picture: &[f32],
        [first, count]: [usize; 2],
        [begin, rows]: [usize; 2],
        windows: &mut [f32],
    ) {
        let panels = windows.par_chunks_mut(panel * rows).enumerate();
        panels.for_each(|(number, values)| {
            let from = first + number * panel;
            let runs = self.runs(from, panel.min(first + count - from));
            let stride = values.len() / rows;
            for (row, values) in values.chunks_exact_mut(stride).enumerate() {
                let row = begin + row;
                let channel = row / (self.side * self.side);
                let [down, right] = [row / self.side % self.side, row % self.side];
                let channel = &picture[channel * self.height * self.width..];
                for run in &runs {
                    let values = &mut values[run.at..run.at + run.count];
                    self.copy(channel, run, [down, right], values);
                }
            }
        });
    }

    /// The lines that `count` places from `first` on lie in.
    fn runs(&self, first: usize, count: usize) -> Vec<Run> {
        let width = self.result().map_or(1, |[_, width]| width);
        let mut runs = Vec::new();
        let mut at = 0;
        while at < count {
            let place = first + at;
            let (line, column) = (place / width, place % width);
            let together = (width - column).min(count - at);
            runs.push(Run {
                at,
                line,
                first: column,
                count: together,
            });
            at += together;
        }
        runs
    }

    /// Copies what the windows of a run see at one of their places; zeros beyond the picture.
    fn copy(&self, channel: &[f32], run: &Run, [down, right]: [usize; 2], values: &mut [f32]) {
        let line = run.line * self.stride + down;
        let inside = self.padding..self.padding + self.height;
        if !inside.contains(&line) {
            values.fill(0.0);
            return;
        }
        let line = &channel[(line - self.padding) * self.width..][..self.width];
        if self.stride != 1 {
            for (place, value) in values.iter_mut().enumerate() {
                let column = (run.first + place) * self.stride + right;
                let column = column.checked_sub(self.padding);
                *value = column
                    .and_then(|column| line.get(column))
                    .map_or(0.0, |seen| *seen);
            }
            return;
        }
        // Counted from the left edge of the zeros around the picture.
        let begin = run.first + right;
        let zeros = self.padding.saturating_sub(begin).min(values.len());
        let (left, rest) = values.split_at_mut(zeros);
        left.fill(0.0);
        let seen = line.get(begin + zeros - self.padding..).unwrap_or_default();
        let seen = &seen[..seen.len().min(rest.len())];
        let (inner, beyond) = rest.split_at_mut(seen.len());
        inner.copy_from_slice(seen);
        beyond.fill(0.0);
    }
}

/// The product of the weights' columns from `begin` on with the windows of the places from `first` on.
struct Step<'a> {
    cpu: Cpu,
    windows: Packed<'a>,
    begin: usize,
    depth: usize,
    first: usize,
    area: usize,
}

impl Step<'_> {
    fn multiply(&self, weight: &[f32], bias: &[f32], out: &mut [f32]) {
        let Step {
            cpu,
            windows,
            depth,
            area,
            ..
        } = *self;
        let outputs = out.len() / area;
        let pieces = rayon::current_num_threads() * PIECES;
        let rows = outputs.div_ceil(pieces).next_multiple_of(ROWS);
        let is_last = self.begin + windows.k == depth;
        let all = out.par_chunks_mut(rows * area).enumerate();
        all.for_each(|(number, out)| {
            let (from, count) = (number * rows, out.len() / area);
            let a = &weight[from * depth + self.begin..];
            let c = &mut out[self.first..];
            match self.begin {
                0 => gemm(cpu, count, a, depth, windows, &[], c, area),
                _ => gemm_onto(cpu, count, a, depth, windows, c, area),
            }
            if is_last {
                let bias = &bias[from..from + count];
                for (line, bias) in c.chunks_mut(area).zip(bias) {
                    line[..windows.n]
                        .iter_mut()
                        .for_each(|value| *value += bias);
                }
            }
        });
    }
}
