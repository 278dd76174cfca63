//! Windows that slide over pictures: convolutions and pools.

use super::array::{OnnxArray, elements};
use super::attributes::{Attributes, Complaint};

/// How many positions are multiplied at once: a piece of a row stays in the nearest cache.
const PIECE: usize = 512;

/// How a window slides, in rows and columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    strides: [usize; 2],
    dilations: [usize; 2],
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
    input: [usize; 2],
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    before: [usize; 2],
    pub(super) output: [usize; 2],
}

impl Window {
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
    fn is_pointwise(&self) -> bool {
        self.kernel == [1; 2] && self.strides == [1; 2] && self.output == self.input
    }

    /// The input's row (axis 0) or column (axis 1) that an output's tap lies on; `None` in the
    /// padding.
    fn source(&self, axis: usize, output: usize, tap: usize) -> Option<usize> {
        let place = output * self.strides[axis] + tap * self.dilations[axis];
        let place = place.checked_sub(self.before[axis])?;
        (place < self.input[axis]).then_some(place)
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

/// A convolution with `weight` `[out, in / groups, rows, columns]`.
pub(super) fn convolve(
    window: &Window,
    groups: usize,
    input: &OnnxArray,
    weight: &OnnxArray,
    bias: Option<&OnnxArray>,
) -> Result<OnnxArray, Complaint> {
    let wrong = || format!("weights {:?} on {:?}", weight.shape(), input.shape());
    let [batch, channels, height, width] = input.planes().ok_or_else(wrong)?;
    let [outputs, per_group, rows, columns] = weight.planes().ok_or_else(wrong)?;
    let fits = groups > 0 && channels == per_group * groups && outputs.is_multiple_of(groups);
    if !fits || outputs == 0 || per_group == 0 {
        return Err(wrong());
    }
    if bias.is_some_and(|bias| bias.values().len() != outputs) {
        return Err(format!("a bias that is not of {outputs}"));
    }
    let sliding = window.over([height, width], [rows, columns])?;
    let [out_height, out_width] = sliding.output;
    let (in_plane, out_plane) = (height * width, out_height * out_width);
    let shape = vec![batch, outputs, out_height, out_width];
    let count = elements(&shape).ok_or_else(wrong)?;
    let taps = per_group * rows * columns;
    elements(&[taps, out_plane]).ok_or_else(wrong)?;
    let mut values = vec![0.0; count];
    if let Some(bias) = bias {
        for (plane, value) in values
            .chunks_exact_mut(out_plane)
            .zip(bias.values().iter().cycle())
        {
            plane.fill(*value);
        }
    }
    let out_group = outputs / groups;
    let mut columns_of = Vec::new();
    let inputs = input.values().chunks_exact(per_group * in_plane);
    for (number, (from, to)) in inputs
        .zip(values.chunks_exact_mut(out_group * out_plane))
        .enumerate()
    {
        let first = number % groups * out_group * taps;
        let weights = &weight.values()[first..first + out_group * taps];
        if per_group == 1 {
            // Depthwise: a product of matrices would be all copying.
            for (plane, kernel) in to
                .chunks_exact_mut(out_plane)
                .zip(weights.chunks_exact(taps))
            {
                for (tap, factor) in kernel.iter().enumerate() {
                    sliding.tap(tap / columns, tap % columns, |output, input| {
                        plane[output] += factor * from[input];
                    });
                }
            }
        } else if sliding.is_pointwise() {
            multiply(weights, from, to, taps, out_plane);
        } else {
            columns_of.clear();
            columns_of.resize(taps * out_plane, 0.0);
            for (tap, row) in columns_of.chunks_exact_mut(out_plane).enumerate() {
                let plane = &from[tap / (rows * columns) * in_plane..][..in_plane];
                let tap = tap % (rows * columns);
                sliding.tap(tap / columns, tap % columns, |output, input| {
                    row[output] = plane[input];
                });
            }
            multiply(weights, &columns_of, to, taps, out_plane);
        }
    }
    OnnxArray::new(shape, values).ok_or_else(wrong)
}

/// Adds `left` `[m, inner]` times `right` `[inner, n]` to `to` `[m, n]`.
pub(super) fn multiply(left: &[f32], right: &[f32], to: &mut [f32], inner: usize, n: usize) {
    for start in (0..n).step_by(PIECE) {
        let end = (start + PIECE).min(n);
        for (factors, row) in left.chunks_exact(inner).zip(to.chunks_exact_mut(n)) {
            let sums = &mut row[start..end];
            for (factor, other) in factors.iter().zip(right.chunks_exact(n)) {
                for (sum, value) in sums.iter_mut().zip(&other[start..end]) {
                    *sum += factor * value;
                }
            }
        }
    }
}

/// A convolution run backwards, with `weight` `[in, out, rows, columns]`.
pub(super) fn spread(
    window: &Window,
    input: &OnnxArray,
    weight: &OnnxArray,
) -> Result<OnnxArray, Complaint> {
    let wrong = || format!("weights {:?} on {:?}", weight.shape(), input.shape());
    let [batch, channels, height, width] = input.planes().ok_or_else(wrong)?;
    let [inputs, outputs, rows, columns] = weight.planes().ok_or_else(wrong)?;
    let Padding::Explicit([0, 0, 0, 0]) = window.padding else {
        return Err("padding is not supported".to_owned());
    };
    let fits = channels == inputs && inputs > 0 && outputs > 0;
    if !fits || window.dilations != [1; 2] || height * width == 0 || rows * columns == 0 {
        return Err(wrong());
    }
    let size = |side: usize, axis: usize, kernel: usize| (side - 1) * window.strides[axis] + kernel;
    let (out_height, out_width) = (size(height, 0, rows), size(width, 1, columns));
    let shape = vec![batch, outputs, out_height, out_width];
    let mut values = vec![0.0; elements(&shape).ok_or_else(wrong)?];
    let (in_plane, out_plane) = (height * width, out_height * out_width);
    for (number, plane) in input.values().chunks_exact(in_plane).enumerate() {
        let (picture, channel) = (number / inputs, number % inputs);
        let kernels = &weight.values()[channel * outputs * rows * columns..];
        for output in 0..outputs {
            let to = &mut values[(picture * outputs + output) * out_plane..][..out_plane];
            let kernel = &kernels[output * rows * columns..][..rows * columns];
            for (place, value) in plane.iter().enumerate() {
                let top = place / width * window.strides[0];
                let left = place % width * window.strides[1];
                for (tap, factor) in kernel.iter().enumerate() {
                    to[(top + tap / columns) * out_width + left + tap % columns] += factor * value;
                }
            }
        }
    }
    OnnxArray::new(shape, values).ok_or_else(wrong)
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
