//! Products of activations and weight matrices, divided among a team's threads.

use super::{Cpu, Matrix, Team};

/// Room that [`linear`] needs while it computes, to be used again.
#[derive(Debug, Default)]
pub(crate) struct LinearScratch {
    row: Vec<f32>,
}

/// `out[m, rows] = x[m, columns] · Wᵀ` for each of `outputs`, which all take the same `x`.
///
/// A row of the result depends on its own row of `x` alone, bit for bit: not on `m`, not on the
/// other rows and not on how many threads there are. A row of `x` that is not all finite gives a
/// row that is not either.
pub(crate) fn linear(
    _cpu: Cpu,
    _team: &Team,
    scratch: &mut LinearScratch,
    x: &[f32],
    m: usize,
    outputs: &mut [(&Matrix, &mut [f32])],
) {
    for (matrix, out) in outputs {
        let (rows, columns) = (matrix.rows(), matrix.columns());
        scratch.row.resize(columns, 0.0);
        for row in 0..rows {
            matrix.read_row(row, &mut scratch.row);
            for i in 0..m {
                let x = &x[i * columns..(i + 1) * columns];
                out[i * rows + row] = dot(x, &scratch.row);
            }
        }
    }
}

fn dot(x: &[f32], y: &[f32]) -> f32 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}
