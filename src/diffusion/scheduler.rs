//! The solver of one painting, from noise to a picture.

use super::kind::SchedulerKind;
use super::noise::NoiseSource;
use super::schedule::{NoiseSchedule, Prediction, Process};
use super::sigmas::{self, Step};
use super::solver::Solver;
use crate::models::ModelError;

/// The most steps of a painting.
pub const MAX_STEPS: usize = 1000;

/// What a painting is to be like, as far as its scheduler is concerned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PaintingPlan {
    /// Which solver.
    pub(super) kind: SchedulerKind,
    /// How many steps lead from noise to a picture: 1 to 1000.
    pub(super) steps: usize,
    /// How much of a picture to begin from is painted over, above 0 and at most 1.
    pub(super) strength: f64,
    /// How many tokens a transformer makes of the latents.
    pub(super) tokens: usize,
}

impl PaintingPlan {
    /// A painting from pure noise.
    pub fn new(kind: SchedulerKind, steps: usize) -> Self {
        Self {
            kind,
            steps,
            strength: 1.0,
            tokens: 0,
        }
    }

    /// Begins from a picture, of which so much is painted over: above 0, at most 1. Of the steps, only
    /// this share is walked, the last ones; at least one.
    #[must_use]
    pub fn strength(mut self, strength: f64) -> Self {
        self.strength = strength;
        self
    }

    /// The latents are so many tokens to the model: for flows whose shift depends on it. Default 0.
    #[must_use]
    pub fn tokens(mut self, tokens: usize) -> Self {
        self.tokens = tokens;
        self
    }
}

/// Walks one painting from noise to a picture: pure arithmetic on slices. Whatever the kind, the way is
/// the same: [`begin`](Self::begin) or [`add_noise`](Self::add_noise), then for each step
/// [`scale_input`](Self::scale_input), the model's prediction, [`step`](Self::step).
#[derive(Debug, Clone)]
pub struct Scheduler {
    kind: SchedulerKind,
    prediction: Prediction,
    /// All steps of the plan; those before `first` are left out.
    steps: Vec<Step>,
    first: usize,
    done: usize,
    initial_scale: f32,
    clip: Option<f32>,
    solver: Solver,
    estimate: Vec<f32>,
}

impl Scheduler {
    pub(super) fn new(schedule: &NoiseSchedule, plan: &PaintingPlan) -> Result<Self, ModelError> {
        let invalid = |field, detail| Err(ModelError::InvalidPainting { field, detail });
        let kind = plan.kind;
        if !(1..=MAX_STEPS).contains(&plan.steps) {
            let detail = format!("is {}, allowed is 1 to {MAX_STEPS}", plan.steps);
            return invalid("steps", detail);
        }
        if !(plan.strength > 0.0 && plan.strength <= 1.0) {
            let detail = format!("is {}, allowed is above 0, at most 1", plan.strength);
            return invalid("strength", detail);
        }
        if !schedule.takes(kind) {
            let detail = format!("{} does not fit how the model was trained", kind.name());
            return invalid("scheduler", detail);
        }
        let prediction = schedule.prediction();
        let made = match sigmas::steps(schedule, plan) {
            Ok(made) => made,
            Err((field, detail)) => return invalid(field, detail),
        };
        let has_no_signal = made
            .steps
            .first()
            .is_some_and(|step| step.level.signal <= 0.0);
        if has_no_signal && prediction == Prediction::Epsilon {
            let name = kind.name();
            let detail = format!("{name} can't begin where nothing is left of the picture");
            return invalid("scheduler", detail);
        }
        let walked = ((plan.steps as f64 * plan.strength) as usize).clamp(1, plan.steps);
        let (clip, solver) = match &schedule.process {
            Process::Diffusion(diffusion) => {
                let clip = matches!(kind, SchedulerKind::Ddim | SchedulerKind::Lcm);
                (
                    diffusion.clip(kind).filter(|_| clip),
                    Solver::new(kind, diffusion),
                )
            }
            Process::Flow(_) => (None, Solver::Flow),
        };
        Ok(Self {
            kind,
            prediction,
            first: plan.steps - walked,
            steps: made.steps,
            done: 0,
            initial_scale: made.initial_scale as f32,
            clip,
            solver,
            estimate: Vec::new(),
        })
    }

    /// Which solver it is.
    pub fn kind(&self) -> SchedulerKind {
        self.kind
    }

    /// How many steps there are to walk, at least 1.
    pub fn steps(&self) -> usize {
        self.steps.len() - self.first
    }

    /// How many of them have been walked.
    pub fn done(&self) -> usize {
        self.done
    }

    /// The timesteps of all steps to walk, in order.
    pub fn timesteps(&self) -> impl Iterator<Item = f32> + '_ {
        self.steps[self.first..].iter().map(|step| step.timestep)
    }

    /// The timestep of the next step; `None` after the last.
    pub fn timestep(&self) -> Option<f32> {
        self.current().map(|step| step.timestep)
    }

    fn current(&self) -> Option<&Step> {
        self.steps.get(self.first + self.done)
    }

    /// Makes of standard normal noise the latents to begin with.
    pub fn begin(&self, noise: &mut [f32]) {
        noise
            .iter_mut()
            .for_each(|value| *value *= self.initial_scale);
    }

    /// Makes of the latents of a picture those to begin with: puts as much noise on them as there is
    /// where the first step begins.
    pub fn add_noise(&self, picture: &mut [f32], noise: &[f32]) {
        let Some(step) = self.current() else {
            return;
        };
        let (signal, share) = (step.level.signal as f32, step.level.noise as f32);
        for (value, noise) in picture.iter_mut().zip(noise) {
            *value = signal * *value + share * noise;
        }
    }

    /// Writes the latents as the model is to see them in the next step to `input`.
    pub fn scale_input(&self, latents: &[f32], input: &mut Vec<f32>) {
        input.clear();
        input.extend_from_slice(latents);
        let is_on_top = matches!(
            self.kind,
            SchedulerKind::Euler | SchedulerKind::EulerAncestral
        );
        if let (true, Some(step)) = (is_on_top, self.current()) {
            let length = step.level.length() as f32;
            input.iter_mut().for_each(|value| *value /= length);
        }
    }

    /// Walks the next step: makes of the latents, and of what the model has predicted of them, the
    /// latents of the step after.
    ///
    /// # Errors
    /// [`ModelError::InvalidPainting`] after the last step, or for a prediction of another length than
    /// the latents.
    pub fn step(
        &mut self,
        prediction: &[f32],
        latents: &mut [f32],
        noise: &mut dyn NoiseSource,
    ) -> Result<(), ModelError> {
        let invalid = |field, detail| Err(ModelError::InvalidPainting { field, detail });
        let index = self.first + self.done;
        let Some(&step) = self.steps.get(index) else {
            return invalid("steps", "all have been walked".to_owned());
        };
        if prediction.len() != latents.len() {
            let (found, wanted) = (prediction.len(), latents.len());
            let detail = format!("has {found} values, the latents have {wanted}");
            return invalid("prediction", detail);
        }
        let [of_latents, of_prediction] = step.level.estimate(self.prediction);
        self.estimate.clear();
        let pairs = latents.iter().zip(prediction);
        self.estimate.extend(
            pairs.map(|(latent, predicted)| of_latents * latent + of_prediction * predicted),
        );
        if let Some(most) = self.clip {
            self.estimate
                .iter_mut()
                .for_each(|value| *value = value.clamp(-most, most));
        }
        let walk = super::solver::Walk {
            steps: &self.steps,
            index,
            prediction,
            kind: self.prediction,
        };
        self.solver.step(&walk, &mut self.estimate, latents, noise);
        self.done += 1;
        Ok(())
    }

    /// What the last prediction says the picture's latents are: for previews. Empty before the first
    /// step.
    pub fn estimate(&self) -> &[f32] {
        &self.estimate
    }
}
