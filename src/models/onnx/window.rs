//! Windows that slide over pictures, and pools.

use std::ops::Range;

use super::array::{OnnxArray, elements};
use super::attributes::{Attributes, Complaint};

/// How a window slides, in rows and columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) strides: [usize; 2],
    pub(super) dilations: [usize; 2],
    padding: Padding,
}

#[derive(Debug, Clone, Copy)]
enum Padding {
    /// Above, left, below, right.
    Explicit([usize; 4]),
    /// As many outputs as strides fit into the input; the odd one goes below and to the right.
    SameUpper,
}

/// A window over inputs of one size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sliding {
    pub(super) input: [usize; 2],
    kernel: [usize; 2],
    pub(super) strides: [usize; 2],
    dilations: [usize; 2],
    before: [usize; 2],
    pub(super) output: [usize; 2],
}

impl Window {
    /// Nothing is put around the input.
    pub(super) fn is_unpadded(&self) -> bool {
        matches!(self.padding, Padding::Explicit([0, 0, 0, 0]))
    }

    pub(super) fn read(attributes: &Attributes<'_>) -> Result<Self, Complaint> {
        let pads = attributes.sizes("pads", 0, [0; 4])?;
        let padding = match attributes.string("auto_pad", "NOTSET").as_str() {
            "NOTSET" | "" => Padding::Explicit(pads),
            "VALID" => Padding::Explicit([0; 4]),
            "SAME_UPPER" => Padding::SameUpper,
            other => return Err(format!("auto_pad is {other}")),
        };
        Ok(Self {
            strides: attributes.sizes("strides", 1, [1; 2])?,
            dilations: attributes.sizes("dilations", 1, [1; 2])?,
            padding,
        })
    }

    /// How many places a window takes on an input of this size.
    pub(super) fn outputs(&self, input: [usize; 2], kernel: [usize; 2]) -> u64 {
        let output = self.over(input, kernel).map(|sliding| sliding.output);
        output.map_or(0, |[rows, columns]| {
            (rows as u64).saturating_mul(columns as u64)
        })
    }

    pub(super) fn over(&self, input: [usize; 2], kernel: [usize; 2]) -> Result<Sliding, Complaint> {
        let mut sliding = Sliding {
            input,
            kernel,
            strides: self.strides,
            dilations: self.dilations,
            before: [0; 2],
            output: [0; 2],
        };
        for axis in 0..2 {
            let stride = self.strides[axis];
            let reach = self.dilations[axis] * kernel[axis].saturating_sub(1) + 1;
            let (before, after) = match self.padding {
                Padding::Explicit(pads) => (pads[axis], pads[axis + 2]),
                Padding::SameUpper => {
                    let outputs = input[axis].div_ceil(stride);
                    let covered = outputs.saturating_sub(1) * stride + reach;
                    let missing = covered.saturating_sub(input[axis]);
                    (missing / 2, missing - missing / 2)
                }
            };
            let padded = input[axis] + before + after;
            if kernel[axis] == 0 || input[axis] == 0 || padded < reach {
                return Err(format!("a window of {kernel:?} over {input:?}"));
            }
            sliding.before[axis] = before;
            sliding.output[axis] = (padded - reach) / stride + 1;
        }
        Ok(sliding)
    }
}

impl Sliding {
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == [1; 2] && self.strides == [1; 2] && self.output == self.input
    }

    /// The input's row (axis 0) or column (axis 1) that an output's tap lies on; `None` in the
    /// padding.
    pub(super) fn source(&self, axis: usize, output: usize, tap: usize) -> Option<usize> {
        let place = output * self.strides[axis] + tap * self.dilations[axis];
        let place = place.checked_sub(self.before[axis])?;
        (place < self.input[axis]).then_some(place)
    }

    /// The outputs along an axis whose tap lies within the input.
    pub(super) fn within(&self, axis: usize, tap: usize) -> Range<usize> {
        let stride = self.strides[axis];
        let offset = tap * self.dilations[axis];
        let first = self.before[axis].saturating_sub(offset).div_ceil(stride);
        let end = (self.input[axis] + self.before[axis])
            .saturating_sub(offset)
            .div_ceil(stride)
            .min(self.output[axis]);
        first.min(end)..end
    }

    /// Calls `visit` with each output and the input that one tap of the kernel meets there.
    fn tap(&self, row: usize, column: usize, mut visit: impl FnMut(usize, usize)) {
        let [height, width] = self.output;
        for y in 0..height {
            let Some(from_row) = self.source(0, y, row) else {
                continue;
            };
            for x in 0..width {
                if let Some(from) = self.source(1, x, column) {
                    visit(y * width + x, from_row * self.input[1] + from);
                }
            }
        }
    }
}

/// What a pool makes of the values under its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pool {
    Largest,
    /// Of the values that are not padding.
    Mean,
}

pub(super) fn pool(
    window: &Window,
    kernel: [usize; 2],
    pool: Pool,
    input: &OnnxArray,
) -> Result<OnnxArray, Complaint> {
    let wrong = || format!("a pool over {:?}", input.shape());
    let [batch, channels, height, width] = input.planes().ok_or_else(wrong)?;
    let sliding = window.over([height, width], kernel)?;
    let shape = vec![batch, channels, sliding.output[0], sliding.output[1]];
    let out_plane = sliding.output[0] * sliding.output[1];
    let start = match pool {
        Pool::Largest => f32::NEG_INFINITY,
        Pool::Mean => 0.0,
    };
    let mut values = vec![start; elements(&shape).ok_or_else(wrong)?];
    let mut counts = vec![0.0_f32; out_plane];
    let planes = input.values().chunks_exact(height * width);
    for (from, to) in planes.zip(values.chunks_exact_mut(out_plane)) {
        counts.fill(0.0);
        for tap in 0..kernel[0] * kernel[1] {
            sliding.tap(tap / kernel[1], tap % kernel[1], |output, input| {
                counts[output] += 1.0;
                match pool {
                    Pool::Largest => to[output] = to[output].max(from[input]),
                    Pool::Mean => to[output] += from[input],
                }
            });
        }
        if pool == Pool::Mean {
            for (sum, count) in to.iter_mut().zip(&counts) {
                *sum /= count.max(1.0);
            }
        }
    }
    OnnxArray::new(shape, values).ok_or_else(wrong)
}
