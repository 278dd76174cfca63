//! What each kind of scheduler does in a step.

mod multistep;

use super::config::Multistep as MultistepOptions;
use super::kind::SchedulerKind;
use super::noise::NoiseSource;
use super::schedule::{Diffusion, Prediction};
use super::sigmas::Step;
use multistep::{DpmSolver, UniPc};

/// A step that is being walked.
pub(super) struct Walk<'a> {
    /// All steps of the plan.
    pub(super) steps: &'a [Step],
    /// Which of them it is.
    pub(super) index: usize,
    /// What the model has predicted, and what that is.
    pub(super) prediction: &'a [f32],
    pub(super) kind: Prediction,
}

impl Walk<'_> {
    fn step(&self) -> Step {
        self.steps[self.index]
    }

    fn is_last(&self) -> bool {
        self.index + 1 == self.steps.len()
    }
}

/// What a kind of scheduler keeps from step to step.
#[derive(Debug, Clone)]
pub(super) enum Solver {
    Ddim,
    Euler,
    EulerAncestral {
        noise: Vec<f32>,
    },
    DpmSolver(DpmSolver),
    UniPc(UniPc),
    Lcm {
        timestep_scaling: f64,
        noise: Vec<f32>,
    },
    Flow,
}

impl Solver {
    pub(super) fn new(kind: SchedulerKind, diffusion: &Diffusion) -> Self {
        let options: MultistepOptions = diffusion.multistep;
        match kind {
            SchedulerKind::Ddim => Self::Ddim,
            SchedulerKind::Euler => Self::Euler,
            SchedulerKind::EulerAncestral => Self::EulerAncestral { noise: Vec::new() },
            SchedulerKind::DpmSolverPlusPlus => {
                let ends_at_zero = !diffusion.ends_at_sigma_min;
                Self::DpmSolver(DpmSolver::new(options, ends_at_zero))
            }
            SchedulerKind::UniPc => Self::UniPc(UniPc::new(options)),
            SchedulerKind::Lcm => Self::Lcm {
                timestep_scaling: diffusion.lcm.timestep_scaling,
                noise: Vec::new(),
            },
            SchedulerKind::FlowMatchEuler => Self::Flow,
        }
    }

    /// Makes the next latents of these. `estimate` is what the prediction says the picture is.
    pub(super) fn step(
        &mut self,
        walk: &Walk<'_>,
        estimate: &mut [f32],
        latents: &mut [f32],
        source: &mut dyn NoiseSource,
    ) {
        let step = walk.step();
        match self {
            Self::Ddim => ddim(walk, estimate, latents),
            Self::Euler => euler(step.level.noise, step.next.noise, estimate, latents),
            Self::EulerAncestral { noise } => {
                let (from, to) = (step.level.noise, step.next.noise);
                let up = (to * to * (from * from - to * to) / (from * from)).sqrt();
                let down = (to * to - up * up).max(0.0).sqrt();
                euler(from, down, estimate, latents);
                noise.resize(latents.len(), 0.0);
                source.fill(noise);
                add(latents, up, noise);
            }
            Self::DpmSolver(solver) => solver.step(walk, estimate, latents),
            Self::UniPc(solver) => solver.step(walk, estimate, latents),
            Self::Lcm {
                timestep_scaling,
                noise,
            } => {
                lcm(step, *timestep_scaling, estimate, latents);
                if !walk.is_last() {
                    noise.resize(latents.len(), 0.0);
                    source.fill(noise);
                    let signal = step.next.signal as f32;
                    latents.iter_mut().for_each(|value| *value *= signal);
                    add(latents, step.next.noise, noise);
                }
            }
            Self::Flow => add(latents, step.next.noise - step.level.noise, walk.prediction),
        }
    }
}

/// Adds `share` times some values to others.
fn add(values: &mut [f32], share: f64, added: &[f32]) {
    let share = share as f32;
    for (value, added) in values.iter_mut().zip(added) {
        *value += share * added;
    }
}

/// The estimate and the noise that is left, mixed as the next level has it.
fn ddim(walk: &Walk<'_>, estimate: &[f32], latents: &mut [f32]) {
    let Step { level, next, .. } = walk.step();
    // The noise is what the prediction says, even where the estimate was cut off.
    let [of_latents, of_prediction] = match walk.kind {
        Prediction::Epsilon | Prediction::Flow => [0.0, 1.0],
        Prediction::Velocity => [level.noise, level.signal],
        Prediction::Sample => [1.0 / level.noise, -level.signal / level.noise],
    }
    .map(|share| share as f32);
    let (signal, noise) = (next.signal as f32, next.noise as f32);
    let predictions = walk.prediction.iter().zip(estimate);
    for (latent, (predicted, estimate)) in latents.iter_mut().zip(predictions) {
        let left = of_latents * *latent + of_prediction * predicted;
        *latent = signal * estimate + noise * left;
    }
}

/// On a straight line away from the estimate's noise.
fn euler(from: f64, to: f64, estimate: &[f32], latents: &mut [f32]) {
    let part = ((to - from) / from) as f32;
    for (latent, estimate) in latents.iter_mut().zip(estimate) {
        *latent += part * (*latent - estimate);
    }
}

/// The estimate, and the latents themselves the more the nearer the picture is; these become the
/// estimate.
fn lcm(step: Step, timestep_scaling: f64, estimate: &mut [f32], latents: &mut [f32]) {
    const DATA: f64 = 0.5;
    let scaled = f64::from(step.timestep) * timestep_scaling;
    let square = scaled * scaled + DATA * DATA;
    let (skip, out) = (
        (DATA * DATA / square) as f32,
        (scaled / square.sqrt()) as f32,
    );
    for (latent, estimate) in latents.iter_mut().zip(estimate) {
        *estimate = out * *estimate + skip * *latent;
        *latent = *estimate;
    }
}
