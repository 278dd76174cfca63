//! Schedulers beside diffusers': all steps of paintings by a made-up model.

use std::path::{Path, PathBuf};

use modelpool::diffusion::{
    FlowSigmas, NoiseSchedule, NoiseSource, PaintingPlan, Scheduler, SchedulerKind,
};
use safetensors::SafeTensors;
use serde::Deserialize;

/// Of values up to 1, and of larger ones relative to them.
const TOLERANCE: f32 = 1e-4;

/// Where a painting begins at thousands, as Euler's on a schedule without signal do, what single precision
/// loses of them stays in the small values that follow: this much of the largest.
const PRECISION: f32 = 2e-7;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    config: String,
    kind: SchedulerKind,
    steps: usize,
    strength: Option<f64>,
    #[serde(default)]
    tokens: usize,
    #[serde(default)]
    even: bool,
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/diffusion/schedulers")
        .join(name)
}

/// The rows of a tensor.
fn rows(tensors: &SafeTensors<'_>, name: &str) -> Option<Vec<Vec<f32>>> {
    let tensor = tensors.tensor(name).ok()?;
    let (words, _) = tensor.data().as_chunks();
    let values: Vec<f32> = words.iter().copied().map(f32::from_le_bytes).collect();
    let width = *tensor.shape().last().unwrap();
    Some(values.chunks_exact(width).map(<[f32]>::to_vec).collect())
}

/// What was drawn where the reference was made.
struct Recorded(std::vec::IntoIter<Vec<f32>>);

impl NoiseSource for Recorded {
    fn fill(&mut self, values: &mut [f32]) {
        values.copy_from_slice(&self.0.next().expect("so much was drawn"));
    }
}

fn model(seen: &[f32], timestep: f32, fixed: &[f32]) -> Vec<f32> {
    let predict =
        |(seen, fixed): (&f32, &f32)| seen / (1.0 + seen.abs()) + 0.3 * fixed + 0.0001 * timestep;
    seen.iter().zip(fixed).map(predict).collect()
}

fn assert_near(made: &[f32], wanted: &[f32], largest: f32, place: &str) {
    for (made, wanted) in made.iter().zip(wanted) {
        let allowed = TOLERANCE * wanted.abs().max(1.0) + PRECISION * largest;
        assert!(
            (made - wanted).abs() <= allowed,
            "{place}: {made}, not {wanted}"
        );
    }
}

fn scheduler(case: &Case) -> Scheduler {
    let text = std::fs::read_to_string(data(&format!("{}.json", case.config))).unwrap();
    let mut schedule = NoiseSchedule::from_json(&text).unwrap();
    if case.even {
        schedule = schedule.flow_sigmas(FlowSigmas::Even);
    }
    let plan = PaintingPlan::new(case.kind, case.steps)
        .strength(case.strength.unwrap_or(1.0))
        .tokens(case.tokens);
    schedule.scheduler(&plan).unwrap()
}

#[test]
fn every_step_is_as_in_diffusers() {
    let cases = std::fs::read_to_string(data("cases.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&cases).unwrap();
    let file = std::fs::read(data("cases.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let fixed = rows(&tensors, "fixed").unwrap();
    for (number, case) in cases.iter().enumerate() {
        let rows = |name: &str| rows(&tensors, &format!("{number}.{name}"));
        let wanted = rows("latents").unwrap();
        let timesteps = rows("timesteps").unwrap().remove(0);
        let noise = rows("noise").unwrap().remove(0);
        let mut drawn = Recorded(rows("drawn").unwrap_or_default().into_iter());
        let mut scheduler = scheduler(case);
        let made: Vec<f32> = scheduler.timesteps().collect();
        assert_eq!(made.len(), timesteps.len(), "{case:?}");
        assert_eq!(scheduler.steps() + 1, wanted.len(), "{case:?}");
        for (made, wanted) in made.iter().zip(&timesteps) {
            assert!(
                (made - wanted).abs() < 1e-2,
                "{case:?}: {made}, not {wanted}"
            );
        }
        let mut latents = noise.clone();
        if let Some(mut picture) = rows("picture") {
            latents = picture.remove(0);
            scheduler.add_noise(&mut latents, &noise);
        } else {
            scheduler.begin(&mut latents);
        }
        let largest = wanted[0]
            .iter()
            .fold(0.0, |most, value| value.abs().max(most));
        assert_near(
            &latents,
            &wanted[0],
            largest,
            &format!("{case:?} at the start"),
        );
        let mut seen = Vec::new();
        for (step, wanted) in wanted[1..].iter().enumerate() {
            scheduler.scale_input(&latents, &mut seen);
            let timestep = scheduler.timestep().unwrap();
            let predicted = model(&seen, timestep, &fixed[step % fixed.len()]);
            scheduler
                .step(&predicted, &mut latents, &mut drawn)
                .unwrap();
            assert_near(&latents, wanted, largest, &format!("{case:?}, step {step}"));
            assert!(scheduler.estimate().iter().all(|value| value.is_finite()));
        }
        assert_eq!(scheduler.timestep(), None);
        // The last draw of a solver that needs none in the end is its own affair.
        assert!(drawn.0.len() <= 1, "{case:?} draws less");
    }
}
