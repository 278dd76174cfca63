//! What a graph computes with.

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use crate::kernels::{Cpu, Team};

/// Fewer values are not worth a second thread.
const MIN_PART: usize = 1 << 14;

/// The instruction set, and how many threads of the team in which the graph runs. However many there
/// are, every value comes out the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cores {
    pub(super) cpu: Cpu,
    threads: usize,
}

impl Cores {
    /// The thread that asks.
    pub(super) fn one() -> Self {
        Self {
            cpu: Cpu::detect(),
            threads: 1,
        }
    }

    /// All of a team; to be used where that [runs](Team::run).
    pub(super) fn all_of(team: &Team) -> Self {
        Self {
            cpu: Cpu::detect(),
            threads: team.threads(),
        }
    }

    /// Cuts `values` into whole pieces of `unit`, and has each thread do some: `work` is told the number
    /// of its first piece. `cost` is how many operations a value takes.
    pub(super) fn share(
        self,
        values: &mut [f32],
        unit: usize,
        cost: usize,
        work: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        let units = values.len() / unit.max(1);
        let parts = (values.len().saturating_mul(cost) / MIN_PART).clamp(1, self.threads);
        let part = units.div_ceil(parts).max(1);
        if part >= units {
            work(0, values);
            return;
        }
        values
            .par_chunks_mut(part * unit)
            .enumerate()
            .for_each(|(index, values)| work(index * part, values));
    }
}
