//! The pass through EfficientNet-Lite0, one picture at a time, its rows divided among the threads.

use super::weights::{Block, Dense, EfficientNetWeights};
use super::{FEATURES, SIDE};
use crate::kernels::{self, Activation, Depthwise};

/// ReLU6's upper end.
const MOST: f32 = 6.0;

/// Places that a thread takes at least.
const PLACES: usize = 64;

/// Buffers kept from picture to picture.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// A layer's input, and what it makes of it.
    now: Vec<f32>,
    next: Vec<f32>,
    /// Inside a layer, before and after the window.
    wide: Vec<f32>,
    seen: Vec<f32>,
}

impl Scratch {
    /// What the buffers take at most: the widest layer has 96 channels at 112 rows and columns.
    pub(super) const BYTES: u64 = 4 * (112 * 112 * (96 + 96 + 32 + 32)) as u64;
}

/// A picture between two layers: `side` rows and columns.
#[derive(Clone, Copy)]
struct Plane {
    side: usize,
}

impl Plane {
    fn places(self) -> usize {
        self.side * self.side
    }
}

/// Runs `work` on bands of whole rows of `out`, which are `width` long, with the number of the first.
fn divide(
    threads: usize,
    at_least: usize,
    out: &mut [f32],
    width: usize,
    work: impl Fn(usize, &mut [f32]) + Sync,
) {
    let rows = out.len() / width;
    let size = rows.div_ceil(threads.max(1)).max(at_least).max(1);
    if size >= rows {
        work(0, out);
        return;
    }
    let work = &work;
    rayon::scope(|scope| {
        for (number, band) in out.chunks_mut(size * width).enumerate() {
            scope.spawn(move |_| work(number * size, band));
        }
    });
}

/// What a picture [3, 224, 224] has in it: `FEATURES` values.
pub(super) fn features(
    weights: &EfficientNetWeights,
    pixels: &[f32],
    threads: usize,
    scratch: &mut Scratch,
) -> Vec<f32> {
    let mut plane = Plane { side: SIDE / 2 };
    stem(weights, pixels, threads, scratch);
    for block in &weights.blocks {
        plane = layer(weights, block, plane, threads, scratch);
    }
    let Scratch { now, wide, .. } = scratch;
    dense(weights, &weights.top, true, threads, now, wide);
    let mut features = vec![0.0; FEATURES];
    for place in wide.chunks_exact(FEATURES) {
        kernels::add(weights.cpu, &mut features, place);
    }
    let places = plane.places() as f32;
    features.iter_mut().for_each(|sum| *sum /= places);
    features
}

/// The first layer: a window of 3 by 3 over all colours, in steps of 2, what is missing at the right and below being 0.
fn stem(weights: &EfficientNetWeights, pixels: &[f32], threads: usize, scratch: &mut Scratch) {
    let side = SIDE / 2;
    scratch.wide.clear();
    scratch.wide.resize(side * side * 27, 0.0);
    divide(threads, 1, &mut scratch.wide, side * 27, |first, band| {
        for (row, line) in (first..).zip(band.chunks_exact_mut(side * 27)) {
            for (column, taps) in line.chunks_exact_mut(27).enumerate() {
                for (tap, colours) in taps.chunks_exact_mut(3).enumerate() {
                    let (y, x) = (2 * row + tap / 3, 2 * column + tap % 3);
                    if y < SIDE && x < SIDE {
                        for (colour, value) in colours.iter_mut().enumerate() {
                            *value = pixels[(colour * SIDE + y) * SIDE + x];
                        }
                    }
                }
            }
        }
    });
    let Scratch { now, wide, .. } = scratch;
    dense(weights, &weights.stem, true, threads, wide, now);
}

/// Multiplies every place of `x`.
fn dense(
    weights: &EfficientNetWeights,
    dense: &Dense,
    activate: bool,
    threads: usize,
    x: &[f32],
    out: &mut Vec<f32>,
) {
    let (inputs, outputs) = (dense.inputs(), dense.outputs());
    out.resize(x.len() / inputs * outputs, 0.0);
    divide(threads, PLACES, out, outputs, |first, band| {
        let rows = &x[first * inputs..][..band.len() / outputs * inputs];
        dense.apply(weights.cpu, rows, band);
        if activate {
            kernels::activate(weights.cpu, Activation::Relu6, band);
        }
    });
}

fn layer(
    weights: &EfficientNetWeights,
    block: &Block,
    plane: Plane,
    threads: usize,
    scratch: &mut Scratch,
) -> Plane {
    let Scratch {
        now,
        next,
        wide,
        seen,
    } = scratch;
    if let Some(expand) = &block.expand {
        dense(weights, expand, true, threads, now, wide);
    }
    let inside: &[f32] = if block.expand.is_some() { wide } else { now };
    let (factors, bias) = &block.window;
    let channels = bias.len();
    let after = Plane {
        side: plane.side.div_ceil(block.stride),
    };
    // As many outputs as strides fit; of what is missing, the odd one lies at the right and below.
    let covered = (after.side - 1) * block.stride + block.side;
    let shape = Depthwise {
        input: [plane.side; 2],
        output: [after.side; 2],
        channels,
        side: block.side,
        stride: block.stride,
        before: [covered.saturating_sub(plane.side) / 2; 2],
    };
    seen.resize(after.places() * channels, 0.0);
    divide(threads, 1, seen, after.side * channels, |first, band| {
        kernels::depthwise(weights.cpu, shape, inside, factors, bias, MOST, first, band);
    });
    dense(weights, &block.project, false, threads, seen, next);
    if block.residual {
        kernels::add(weights.cpu, next, now);
    }
    std::mem::swap(now, next);
    after
}
