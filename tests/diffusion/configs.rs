//! What a `scheduler_config.json` may say.

use modelpool::ModelError;
use modelpool::diffusion::{NoiseSchedule, Prediction, SchedulerKind};

fn read(fields: &str) -> Result<NoiseSchedule, ModelError> {
    NoiseSchedule::from_json(&format!("{{{fields}}}"))
}

fn refused(fields: &str) -> String {
    match read(fields) {
        Err(ModelError::InvalidConfig { file, field, .. }) => {
            assert_eq!(file, "scheduler_config.json");
            field
        }
        other => panic!("{fields}: {other:?}"),
    }
}

#[test]
fn the_class_tells_the_scheduler() {
    let cases = [
        ("DDIMScheduler", SchedulerKind::Ddim),
        ("PNDMScheduler", SchedulerKind::DpmSolverPlusPlus),
        ("EulerDiscreteScheduler", SchedulerKind::Euler),
        (
            "EulerAncestralDiscreteScheduler",
            SchedulerKind::EulerAncestral,
        ),
        (
            "DPMSolverMultistepScheduler",
            SchedulerKind::DpmSolverPlusPlus,
        ),
        ("UniPCMultistepScheduler", SchedulerKind::UniPc),
        ("LCMScheduler", SchedulerKind::Lcm),
        (
            "FlowMatchEulerDiscreteScheduler",
            SchedulerKind::FlowMatchEuler,
        ),
    ];
    for (class, kind) in cases {
        let schedule = read(&format!(r#""_class_name": "{class}""#)).unwrap();
        assert_eq!(schedule.default_kind(), kind);
        assert_eq!(schedule.is_flow(), kind.is_flow());
        assert_eq!(schedule.train_timesteps(), 1000);
        let name = serde_json::to_value(kind).unwrap();
        assert_eq!(name, kind.name());
    }
    for class in ["", "KarrasVeScheduler"] {
        let error = read(&format!(r#""_class_name": "{class}""#)).unwrap_err();
        match error {
            ModelError::UnsupportedArchitecture { found, supported } => {
                assert_eq!(found, class);
                assert!(supported.contains(&"DDIMScheduler"));
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn values_that_make_no_sense_are_refused_by_the_field() {
    let cases = [
        ("num_train_timesteps", "1"),
        ("num_train_timesteps", "0"),
        ("num_train_timesteps", "1000000000000"),
        ("num_train_timesteps", "-5"),
        ("num_train_timesteps", "1.5"),
        ("beta_start", "0"),
        ("beta_start", "-0.1"),
        ("beta_start", "0.5"),
        ("beta_start", "\"small\""),
        ("beta_end", "1.5"),
        ("beta_end", "1e300"),
        ("beta_schedule", "\"sigmoid\""),
        ("beta_schedule", "7"),
        ("trained_betas", "[0.1, 0.2]"),
        ("trained_betas", "\"all\""),
        ("prediction_type", "\"score\""),
        ("timestep_spacing", "\"random\""),
        ("steps_offset", "1000"),
        ("steps_offset", "-1"),
        ("clip_sample", "\"yes\""),
        ("clip_sample_range", "-1"),
        ("set_alpha_to_one", "1"),
        ("final_sigmas_type", "\"one\""),
        ("thresholding", "true"),
        ("use_exponential_sigmas", "true"),
        ("use_beta_sigmas", "true"),
        ("use_lu_lambdas", "true"),
        ("use_flow_sigmas", "true"),
        ("interpolation_type", "\"log_linear\""),
        ("timestep_type", "\"continuous\""),
        ("sigma_min", "0.1"),
        ("sigma_max", "10"),
        ("variance_type", "\"learned\""),
        ("lambda_min_clipped", "-5.1"),
        ("algorithm_type", "\"sde-dpmsolver++\""),
        ("solver_type", "\"euler\""),
        ("solver_order", "3"),
        ("solver_order", "0"),
        ("predict_x0", "false"),
        ("disable_corrector", "[0]"),
        ("original_inference_steps", "0"),
        ("timestep_scaling", "0"),
    ];
    for (field, value) in cases {
        let fields = format!(r#""_class_name": "DDIMScheduler", "{field}": {value}"#);
        assert_eq!(refused(&fields), field, "{value}");
    }
    let flow = r#""_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": true"#;
    let cases = [
        ("shift", "0"),
        ("shift", "1e9"),
        ("base_shift", "-1"),
        ("max_shift", "100"),
        ("base_image_seq_len", "4096"),
        ("max_image_seq_len", "0"),
        ("shift_terminal", "1"),
        ("time_shift_type", "\"cubic\""),
        ("invert_sigmas", "true"),
        ("use_karras_sigmas", "true"),
        ("stochastic_sampling", "true"),
    ];
    for (field, value) in cases {
        assert_eq!(
            refused(&format!(r#"{flow}, "{field}": {value}"#)),
            field,
            "{value}"
        );
    }
}

#[test]
fn betas_that_leave_nothing_of_a_picture_are_refused() {
    for (steps, start, end) in [(1000, 0.5, 0.9), (100_000, 0.01, 0.02)] {
        let fields = format!(
            r#""_class_name": "DDIMScheduler", "num_train_timesteps": {steps}, "beta_start": {start},
            "beta_end": {end}"#
        );
        assert_eq!(refused(&fields), "beta_schedule");
    }
    // So little noise that single precision does not see it.
    let fields = r#""_class_name": "DDIMScheduler", "beta_start": 1e-9, "beta_end": 1e-9"#;
    assert_eq!(refused(fields), "beta_schedule");
}

#[test]
fn files_that_are_damaged_or_missing_are_told_apart() {
    for text in ["", "{", "[1, 2", "null null", "\u{0}"] {
        let error = NoiseSchedule::from_json(text).unwrap_err();
        assert!(matches!(error, ModelError::Corrupt { .. }), "{error}");
    }
    for text in ["null", "[]", "3", "\"DDIMScheduler\""] {
        assert!(NoiseSchedule::from_json(text).is_err(), "{text}");
    }
    let error = NoiseSchedule::from_folder("/nowhere").unwrap_err();
    assert!(matches!(error, ModelError::MissingFile { .. }), "{error}");
}

/// diffusers writes numbers that JSON has not.
#[test]
fn no_bound_is_read_as_diffusers_writes_it() {
    let schedule = read(
        r#""_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -Infinity,
        "prediction_type": "v_prediction""#,
    );
    assert_eq!(schedule.unwrap().prediction(), Prediction::Velocity);
}
