//! The steps of a painting: at which timestep and level of noise each begins, and where it leads.

use super::kind::SchedulerKind;
use super::level::Level;
use super::schedule::{Diffusion, NoiseSchedule, Process, TimestepSpacing};
use super::scheduler::PaintingPlan;
use super::spacing;

/// What the last level of a schedule without signal is given, so that its sigma is finite.
const ALMOST_NO_SIGNAL: f32 = 1.0 / (1 << 24) as f32;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    pub(super) timestep: f32,
    pub(super) level: Level,
    pub(super) next: Level,
}

/// All steps, and what pure noise is multiplied by before the first.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Steps {
    pub(super) steps: Vec<Step>,
    pub(super) initial_scale: f64,
}

/// The steps of a plan, or why there are none.
pub(super) fn steps(
    schedule: &NoiseSchedule,
    plan: &PaintingPlan,
) -> Result<Steps, (&'static str, String)> {
    let train = schedule.train_timesteps;
    let made = match &schedule.process {
        Process::Flow(flow) => {
            let sigmas = flow.sigmas(train, plan.steps, plan.tokens);
            let timesteps = sigmas.iter().map(|sigma| sigma * train as f32);
            let timesteps: Vec<f32> = timesteps.take(plan.steps).collect();
            let levels = sigmas.iter().map(|sigma| Level::of_flow((*sigma).into()));
            Some(linked(timesteps, levels.collect(), 1.0))
        }
        Process::Diffusion(diffusion) => match plan.kind {
            SchedulerKind::Ddim | SchedulerKind::Lcm => by_share(diffusion, train, plan),
            _ => by_sigma(diffusion, train, plan),
        },
    };
    made.filter(|made| can_be_walked(plan.kind, &made.steps))
        .ok_or_else(|| {
            let name = plan.kind.name();
            (
                "steps",
                format!("{} are too many for {name} on this schedule", plan.steps),
            )
        })
}

/// Solvers divide by the noise of a step, and some by what a step takes away of it.
fn can_be_walked(kind: SchedulerKind, steps: &[Step]) -> bool {
    let is_multistep = matches!(
        kind,
        SchedulerKind::DpmSolverPlusPlus | SchedulerKind::UniPc
    );
    steps.iter().all(|step| {
        let (from, to) = (step.level.ratio(), step.next.ratio());
        match kind {
            SchedulerKind::Ddim | SchedulerKind::Lcm => step.level.noise > 0.0,
            _ if is_multistep => from.is_finite() && to < from,
            _ => step.level.noise.is_finite() && step.level.noise > 0.0 && to <= from,
        }
    })
}

/// Each step leads to where the next begins.
fn linked(timesteps: Vec<f32>, levels: Vec<Level>, initial_scale: f64) -> Steps {
    let pairs = levels.windows(2);
    let steps = timesteps
        .into_iter()
        .zip(pairs)
        .map(|(timestep, pair)| Step {
            timestep,
            level: pair[0],
            next: pair[1],
        });
    Steps {
        steps: steps.collect(),
        initial_scale,
    }
}

/// For the solvers that look the levels of whole timesteps up.
fn by_share(diffusion: &Diffusion, train: usize, plan: &PaintingPlan) -> Option<Steps> {
    let timesteps = spacing::timesteps(plan.kind, diffusion, train, plan.steps)?;
    let shares = diffusion.betas.signal(train, diffusion.rescale_zero_snr);
    let level = |timestep: f64| {
        let share = shares.get(timestep as usize).copied();
        Level::of_share(share.unwrap_or(1.0).into())
    };
    let last = match shares.first() {
        Some(&first) if !diffusion.set_alpha_to_one => Level::of_share(first.into()),
        _ => Level::of_share(1.0),
    };
    let apart = (train / plan.steps) as f64;
    let steps = timesteps.iter().enumerate().map(|(index, &timestep)| {
        let next = match plan.kind {
            // The distilled models were shown the very timestep that comes next.
            SchedulerKind::Lcm => level(timesteps.get(index + 1).copied().unwrap_or(timestep)),
            // However the timesteps are spaced, it is the distance of the leading ones.
            _ if timestep >= apart => level(timestep - apart),
            _ => last,
        };
        Step {
            timestep: timestep as f32,
            level: level(timestep),
            next,
        }
    });
    Some(Steps {
        steps: steps.collect(),
        initial_scale: 1.0,
    })
}

/// For the solvers that know levels by their sigma, and go to places between timesteps.
fn by_sigma(diffusion: &Diffusion, train: usize, plan: &PaintingPlan) -> Option<Steps> {
    let mut timesteps = spacing::timesteps(plan.kind, diffusion, train, plan.steps)?;
    let mut shares = diffusion.betas.signal(train, diffusion.rescale_zero_snr);
    if diffusion.rescale_zero_snr
        && let Some(last) = shares.last_mut()
    {
        *last = ALMOST_NO_SIGNAL;
    }
    let trained: Vec<f64> = shares
        .into_iter()
        .map(|share| ((1.0 - f64::from(share)) / f64::from(share)).sqrt())
        .collect();
    let (&smallest, &largest) = (trained.first()?, trained.last()?);
    let mut sigmas: Vec<f64> = timesteps
        .iter()
        .map(|&timestep| between(&trained, timestep))
        .collect();
    let is_euler = plan.kind == SchedulerKind::Euler;
    if diffusion.karras && plan.kind != SchedulerKind::EulerAncestral {
        let ends = match (is_euler, sigmas.first(), sigmas.last()) {
            (true, Some(&first), Some(&last)) => [first, last],
            _ => [largest, smallest],
        };
        sigmas = karras(ends, plan.steps);
        let logarithms: Vec<f64> = trained.iter().map(|sigma| sigma.ln()).collect();
        timesteps = sigmas
            .iter()
            .map(|sigma| place_of(sigma.ln(), &logarithms))
            .collect();
        if !is_euler {
            // diffusers keeps them whole.
            let rounds = plan.kind == SchedulerKind::UniPc || !diffusion.betas.is_cosine();
            let whole = |timestep: &mut f64| {
                *timestep = match rounds {
                    true => timestep.round_ties_even(),
                    false => timestep.trunc(),
                }
            };
            timesteps.iter_mut().for_each(whole);
        }
    }
    let ends_at_sigma_min =
        diffusion.ends_at_sigma_min && plan.kind != SchedulerKind::EulerAncestral;
    sigmas.push(if ends_at_sigma_min { smallest } else { 0.0 });
    // diffusers keeps them in single precision.
    let sigmas = sigmas.into_iter().map(|sigma| f64::from(sigma as f32));
    let sigmas: Vec<f64> = sigmas.collect();
    let is_on_top = matches!(
        plan.kind,
        SchedulerKind::Euler | SchedulerKind::EulerAncestral
    );
    let (level, initial_scale): (fn(f64) -> Level, f64) = if is_on_top {
        let most = sigmas.iter().copied().fold(0.0, f64::max);
        let is_leading = diffusion.spacing == Some(TimestepSpacing::Leading);
        let scale = if is_leading { most.hypot(1.0) } else { most };
        (Level::on_top, scale)
    } else {
        (Level::of_ratio, 1.0)
    };
    let timesteps = timesteps.into_iter().map(|timestep| timestep as f32);
    let levels = sigmas.into_iter().map(level).collect();
    Some(linked(timesteps.collect(), levels, initial_scale))
}

/// The value at a place between two of `values`.
fn between(values: &[f64], place: f64) -> f64 {
    let low = place.floor().max(0.0) as usize;
    let below = values.get(low).or(values.last()).copied().unwrap_or(0.0);
    let above = values.get(low + 1).copied().unwrap_or(below);
    below + (above - below) * (place - low as f64)
}

/// The place between two of the rising `values` at which `value` lies.
fn place_of(value: f64, values: &[f64]) -> f64 {
    let above = values.partition_point(|known| *known <= value);
    let low = above.saturating_sub(1).min(values.len().saturating_sub(2));
    let (Some(&below), Some(&next)) = (values.get(low), values.get(low + 1)) else {
        return 0.0;
    };
    let part = ((value - below) / (next - below)).clamp(0.0, 1.0);
    low as f64 + part
}

/// The sigmas of Karras et al. 2022 from the first of the ends to the last.
fn karras([first, last]: [f64; 2], steps: usize) -> Vec<f64> {
    const RHO: f64 = 7.0;
    let [first, last] = [first, last].map(|sigma| sigma.powf(1.0 / RHO));
    let at = |step: usize| {
        let part = step as f64 / steps.saturating_sub(1).max(1) as f64;
        (first + part * (last - first)).powf(RHO)
    };
    (0..steps).map(at).collect()
}
