//! Products of activations and weight matrices, divided among a team's threads.

use super::floats::ROWS_AT_ONCE;
use super::quantised::Activations;
use super::{Cpu, Matrix, Team};

/// How many matrices are multiplied in one fork; more are taken in turn.
const MATRICES: usize = 4;
/// Pieces of work for each thread, so that one that is held up is not waited for long.
const PIECES: usize = 4;
/// Multiplications that are worth a fork.
const WORTH_A_FORK: usize = 1 << 17;

/// Room that [`linear`] needs while it computes, to be used again.
#[derive(Debug, Default)]
pub(crate) struct LinearScratch {
    activations: Activations,
}

/// `out[m, rows] = x[m, columns] · Wᵀ` for each of `outputs`, which all take the same `x`.
///
/// A row of the result depends on its own row of `x` alone, bit for bit: not on `m`, not on the
/// other rows and not on how many threads there are. A row of `x` that is not all finite gives a
/// row that is not either.
pub(crate) fn linear(
    cpu: Cpu,
    team: &Team,
    scratch: &mut LinearScratch,
    x: &[f32],
    m: usize,
    outputs: &mut [(&Matrix, &mut [f32])],
) {
    let columns = outputs.first().map_or(0, |(matrix, _)| matrix.columns());
    let x = &x[..m * columns];
    team.run(|| {
        let activations = &mut scratch.activations;
        if outputs.iter().any(|(matrix, _)| matrix.is_quantised()) {
            activations.fill(cpu, team, x, columns);
        }
        let job = Job {
            cpu,
            x,
            columns,
            activations,
            threads: team.threads(),
        };
        for outputs in outputs.chunks_mut(MATRICES) {
            job.run(m, outputs);
        }
    });
}

/// What all pieces of the work read.
#[derive(Clone, Copy)]
struct Job<'a> {
    cpu: Cpu,
    x: &'a [f32],
    columns: usize,
    activations: &'a Activations,
    threads: usize,
}

/// Rows of activations, and where each matrix's results for them go.
struct Slab<'a> {
    first: usize,
    count: usize,
    outputs: [Option<(&'a Matrix, &'a mut [f32])>; MATRICES],
}

/// Units of a matrix, and where their results for each row of a slab go.
struct Part<'a> {
    matrix: &'a Matrix,
    first_unit: usize,
    rows: [&'a mut [f32]; ROWS_AT_ONCE],
}

/// The parts of one slab's matrices that are one piece of work.
struct Piece<'a> {
    first: usize,
    count: usize,
    parts: [Option<Part<'a>>; MATRICES],
}

impl Job<'_> {
    fn run(self, m: usize, outputs: &mut [(&Matrix, &mut [f32])]) {
        let weights: usize = outputs.iter().map(|(matrix, _)| matrix.rows()).sum();
        let work = weights.saturating_mul(self.columns).saturating_mul(m);
        // A team of one must not fork: that would be taken up by threads that are not its own.
        let most = if self.threads > 1 {
            self.threads * PIECES
        } else {
            1
        };
        let pieces = (work / WORTH_A_FORK).clamp(1, most);
        let mut outputs = outputs.iter_mut();
        let slab = Slab {
            first: 0,
            count: m,
            outputs: std::array::from_fn(|_| {
                outputs.next().map(|(matrix, out)| (*matrix, &mut **out))
            }),
        };
        // Many rows are divided among the threads; else all threads share each row.
        if self.threads > 1 && m >= self.threads * ROWS_AT_ONCE {
            let rows = (m / pieces).next_multiple_of(ROWS_AT_ONCE / 4);
            self.divide_rows(slab, rows.min(ROWS_AT_ONCE));
        } else {
            self.take_rows_in_turn(slab, pieces);
        }
    }

    fn divide_rows(self, slab: Slab<'_>, at_once: usize) {
        if slab.count <= at_once {
            self.divide_units(slab.into_piece(), 1);
            return;
        }
        let middle = (slab.count / 2).next_multiple_of(at_once);
        let (left, right) = slab.split(middle);
        rayon::join(
            || self.divide_rows(left, at_once),
            || self.divide_rows(right, at_once),
        );
    }

    fn take_rows_in_turn(self, mut slab: Slab<'_>, pieces: usize) {
        while slab.count > ROWS_AT_ONCE {
            let (first, rest) = slab.split(ROWS_AT_ONCE);
            self.divide_units(first.into_piece(), pieces);
            slab = rest;
        }
        self.divide_units(slab.into_piece(), pieces);
    }

    fn divide_units(self, piece: Piece<'_>, pieces: usize) {
        if pieces <= 1 {
            self.compute(piece);
            return;
        }
        let (left, right) = piece.split(pieces / 2, pieces);
        rayon::join(
            || self.divide_units(left, pieces / 2),
            || self.divide_units(right, pieces - pieces / 2),
        );
    }

    fn compute(self, piece: Piece<'_>) {
        let Piece { first, count, .. } = piece;
        let x = &self.x[first * self.columns..(first + count) * self.columns];
        for mut part in piece.parts.into_iter().flatten() {
            let blocks = match part.matrix.is_quantised() {
                true => self.activations.rows(first, count),
                false => &[],
            };
            let rows = &mut part.rows[..count];
            part.matrix
                .multiply(self.cpu, x, blocks, part.first_unit, rows);
        }
    }
}

impl<'a> Slab<'a> {
    /// Cuts it before row `at`, counted from its first.
    fn split(self, at: usize) -> (Self, Self) {
        let mut right = Self {
            first: self.first + at,
            count: self.count - at,
            outputs: [const { None }; MATRICES],
        };
        let mut left = Self {
            first: self.first,
            count: at,
            outputs: self.outputs,
        };
        for (left, right) in left.outputs.iter_mut().zip(&mut right.outputs) {
            if let Some((matrix, out)) = left.take() {
                let (before, after) = out.split_at_mut(at * matrix.rows());
                *left = Some((matrix, before));
                *right = Some((matrix, after));
            }
        }
        (left, right)
    }

    /// All units, for at most [`ROWS_AT_ONCE`] rows.
    fn into_piece(self) -> Piece<'a> {
        Piece {
            first: self.first,
            count: self.count,
            parts: self.outputs.map(|output| {
                let (matrix, out) = output?;
                // Rows of no length have nothing to be divided.
                let mut rows = out.chunks_exact_mut(matrix.rows().max(1));
                Some(Part {
                    matrix,
                    first_unit: 0,
                    rows: std::array::from_fn(|_| rows.next().unwrap_or_default()),
                })
            }),
        }
    }
}

impl Piece<'_> {
    /// Gives `share` of `all` equal shares to the left, in whole units.
    fn split(self, share: usize, all: usize) -> (Self, Self) {
        let mut right = Piece {
            first: self.first,
            count: self.count,
            parts: [const { None }; MATRICES],
        };
        let mut left = self;
        for (left, right) in left.parts.iter_mut().zip(&mut right.parts) {
            let Some(part) = left else { continue };
            let unit = part.matrix.unit();
            let units = part.rows[0].len().div_ceil(unit);
            let to_the_left = units * share / all;
            let mut cut = Part {
                matrix: part.matrix,
                first_unit: part.first_unit + to_the_left,
                rows: std::array::from_fn(|_| Default::default()),
            };
            for (before, after) in part.rows.iter_mut().zip(&mut cut.rows) {
                let row = std::mem::take(before);
                let at = row.len().min(to_the_left * unit);
                (*before, *after) = row.split_at_mut(at);
            }
            *right = Some(cut);
        }
        (left, right)
    }
}
