//! One of the two passes of a scaling: all rows, or all columns.

use super::filter::Kernel;

/// Bits behind the point of a weight. A byte has 8, and 2 are for sums beyond a byte's range.
const FRACTION: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (FRACTION - 1);

/// The weights of a pass.
pub(super) struct Pass {
    old: usize,
    windows: Vec<Window>,
    /// Those of all windows, one after the other.
    weights: Vec<i32>,
}

/// The old pixels that a new one is made of.
struct Window {
    first: usize,
    len: usize,
}

impl Pass {
    pub(super) fn new(kernel: &Kernel, old: usize, new: usize) -> Self {
        let scale = old as f64 / new as f64;
        let stretch = scale.max(1.0);
        let reach = kernel.reach * stretch;
        let mut windows = Vec::with_capacity(new);
        let mut weights = Vec::new();
        let mut exact = Vec::new();
        for index in 0..new {
            let middle = (index as f64 + 0.5) * scale;
            // Casts to usize end at 0, as they should.
            let first = (middle - reach + 0.5) as usize;
            let end = ((middle + reach + 0.5) as usize).min(old);
            let inverse = 1.0 / stretch;
            exact.clear();
            exact.extend(
                (first..end).map(|at| (kernel.weight)((at as f64 - middle + 0.5) * inverse)),
            );
            let sum: f64 = exact.iter().sum();
            let share = |weight: &f64| if sum == 0.0 { *weight } else { weight / sum };
            weights.extend(exact.iter().map(share).map(fixed));
            windows.push(Window {
                first,
                len: exact.len(),
            });
        }
        Self {
            old,
            windows,
            weights,
        }
    }

    /// Scales the rows of RGB pixels.
    pub(super) fn along_rows(&self, pixels: &[u8]) -> Vec<u8> {
        let mut scaled = Vec::with_capacity(pixels.len() / self.old * self.windows.len());
        for row in pixels.chunks_exact(self.old * 3) {
            let (row, _) = row.as_chunks::<3>();
            for (window, weights) in self.windows() {
                let mut sums = [HALF; 3];
                for (pixel, weight) in row[window.first..][..window.len].iter().zip(weights) {
                    for (sum, &value) in sums.iter_mut().zip(pixel) {
                        *sum += i32::from(value) * weight;
                    }
                }
                scaled.extend(sums.map(rounded));
            }
        }
        scaled
    }

    /// Scales the columns of rows of `row_bytes`.
    pub(super) fn along_columns(&self, pixels: &[u8], row_bytes: usize) -> Vec<u8> {
        let mut scaled = Vec::with_capacity(row_bytes * self.windows.len());
        let mut sums = vec![HALF; row_bytes];
        for (window, weights) in self.windows() {
            sums.fill(HALF);
            let rows = pixels[window.first * row_bytes..].chunks_exact(row_bytes);
            for (row, weight) in rows.zip(weights) {
                for (sum, &value) in sums.iter_mut().zip(row) {
                    *sum += i32::from(value) * weight;
                }
            }
            scaled.extend(sums.iter().copied().map(rounded));
        }
        scaled
    }

    fn windows(&self) -> impl Iterator<Item = (&Window, &[i32])> {
        let mut rest = self.weights.as_slice();
        self.windows.iter().map(move |window| {
            let (weights, others) = rest.split_at(window.len);
            rest = others;
            (window, weights)
        })
    }
}

/// A weight with `FRACTION` bits behind the point, rounded away from 0.
fn fixed(weight: f64) -> i32 {
    (weight * f64::from(1 << FRACTION)).round() as i32
}

fn rounded(sum: i32) -> u8 {
    (sum >> FRACTION).clamp(0, 255) as u8
}
