//! What can be walked, and how.

use modelpool::ModelError;
use modelpool::diffusion::{
    NoiseSchedule, NormalNoise, PaintingPlan, Prediction, Purpose, SchedulerKind,
};
use serde_json::{Value, json};

/// Stable Diffusion's schedule, with some fields otherwise.
fn schedule(changed: &Value) -> NoiseSchedule {
    let mut fields = json!({
        "_class_name": "DDIMScheduler",
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "clip_sample": false,
    });
    for (field, value) in changed.as_object().unwrap() {
        fields[field] = value.clone();
    }
    NoiseSchedule::from_json(&fields.to_string()).unwrap()
}

fn flow(mut changed: Value) -> NoiseSchedule {
    changed["_class_name"] = "FlowMatchEulerDiscreteScheduler".into();
    schedule(&changed)
}

/// The field of a plan that is refused.
fn refused(schedule: &NoiseSchedule, kind: SchedulerKind, steps: usize) -> &'static str {
    refused_plan(schedule, PaintingPlan::new(kind, steps))
}

fn refused_plan(schedule: &NoiseSchedule, plan: PaintingPlan) -> &'static str {
    match schedule.scheduler(&plan) {
        Err(ModelError::InvalidPainting { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

#[test]
fn plans_that_cannot_be_walked_are_refused_by_the_field() {
    let plain = schedule(&json!({"steps_offset": 1}));
    for kind in SchedulerKind::ALL {
        assert_eq!(plain.takes(kind), !kind.is_flow());
        assert_eq!(refused(&plain, kind, 0), "steps");
        assert_eq!(refused(&plain, kind, 1001), "steps");
        for strength in [0.0, -0.5, 1.01, f64::NAN, f64::INFINITY] {
            let plan = PaintingPlan::new(kind, 10).strength(strength);
            assert_eq!(refused_plan(&plain, plan), "strength");
        }
    }
    let flow = flow(json!({}));
    assert_eq!(refused(&flow, SchedulerKind::Ddim, 4), "scheduler");
    let kind = SchedulerKind::FlowMatchEuler;
    assert_eq!(refused(&plain, kind, 4), "scheduler");
    // The last timesteps would be past the training's.
    assert_eq!(refused(&plain, SchedulerKind::Ddim, 1000), "steps");
    let few = schedule(&json!({"num_train_timesteps": 20}));
    assert_eq!(refused(&few, SchedulerKind::Euler, 21), "steps");
    assert_eq!(refused(&few, SchedulerKind::Lcm, 4), "steps");
    // Nothing is left to divide by.
    let dark = json!({"rescale_betas_zero_snr": true, "timestep_spacing": "trailing"});
    let dark = schedule(&dark);
    assert_eq!(refused(&dark, SchedulerKind::Ddim, 4), "scheduler");
}

#[test]
fn predictions_of_another_length_and_steps_past_the_last_are_refused() {
    let plan = PaintingPlan::new(SchedulerKind::Euler, 2);
    let mut scheduler = schedule(&json!({})).scheduler(&plan).unwrap();
    let mut noise = NormalNoise::new(0, Purpose::Steps);
    let mut latents = vec![1.0; 4];
    assert!(scheduler.step(&[0.0; 3], &mut latents, &mut noise).is_err());
    assert_eq!((scheduler.done(), &latents), (0, &vec![1.0; 4]));
    for _ in 0..2 {
        scheduler.step(&[0.0; 4], &mut latents, &mut noise).unwrap();
    }
    assert!(scheduler.step(&[0.0; 4], &mut latents, &mut noise).is_err());
}

/// Whatever the number of steps, a perfect model leads to the picture, and nothing is ever NaN.
#[test]
fn every_number_of_steps_ends_at_the_picture_or_is_refused() {
    for fields in [
        json!({}),
        json!({"timestep_spacing": "trailing"}),
        json!({"timestep_spacing": "linspace", "use_karras_sigmas": true}),
        json!({"beta_schedule": "squaredcos_cap_v2"}),
        json!({"rescale_betas_zero_snr": true}),
        json!({"num_train_timesteps": 60}),
    ] {
        let mut changed = fields.clone();
        changed["prediction_type"] = "sample".into();
        let schedule = schedule(&changed);
        let kinds = SchedulerKind::ALL.into_iter();
        for kind in kinds.filter(|kind| !kind.is_flow()) {
            let numbers = (1..60).chain([99, 100, 333, 499, 500, 501, 998, 999, 1000]);
            let walked = numbers
                .filter(|&steps| {
                    let plan = PaintingPlan::new(kind, steps);
                    walk_to_picture(&schedule, plan, &format!("{kind:?} {steps} {fields}"))
                })
                .count();
            assert!(walked >= 20, "{kind:?} {fields}: {walked}");
        }
    }
}

/// `false` if the plan is refused.
fn walk_to_picture(schedule: &NoiseSchedule, plan: PaintingPlan, place: &str) -> bool {
    let picture = [0.3_f32, -1.2, 0.0, 2.0];
    let Ok(mut scheduler) = schedule.scheduler(&plan) else {
        return false;
    };
    let mut noise = NormalNoise::new(1, Purpose::Steps);
    let mut latents = vec![0.7, -0.2, 1.1, 0.0];
    scheduler.begin(&mut latents);
    while scheduler.timestep().is_some() {
        scheduler.step(&picture, &mut latents, &mut noise).unwrap();
        let are_finite = latents.iter().all(|value| value.is_finite());
        assert!(are_finite, "{place}: {latents:?}");
    }
    // diffusers' Ddim goes too short a way where timesteps are not evenly spaced.
    let allowed = if scheduler.kind() == SchedulerKind::Ddim {
        0.3
    } else {
        0.1
    };
    for (made, wanted) in latents.iter().zip(picture) {
        assert!((made - wanted).abs() < allowed, "{place}: {latents:?}");
    }
    true
}

#[test]
fn a_flow_ends_at_the_picture_too() {
    for fields in [
        json!({}),
        json!({"use_dynamic_shifting": true}),
        json!({"use_dynamic_shifting": true, "time_shift_type": "linear", "shift_terminal": 0.1}),
    ] {
        let schedule = flow(fields);
        assert_eq!(schedule.prediction(), Prediction::Flow);
        for tokens in [0, 1, 64, 4096, 1 << 24] {
            for steps in [1, 2, 28, 1000] {
                let plan = PaintingPlan::new(SchedulerKind::FlowMatchEuler, steps);
                let mut scheduler = schedule.scheduler(&plan.tokens(tokens)).unwrap();
                let mut noise = NormalNoise::new(1, Purpose::Steps);
                let start = [0.7, -0.2];
                let mut latents = start.to_vec();
                // The flow from a picture of ones to this noise.
                let flow = start.map(|noise| noise - 1.0);
                while scheduler.timestep().is_some() {
                    scheduler.step(&flow, &mut latents, &mut noise).unwrap();
                }
                let is_there = latents.iter().all(|value| (value - 1.0).abs() < 1e-3);
                assert!(is_there, "{tokens} {steps}: {latents:?}");
            }
        }
    }
}
