//! Solvers that look back at what was predicted before.

use super::Walk;
use crate::diffusion::config::{Multistep as Options, MultistepOrder};
use crate::diffusion::level::Level;

/// DPM-Solver++ in its multistep form (Lu et al. 2022), of first or second order.
#[derive(Debug, Clone)]
pub(in crate::diffusion) struct DpmSolver {
    options: Options,
    /// The last step leads to no noise at all.
    ends_at_zero: bool,
    /// The estimate of the step before, if one was walked.
    before: Option<Vec<f32>>,
}

/// A painting of fewer steps ends in a step of first order.
const FEW_STEPS: usize = 15;

impl DpmSolver {
    pub(super) fn new(options: Options, ends_at_zero: bool) -> Self {
        Self {
            options,
            ends_at_zero,
            before: None,
        }
    }

    pub(super) fn step(&mut self, walk: &Walk<'_>, estimate: &[f32], latents: &mut [f32]) {
        let step = walk.step();
        let (level, next) = (step.level, step.next);
        let h = next.lambda() - level.lambda();
        let decay = (-h).exp() - 1.0;
        let few = self.options.lower_order_final && walk.steps.len() < FEW_STEPS;
        let ends_simply =
            walk.is_last() && (self.options.euler_at_final || few || self.ends_at_zero);
        let is_first_order = self.options.order == MultistepOrder::First || ends_simply;
        let kept = (next.noise / level.noise) as f32;
        let drawn = (-next.signal * decay) as f32;
        match self.before.as_deref().filter(|_| !is_first_order) {
            None => {
                for (latent, estimate) in latents.iter_mut().zip(estimate) {
                    *latent = kept * *latent + drawn * estimate;
                }
            }
            Some(before) => {
                let h_before = level.lambda() - walk.steps[walk.index - 1].level.lambda();
                let slope = h / h_before;
                let further = if self.options.heun {
                    next.signal * (decay / h + 1.0) * slope
                } else {
                    -0.5 * next.signal * decay * slope
                } as f32;
                let estimates = estimate.iter().zip(before);
                for (latent, (estimate, before)) in latents.iter_mut().zip(estimates) {
                    *latent = kept * *latent + drawn * estimate + further * (estimate - before);
                }
            }
        }
        keep(&mut self.before, estimate);
    }
}

fn keep(place: &mut Option<Vec<f32>>, values: &[f32]) {
    let kept = place.get_or_insert_default();
    kept.clear();
    kept.extend_from_slice(values);
}

/// UniPC (Zhao et al. 2023), of first or second order: corrects where the last step led by what is
/// predicted there, then goes on.
#[derive(Debug, Clone)]
pub(in crate::diffusion) struct UniPc {
    options: Options,
    /// The estimates of the last two steps, the last one first.
    before: [Option<Vec<f32>>; 2],
    /// Where the last step began, and of which order it was.
    from: Option<(Vec<f32>, MultistepOrder)>,
}

impl UniPc {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            before: [None, None],
            from: None,
        }
    }

    pub(super) fn step(&mut self, walk: &Walk<'_>, estimate: &[f32], latents: &mut [f32]) {
        self.correct(walk, estimate, latents);
        let ends_at_zero = walk.step().next.noise <= 0.0;
        let is_last = walk.is_last() && (self.options.lower_order_final || ends_at_zero);
        let order = match (self.options.order, &self.before[0]) {
            (MultistepOrder::Second, Some(_)) if !is_last => MultistepOrder::Second,
            _ => MultistepOrder::First,
        };
        let mut place = self.from.take().map_or_else(Vec::new, |(place, _)| place);
        place.clear();
        place.extend_from_slice(latents);
        self.from = Some((place, order));
        self.predict(walk, order, estimate, latents);
        self.before.swap(0, 1);
        keep(&mut self.before[0], estimate);
    }

    fn predict(
        &self,
        walk: &Walk<'_>,
        order: MultistepOrder,
        estimate: &[f32],
        latents: &mut [f32],
    ) {
        let step = walk.step();
        let way = Way::new(step.level, step.next, self.options.bh1);
        let before = self.before[0]
            .as_deref()
            .filter(|_| order == MultistepOrder::Second);
        let Some(before) = before else {
            for (latent, estimate) in latents.iter_mut().zip(estimate) {
                *latent = way.kept * *latent + way.drawn * estimate;
            }
            return;
        };
        let earlier = walk.steps[walk.index - 1].level.lambda();
        let ratio = (earlier - step.level.lambda()) / way.h;
        let further = (0.5 * way.bend / ratio) as f32;
        let estimates = estimate.iter().zip(before);
        for (latent, (estimate, before)) in latents.iter_mut().zip(estimates) {
            *latent = way.kept * *latent + way.drawn * estimate + further * (before - estimate);
        }
    }

    fn correct(&self, walk: &Walk<'_>, estimate: &[f32], latents: &mut [f32]) {
        let (Some((from, order)), Some(last)) = (&self.from, &self.before[0]) else {
            return;
        };
        let begun = walk.steps[walk.index - 1].level;
        let way = Way::new(begun, walk.step().level, self.options.bh1);
        let corrected = from.iter().zip(last).zip(estimate);
        let earlier = self.before[1]
            .as_deref()
            .filter(|_| *order == MultistepOrder::Second);
        let Some(earlier) = earlier else {
            let further = (0.5 * way.bend) as f32;
            for (latent, ((from, last), now)) in latents.iter_mut().zip(corrected) {
                *latent = way.kept * from + way.drawn * last + further * (now - last);
            }
            return;
        };
        let ratio = (walk.steps[walk.index - 2].level.lambda() - begun.lambda()) / way.h;
        let [first, second] = way.weights();
        let of_earlier = (first - second) / (1.0 - ratio);
        let of_now = (way.bend * (first - of_earlier)) as f32;
        let of_earlier = (way.bend * of_earlier / ratio) as f32;
        for (latent, (((from, last), now), earlier)) in
            latents.iter_mut().zip(corrected.zip(earlier))
        {
            *latent = way.kept * from
                + way.drawn * last
                + of_earlier * (earlier - last)
                + of_now * (now - last);
        }
    }
}

/// From one level to another.
struct Way {
    h: f64,
    bh1: bool,
    /// Of the latents.
    kept: f32,
    /// Of the estimate.
    drawn: f32,
    /// Of what is added beyond.
    bend: f64,
}

impl Way {
    fn new(from: Level, to: Level, bh1: bool) -> Self {
        let h = to.lambda() - from.lambda();
        let decay = (-h).exp_m1();
        let scale = if bh1 { -h } else { decay };
        Self {
            h,
            bh1,
            kept: (to.noise / from.noise) as f32,
            drawn: (-to.signal * decay) as f32,
            bend: -to.signal * scale,
        }
    }

    /// What the two equations of second order come to.
    fn weights(&self) -> [f64; 2] {
        let h = -self.h;
        let decay = h.exp_m1();
        let scale = if self.bh1 { h } else { decay };
        let first = decay / h - 1.0;
        let second = first / h - 0.5;
        [first / scale, 2.0 * second / scale]
    }
}
