//! What depends on positions alone: RoPE's angles and the attention's bias by distance.

use super::description::{Description, DistanceBias, Positions};
use crate::kernels::{self, Cpu};

/// Tables for texts up to a length; they grow when a longer text comes.
#[derive(Debug, Default)]
pub(super) struct Tables {
    length: usize,
    /// One for each base that the layers use.
    rotations: Vec<Rotation>,
    /// For each head the bias of the distances `−(length − 1)` to `length − 1`.
    biases: Vec<f32>,
}

#[derive(Debug)]
struct Rotation {
    theta: f64,
    /// [length, head_width / 2], as `sines`.
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl Tables {
    /// Makes the tables long enough for a text of `length` tokens.
    pub(super) fn ensure(&mut self, description: &Description, buckets: &[f32], length: usize) {
        if length <= self.length {
            return;
        }
        // In powers of two, so that slowly growing texts do not build them again and again.
        let length = length.next_power_of_two().max(64);
        self.length = length;
        self.rotations.clear();
        if description.positions == Positions::Rotary {
            for layer in &description.layers {
                if self.rotation(layer.theta).is_none() {
                    let rotation = Rotation::new(layer.theta, description.head_width, length);
                    self.rotations.push(rotation);
                }
            }
        }
        self.biases = match description.distance_bias {
            DistanceBias::None => Vec::new(),
            DistanceBias::Alibi => alibi(description.heads, length),
            DistanceBias::Buckets { .. } => bucketed(description.heads, buckets, length),
        };
    }

    /// Rotates the heads in `x`, all of the same token, by `position`.
    pub(super) fn rotate(&self, cpu: Cpu, theta: f64, position: usize, x: &mut [f32]) {
        if let Some(rotation) = self.rotation(theta) {
            let half = rotation.cosines.len() / self.length.max(1);
            let row = position * half..(position + 1) * half;
            kernels::rope(cpu, x, &rotation.cosines[row.clone()], &rotation.sines[row]);
        }
    }

    /// The bias of `head` for a query at `query` and the keys `first` to `last` (exclusive); empty
    /// where the model has none.
    pub(super) fn bias(&self, head: usize, query: usize, first: usize, last: usize) -> &[f32] {
        if self.biases.is_empty() {
            return &[];
        }
        let start = head * (2 * self.length - 1) + self.length - 1 - query;
        &self.biases[start + first..start + last]
    }

    fn rotation(&self, theta: f64) -> Option<&Rotation> {
        self.rotations
            .iter()
            .find(|rotation| rotation.theta == theta)
    }
}

impl Rotation {
    fn new(theta: f64, width: usize, length: usize) -> Self {
        // In single precision, as the references do it: far positions show the difference.
        let frequencies: Vec<f32> = (0..width / 2)
            .map(|pair| 1.0 / (theta as f32).powf((2 * pair) as f32 / width as f32))
            .collect();
        let angles = || {
            (0..length).flat_map(|position| {
                frequencies
                    .iter()
                    .map(move |frequency| f64::from(position as f32 * frequency))
            })
        };
        Self {
            theta,
            cosines: angles().map(|angle| angle.cos() as f32).collect(),
            sines: angles().map(|angle| angle.sin() as f32).collect(),
        }
    }
}

/// Distances from `−(length − 1)` up.
fn distances(length: usize) -> impl Iterator<Item = i64> {
    let end = length as i64;
    1 - end..end
}

fn alibi(heads: usize, length: usize) -> Vec<f32> {
    slopes(heads)
        .into_iter()
        .flat_map(|slope| distances(length).map(move |distance| -slope * distance.abs() as f32))
        .collect()
}

/// ALiBi's slopes: powers of `2^(−8/n)` for the next lower power of two, then every second one of
/// the next higher.
fn slopes(heads: usize) -> Vec<f32> {
    let power = |count: usize| {
        let start = (-8.0 / count as f64).exp2();
        (1..=count).map(move |exponent| start.powi(exponent as i32) as f32)
    };
    let lower = if heads.is_power_of_two() {
        heads
    } else {
        heads.next_power_of_two() / 2
    };
    power(lower)
        .chain(power(2 * lower).step_by(2))
        .take(heads)
        .collect()
}

fn bucketed(heads: usize, buckets: &[f32], length: usize) -> Vec<f32> {
    (0..heads)
        .flat_map(|head| {
            distances(length).map(move |distance| buckets[bucket(distance) * heads + head])
        })
        .collect()
}

/// The bucket of a distance: 16 to each side; the near ones exactly, the far ones by their
/// logarithm up to 128.
fn bucket(distance: i64) -> usize {
    const SIDE: usize = 16;
    const EXACT: usize = SIDE / 2;
    let side = if distance > 0 { SIDE } else { 0 };
    let far = distance.unsigned_abs() as usize;
    if far < EXACT {
        return side + far;
    }
    let share = (far as f32 / EXACT as f32).ln() / 16.0_f32.ln();
    let logarithmic = EXACT + (share * (SIDE - EXACT) as f32) as usize;
    side + logarithmic.min(SIDE - 1)
}
