//! Depthwise convolution: each channel by a small window of its own.
//!
//! Pictures lie with all channels of a place together, so that a register holds neighbouring channels and every tap of
//! the window is one product and one sum for all of them.

use pulp::{Simd, WithSimd};

use super::Cpu;

/// A square window that slides over a picture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Depthwise {
    /// Height and width of the input.
    pub(crate) input: [usize; 2],
    /// Height and width of the output.
    pub(crate) output: [usize; 2],
    pub(crate) channels: usize,
    /// The window's side.
    pub(crate) side: usize,
    pub(crate) stride: usize,
    /// Rows above and columns to the left of the input that count as 0.
    pub(crate) before: [usize; 2],
}

/// Convolves `x` [height, width, channels] with `weight` [side, side, channels], adds `bias` and holds the result
/// within 0 and `most`. `out` is whole rows of the output, the first of them being `first_row`.
#[expect(
    clippy::too_many_arguments,
    reason = "a picture, its window and the result"
)]
pub(crate) fn depthwise(
    cpu: Cpu,
    shape: Depthwise,
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    most: f32,
    first_row: usize,
    out: &mut [f32],
) {
    cpu.run(Job {
        shape,
        x,
        weight,
        bias,
        most,
        first_row,
        out,
    });
}

struct Job<'a> {
    shape: Depthwise,
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    most: f32,
    first_row: usize,
    out: &'a mut [f32],
}

impl Depthwise {
    /// The taps of an output's window that lie within the input (axis 0: rows, axis 1: columns), and where the first
    /// of them is.
    #[inline(always)]
    fn taps(&self, axis: usize, output: usize) -> (usize, usize, usize) {
        let place = output * self.stride;
        let from = self.before[axis].saturating_sub(place).min(self.side);
        let to = (self.input[axis] + self.before[axis])
            .saturating_sub(place)
            .min(self.side);
        let start = (place + from).saturating_sub(self.before[axis]);
        (from, to.max(from), start)
    }
}

impl WithSimd for Job<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Depthwise {
            input: [_, width],
            output: [_, out_width],
            channels,
            side,
            ..
        } = self.shape;
        let (low, high) = (simd.splat_f32s(0.0), simd.splat_f32s(self.most));
        let rows = self.out.chunks_exact_mut((out_width * channels).max(1));
        for (row, line) in rows.enumerate() {
            let (top, bottom, start_row) = self.shape.taps(0, self.first_row + row);
            for (column, place) in line.chunks_exact_mut(channels).enumerate() {
                let (left, right, start_column) = self.shape.taps(1, column);
                let first = (start_row * width + start_column) * channels;
                for from in (0..channels).step_by(S::F32_LANES) {
                    let to = channels.min(from + S::F32_LANES);
                    let mut sum = simd.partial_load_f32s(&self.bias[from..to]);
                    for tap_row in top..bottom {
                        let values = &self.x[first + (tap_row - top) * width * channels..];
                        let factors = &self.weight[tap_row * side * channels..];
                        for tap in left..right {
                            let value = simd
                                .partial_load_f32s(&values[(tap - left) * channels..][from..to]);
                            let factor =
                                simd.partial_load_f32s(&factors[tap * channels..][from..to]);
                            sum = simd.mul_add_e_f32s(value, factor, sum);
                        }
                    }
                    let held = simd.min_f32s(high, simd.max_f32s(low, sum));
                    simd.partial_store_f32s(&mut place[from..to], held);
                }
            }
        }
    }
}
