//! Which of the training's timesteps the steps of a painting stand for.

use super::kind::SchedulerKind;
use super::schedule::{Diffusion, TimestepSpacing};

/// The timesteps of `steps` steps, the noisiest first; not all of them need be whole. `None` if there
/// are not so many.
pub(super) fn timesteps(
    kind: SchedulerKind,
    diffusion: &Diffusion,
    train: usize,
    steps: usize,
) -> Option<Vec<f64>> {
    if steps == 0 || steps > train {
        return None;
    }
    if kind == SchedulerKind::Lcm {
        return lcm(diffusion.lcm.original_steps, train, steps);
    }
    let is_multistep = matches!(
        kind,
        SchedulerKind::DpmSolverPlusPlus | SchedulerKind::UniPc
    );
    // The multistep solvers leave out the last of one step more.
    let places = steps + usize::from(is_multistep);
    let default = match kind {
        SchedulerKind::Ddim => TimestepSpacing::Leading,
        _ => TimestepSpacing::Linspace,
    };
    let spaced: Vec<f64> = match diffusion.spacing.unwrap_or(default) {
        TimestepSpacing::Leading => {
            let ratio = train / places;
            let at = |place: usize| (place * ratio + diffusion.steps_offset) as f64;
            (0..places).rev().map(at).take(steps).collect()
        }
        TimestepSpacing::Linspace => {
            let apart = (train - 1) as f64 / (places - 1).max(1) as f64;
            let at = |place: usize| place as f64 * apart;
            let spaced = (0..places).rev().map(at).take(steps);
            match kind {
                SchedulerKind::Euler | SchedulerKind::EulerAncestral => {
                    spaced.map(|timestep| f64::from(timestep as f32)).collect()
                }
                _ => spaced.map(f64::round_ties_even).collect(),
            }
        }
        TimestepSpacing::Trailing => {
            let apart = train as f64 / steps as f64;
            let at = |step: usize| (train as f64 - step as f64 * apart).round_ties_even() - 1.0;
            (0..steps).map(at).collect()
        }
    };
    let are_in_range = spaced
        .iter()
        .all(|timestep| (0.0..train as f64).contains(timestep));
    are_in_range.then_some(spaced)
}

/// Of the steps that the model was distilled for, a few at even distances.
fn lcm(original: usize, train: usize, steps: usize) -> Option<Vec<f64>> {
    if original > train || steps > original {
        return None;
    }
    let apart = train / original;
    let at = |step: usize| {
        let skipped = (step as f64 * (original as f64 / steps as f64)).floor() as usize;
        ((original - skipped) * apart - 1) as f64
    };
    Some((0..steps).map(at).collect())
}
