//! Convolutions, forwards and backwards, as products of matrices.

use std::ops::Range;

use super::array::{OnnxArray, elements};
use super::attributes::Complaint;
use super::cores::Cores;
use super::window::{Sliding, Window};
use crate::kernels::{
    Packed, add_scaled, gemm_onto, pack_columns, pack_row, packed_len, panel_width,
};

/// How many values of the right matrix are laid out at a time: they stay in the second cache.
const PACKED: usize = 1 << 15;

/// A convolution with `weight` `[out, in / groups, rows, columns]`.
pub(super) fn convolve(
    cores: Cores,
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
    let inputs = input.values().chunks_exact(per_group * in_plane);
    let pairs = inputs.zip(values.chunks_exact_mut(out_group * out_plane));
    if per_group == 1 && out_group == 1 {
        // Depthwise: a product of matrices would be all copying.
        let weights = weight.values();
        cores.share(&mut values, out_plane, taps, |first, planes| {
            for (number, plane) in (first..).zip(planes.chunks_exact_mut(out_plane)) {
                let from = &input.values()[number * in_plane..][..in_plane];
                let kernel = &weights[number % outputs * taps..][..taps];
                depthwise(cores, &sliding, columns, from, kernel, plane);
            }
        });
    } else {
        let mut product = Product::new(cores, taps, out_plane);
        for (number, (from, to)) in pairs.enumerate() {
            let first = number % groups * out_group * taps;
            let weights = &weight.values()[first..first + out_group * taps];
            product.run(weights, to, |piece, packing| {
                if sliding.is_pointwise() {
                    packing.columns(&from[piece.start..], in_plane);
                } else {
                    packing.taps(&sliding, [rows, columns], from, piece);
                }
            });
        }
    }
    OnnxArray::new(shape, values).ok_or_else(wrong)
}

fn depthwise(
    cores: Cores,
    sliding: &Sliding,
    columns: usize,
    from: &[f32],
    kernel: &[f32],
    to: &mut [f32],
) {
    let [in_width, out_width] = [sliding.input[1], sliding.output[1]];
    let stride = sliding.strides[1];
    for (y, row) in to.chunks_exact_mut(out_width).enumerate() {
        for (tap, &factor) in kernel.iter().enumerate() {
            let within = sliding.within(1, tap % columns);
            let place = (
                sliding.source(0, y, tap / columns),
                sliding.source(1, within.start, tap % columns),
            );
            let (Some(from_row), Some(start)) = place else {
                continue;
            };
            let source = &from[from_row * in_width..][start..in_width];
            let row = &mut row[within];
            if stride == 1 {
                add_scaled(cores.cpu, row, &source[..row.len()], factor);
            } else {
                for (sum, value) in row.iter_mut().zip(source.iter().step_by(stride)) {
                    *sum += factor * value;
                }
            }
        }
    }
}

/// Products of weights with what lies under a window, a piece of the outputs at a time.
struct Product {
    cores: Cores,
    taps: usize,
    outputs: usize,
    piece: usize,
    packed: Vec<f32>,
    row: Vec<f32>,
}

/// Where a piece is laid out.
struct Packing<'a> {
    cores: Cores,
    taps: usize,
    count: usize,
    packed: &'a mut [f32],
    row: &'a mut [f32],
}

impl Product {
    /// Of `taps` values for each of `outputs`.
    fn new(cores: Cores, taps: usize, outputs: usize) -> Self {
        let panel = panel_width(cores.cpu);
        let piece = (PACKED / taps).next_multiple_of(panel).min(outputs);
        Self {
            cores,
            taps,
            outputs,
            piece,
            packed: vec![0.0; packed_len(cores.cpu, taps, piece)],
            row: vec![0.0; piece],
        }
    }

    /// Adds `weights` `[m, taps]` times what `pack` lays out to `to` `[m, outputs]`.
    fn run(
        &mut self,
        weights: &[f32],
        to: &mut [f32],
        pack: impl Fn(Range<usize>, &mut Packing<'_>),
    ) {
        let (cores, taps, outputs) = (self.cores, self.taps, self.outputs);
        for start in (0..outputs).step_by(self.piece.max(1)) {
            let count = self.piece.min(outputs - start);
            let length = packed_len(cores.cpu, taps, count);
            pack(
                start..start + count,
                &mut Packing {
                    cores,
                    taps,
                    count,
                    packed: &mut self.packed[..length],
                    row: &mut self.row[..count],
                },
            );
            let packed = Packed {
                data: &self.packed[..length],
                k: taps,
                n: count,
            };
            // What a row costs is what of it lies in this piece.
            let cost = (taps * count / outputs).max(1);
            cores.share(to, outputs, cost, |first, rows| {
                let count = rows.len() / outputs;
                let weights = &weights[first * taps..][..count * taps];
                gemm_onto(
                    cores.cpu,
                    count,
                    weights,
                    taps,
                    packed,
                    &mut rows[start..],
                    outputs,
                );
            });
        }
    }
}

impl Packing<'_> {
    /// Rows that lie `stride` apart.
    fn columns(&mut self, rows: &[f32], stride: usize) {
        pack_columns(
            self.cores.cpu,
            self.packed,
            self.taps,
            self.count,
            rows,
            stride,
        );
    }

    /// What each tap of a window meets at these outputs.
    fn taps(&mut self, sliding: &Sliding, kernel: [usize; 2], from: &[f32], piece: Range<usize>) {
        let in_plane = sliding.input[0] * sliding.input[1];
        let size = kernel[0] * kernel[1];
        for tap in 0..self.taps {
            let plane = &from[tap / size * in_plane..][..in_plane];
            let place = [tap % size / kernel[1], tap % kernel[1]];
            gather(sliding, place, plane, piece.clone(), self.row);
            pack_row(self.cores.cpu, self.packed, self.taps, tap, self.row);
        }
    }
}

/// What one tap meets at the outputs `piece`, and 0 in the padding.
fn gather(
    sliding: &Sliding,
    [tap_row, tap_column]: [usize; 2],
    plane: &[f32],
    piece: Range<usize>,
    to: &mut [f32],
) {
    let [in_width, out_width] = [sliding.input[1], sliding.output[1]];
    let within = sliding.within(1, tap_column);
    to.fill(0.0);
    let mut place = piece.start;
    while place < piece.end {
        let (y, x) = (place / out_width, place % out_width);
        let row_end = (place - x + out_width).min(piece.end);
        let columns = within.start.max(x)..within.end.min(x + row_end - place);
        let source = (
            sliding.source(0, y, tap_row),
            sliding.source(1, columns.start, tap_column),
        );
        if let (Some(from_row), Some(start)) = source
            && !columns.is_empty()
        {
            let source = &plane[from_row * in_width..][start..in_width];
            let first = place - piece.start + columns.start - x;
            let to = &mut to[first..first + columns.len()];
            match sliding.strides[1] {
                1 => to.copy_from_slice(&source[..to.len()]),
                stride => {
                    for (to, value) in to.iter_mut().zip(source.iter().step_by(stride)) {
                        *to = *value;
                    }
                }
            }
        }
        place = row_end;
    }
}

/// Adds `left` `[m, inner]` times `right` `[inner, n]` to `to` `[m, n]`.
pub(super) fn multiply(
    cores: Cores,
    left: &[f32],
    right: &[f32],
    to: &mut [f32],
    inner: usize,
    n: usize,
) {
    let mut product = Product::new(cores, inner, n);
    product.run(left, to, |piece, packing| {
        packing.columns(&right[piece.start..], n);
    });
}

/// A convolution run backwards, with `weight` `[in, out, rows, columns]`.
pub(super) fn spread(
    cores: Cores,
    window: &Window,
    input: &OnnxArray,
    weight: &OnnxArray,
) -> Result<OnnxArray, Complaint> {
    let wrong = || format!("weights {:?} on {:?}", weight.shape(), input.shape());
    let [batch, channels, height, width] = input.planes().ok_or_else(wrong)?;
    let [inputs, outputs, rows, columns] = weight.planes().ok_or_else(wrong)?;
    if !window.is_unpadded() {
        return Err("padding is not supported".to_owned());
    }
    let fits = channels == inputs && inputs > 0 && outputs > 0;
    if !fits || window.dilations != [1; 2] || height * width == 0 || rows * columns == 0 {
        return Err(wrong());
    }
    let size = |side: usize, axis: usize, kernel: usize| (side - 1) * window.strides[axis] + kernel;
    let (out_height, out_width) = (size(height, 0, rows), size(width, 1, columns));
    let shape = vec![batch, outputs, out_height, out_width];
    let mut values = vec![0.0; elements(&shape).ok_or_else(wrong)?];
    let (in_plane, out_plane) = (height * width, out_height * out_width);
    // What each input place gives to each tap of each output.
    let taps = outputs * rows * columns;
    let parts = elements(&[taps, in_plane]).ok_or_else(wrong)?;
    let turned: Vec<f32> = (0..taps)
        .flat_map(|tap| (0..inputs).map(move |input| weight.values()[input * taps + tap]))
        .collect();
    let mut given = vec![0.0; parts];
    let pictures = input.values().chunks_exact(inputs * in_plane);
    for (from, to) in pictures.zip(values.chunks_exact_mut(outputs * out_plane)) {
        given.fill(0.0);
        multiply(cores, &turned, from, &mut given, inputs, in_plane);
        cores.share(to, out_plane, rows * columns, |first, planes| {
            for (number, plane) in (first..).zip(planes.chunks_exact_mut(out_plane)) {
                for tap in 0..rows * columns {
                    let given = &given[(number * rows * columns + tap) * in_plane..][..in_plane];
                    for (y, given) in given.chunks_exact(width).enumerate() {
                        let top = y * window.strides[0] + tap / columns;
                        let row = &mut plane[top * out_width..][..out_width];
                        let places = row[tap % columns..].iter_mut().step_by(window.strides[1]);
                        for (sum, value) in places.zip(given) {
                            *sum += value;
                        }
                    }
                }
            }
        });
    }
    OnnxArray::new(shape, values).ok_or_else(wrong)
}
