//! Threads of a worker, by how many a step is given.

use crate::kernels::Team;

/// One team for each number of threads that a step was given so far.
#[derive(Debug, Default)]
pub(super) struct Teams(Vec<Team>);

impl Teams {
    /// The team of so many threads.
    pub(super) fn of(&mut self, threads: usize) -> &Team {
        let known = |team: &Team| team.threads() == threads;
        let place = self.0.iter().position(known).unwrap_or_else(|| {
            self.0.push(Team::new(threads));
            self.0.len() - 1
        });
        &self.0[place]
    }
}
