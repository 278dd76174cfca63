//! Learned positions for pictures of another size than they were learned for.

use super::description::Interpolation;

/// A place between others: which of them it is made of, and with what weights.
type Taps = Vec<(usize, f32)>;

/// Positions [lines · columns, width] of those of a square of `side` lines, [side · side, width].
pub(super) fn interpolate(
    kind: Interpolation,
    table: &[f32],
    side: usize,
    width: usize,
    [lines, columns]: [usize; 2],
) -> Vec<f32> {
    let across = taps(kind, side, columns);
    let down = taps(kind, side, lines);
    let mut wide = vec![0.0; side * columns * width];
    for (line, out) in table
        .chunks_exact(side * width)
        .zip(wide.chunks_exact_mut(columns * width))
    {
        for (taps, place) in across.iter().zip(out.chunks_exact_mut(width)) {
            mix(taps, |tap| &line[tap * width..][..width], place);
        }
    }
    let row = columns * width;
    let mut made = vec![0.0; lines * row];
    for (taps, place) in down.iter().zip(made.chunks_exact_mut(row)) {
        mix(taps, |tap| &wide[tap * row..][..row], place);
    }
    made
}

fn mix<'a>(taps: &Taps, source: impl Fn(usize) -> &'a [f32], out: &mut [f32]) {
    for (tap, weight) in taps {
        for (sum, value) in out.iter_mut().zip(source(*tap)) {
            *sum += weight * value;
        }
    }
}

/// What each of `wanted` places along a side is made of.
fn taps(kind: Interpolation, side: usize, wanted: usize) -> Vec<Taps> {
    let step = side as f32 / wanted as f32;
    let last = side as i64 - 1;
    (0..wanted)
        .map(|place| match kind {
            Interpolation::Plain => {
                let centre = step * (place as f32 + 0.5) - 0.5;
                let before = centre.floor();
                let tap = |offset: i64| {
                    let at = before as i64 + offset;
                    let weight = cubic(centre - before - offset as f32, -0.75);
                    (at.clamp(0, last) as usize, weight)
                };
                (-1..=2).map(tap).collect()
            }
            Interpolation::Antialiased => {
                let stretch = step.max(1.0);
                let centre = step * (place as f32 + 0.5);
                let from = ((centre - 2.0 * stretch + 0.5) as i64).max(0);
                let to = ((centre + 2.0 * stretch + 0.5) as i64).min(last + 1);
                let weight = |at: i64| cubic((at as f32 - centre + 0.5) / stretch, -0.5);
                let total: f32 = (from..to).map(weight).sum();
                (from..to)
                    .map(|at| (at as usize, weight(at) / total))
                    .collect()
            }
        })
        .collect()
}

/// The cubic convolution kernel (Keys 1981) at `x`.
fn cubic(x: f32, a: f32) -> f32 {
    let x = x.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}

/// The tables that the pictures of a step need, kept for the next.
#[derive(Debug, Default)]
pub(super) struct Tables(Vec<([usize; 2], Vec<f32>)>);

impl Tables {
    /// Makes tables of these sizes, and forgets all others.
    pub(super) fn ensure(
        &mut self,
        kind: Interpolation,
        table: &[f32],
        side: usize,
        width: usize,
        sizes: &[[usize; 2]],
    ) {
        self.0.retain(|(size, _)| sizes.contains(size));
        for size in sizes.iter().filter(|size| **size != [side; 2]) {
            if self.get(*size).is_none() {
                self.0
                    .push((*size, interpolate(kind, table, side, width, *size)));
            }
        }
    }

    /// What they take in memory.
    #[cfg(feature = "testing")]
    pub(super) fn held_bytes(&self) -> u64 {
        let values = self.0.iter().map(|(_, table)| table.capacity());
        4 * values.sum::<usize>() as u64
    }

    /// That of a size.
    pub(super) fn get(&self, size: [usize; 2]) -> Option<&[f32]> {
        let (_, table) = self.0.iter().find(|(known, _)| *known == size)?;
        Some(table)
    }
}
