//! From `scheduler_config.json` to a noise schedule.

use std::path::Path;

use serde_json::{Value, json};

use super::betas::Betas;
use super::flow::{DynamicShift, Flow, FlowSigmas};
use super::kind::SchedulerKind;
use super::schedule::{Diffusion, FILE, NoiseSchedule, Prediction, Process, TimestepSpacing};
use crate::models::ModelError;
use crate::models::fields::Fields;

/// The most timesteps that a training has.
const MAX_TRAIN_TIMESTEPS: usize = 100_000;

/// The largest value of a shift, and the smallest is one part of it.
const MAX_SHIFT: f64 = 1000.0;

/// diffusers' schedulers of latents, and what here is nearest to them.
const SCHEDULERS: [(&str, SchedulerKind); 10] = [
    ("DDIMScheduler", SchedulerKind::Ddim),
    ("DDPMScheduler", SchedulerKind::Ddim),
    ("PNDMScheduler", SchedulerKind::DpmSolverPlusPlus),
    (
        "DPMSolverMultistepScheduler",
        SchedulerKind::DpmSolverPlusPlus,
    ),
    (
        "DPMSolverSinglestepScheduler",
        SchedulerKind::DpmSolverPlusPlus,
    ),
    ("EulerDiscreteScheduler", SchedulerKind::Euler),
    ("LMSDiscreteScheduler", SchedulerKind::Euler),
    (
        "EulerAncestralDiscreteScheduler",
        SchedulerKind::EulerAncestral,
    ),
    ("UniPCMultistepScheduler", SchedulerKind::UniPc),
    ("LCMScheduler", SchedulerKind::Lcm),
];

const FLOW: &str = "FlowMatchEulerDiscreteScheduler";

/// What only the distilled models' scheduler knows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lcm {
    /// The steps that the model was distilled for.
    pub(super) original_steps: usize,
    pub(super) timestep_scaling: f64,
}

/// How far a multistep solver looks back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MultistepOrder {
    First,
    Second,
}

/// What only the multistep solvers know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Multistep {
    pub(super) order: MultistepOrder,
    /// DPM-Solver's second order in the form of Heun; else the midpoint's.
    pub(super) heun: bool,
    /// UniPC's first form; else its second.
    pub(super) bh1: bool,
    pub(super) lower_order_final: bool,
    pub(super) euler_at_final: bool,
}

impl Diffusion {
    /// At which magnitude the solver cuts the estimate off, if it does.
    pub(super) fn clip(&self, kind: SchedulerKind) -> Option<f32> {
        // diffusers' defaults differ.
        let cuts_off = self.cuts_off.unwrap_or(kind == SchedulerKind::Ddim);
        cuts_off.then_some(self.clip_range)
    }
}

/// Reads the text of a file. diffusers writes `-Infinity` where it means no bound, which is no JSON.
pub(super) fn parse(path: &Path, text: &str) -> Result<NoiseSchedule, ModelError> {
    let text = text.replace(": -Infinity", ": null");
    let value = serde_json::from_str(&text).map_err(|error| ModelError::Corrupt {
        path: path.to_owned(),
        format: FILE,
        detail: error.to_string(),
    })?;
    read(value)
}

fn read(value: Value) -> Result<NoiseSchedule, ModelError> {
    let fields = Fields::new(FILE, value);
    let class = fields.text("_class_name")?.unwrap_or_default();
    let train_timesteps = fields.count("num_train_timesteps")?.unwrap_or(1000);
    if !(2..=MAX_TRAIN_TIMESTEPS).contains(&train_timesteps) {
        let detail = format!("{train_timesteps} is not from 2 to {MAX_TRAIN_TIMESTEPS}");
        return Err(fields.invalid("num_train_timesteps", detail));
    }
    if class == FLOW {
        return Ok(NoiseSchedule {
            train_timesteps,
            process: Process::Flow(flow(&fields)?),
            default_kind: SchedulerKind::FlowMatchEuler,
        });
    }
    let known = SCHEDULERS.iter().find(|(name, _)| *name == class);
    let Some(&(_, default_kind)) = known else {
        return Err(ModelError::UnsupportedArchitecture {
            found: class.to_owned(),
            supported: SCHEDULERS
                .iter()
                .map(|(name, _)| *name)
                .chain([FLOW])
                .collect(),
        });
    };
    Ok(NoiseSchedule {
        train_timesteps,
        process: Process::Diffusion(diffusion(&fields, train_timesteps)?),
        default_kind,
    })
}

fn diffusion(fields: &Fields, train_timesteps: usize) -> Result<Diffusion, ModelError> {
    for field in [
        "thresholding",
        "use_exponential_sigmas",
        "use_beta_sigmas",
        "use_lu_lambdas",
        "use_flow_sigmas",
    ] {
        fields.only(field, &json!(false))?;
    }
    fields.only("interpolation_type", &json!("linear"))?;
    fields.only("timestep_type", &json!("discrete"))?;
    fields.only("predict_x0", &json!(true))?;
    fields.only("disable_corrector", &json!([]))?;
    for field in [
        "sigma_min",
        "sigma_max",
        "solver_p",
        "variance_type",
        "lambda_min_clipped",
    ] {
        if let Some(value) = fields.get(field) {
            return Err(fields.invalid(field, format!("{value} is not supported")));
        }
    }
    let prediction = match fields.text("prediction_type")?.unwrap_or("epsilon") {
        "epsilon" => Prediction::Epsilon,
        "v_prediction" => Prediction::Velocity,
        "sample" => Prediction::Sample,
        other => return Err(unknown(fields, "prediction_type", other)),
    };
    let spacing = match fields.text("timestep_spacing")? {
        None => None,
        Some("leading") => Some(TimestepSpacing::Leading),
        Some("trailing") => Some(TimestepSpacing::Trailing),
        Some("linspace") => Some(TimestepSpacing::Linspace),
        Some(other) => return Err(unknown(fields, "timestep_spacing", other)),
    };
    let ends_at_sigma_min = match fields.text("final_sigmas_type")?.unwrap_or("zero") {
        "zero" => false,
        "sigma_min" => true,
        other => return Err(unknown(fields, "final_sigmas_type", other)),
    };
    let steps_offset = fields.whole("steps_offset")?.unwrap_or(0);
    if steps_offset >= train_timesteps {
        let detail = format!("{steps_offset} leaves none of {train_timesteps} timesteps");
        return Err(fields.invalid("steps_offset", detail));
    }
    let clip_range = number(fields, "clip_sample_range", 1.0, 1e-3, 1e6)?;
    let original = fields.count("original_inference_steps")?.unwrap_or(50);
    Ok(Diffusion {
        betas: betas(fields, train_timesteps)?,
        prediction,
        spacing,
        steps_offset,
        set_alpha_to_one: fields.flag("set_alpha_to_one", true)?,
        cuts_off: fields
            .get("clip_sample")
            .map(|_| fields.flag("clip_sample", false))
            .transpose()?,
        clip_range: clip_range as f32,
        rescale_zero_snr: fields.flag("rescale_betas_zero_snr", false)?,
        karras: fields.flag("use_karras_sigmas", false)?,
        ends_at_sigma_min,
        lcm: Lcm {
            original_steps: original,
            timestep_scaling: number(fields, "timestep_scaling", 10.0, 1e-3, 1e6)?,
        },
        multistep: multistep(fields)?,
    })
}

fn multistep(fields: &Fields) -> Result<Multistep, ModelError> {
    match fields.text("algorithm_type")? {
        None | Some("dpmsolver++" | "deis") => {}
        Some(other) => return Err(unknown(fields, "algorithm_type", other)),
    }
    let solver = fields.text("solver_type")?;
    if let Some(other) = solver
        && !["midpoint", "heun", "logrho", "bh1", "bh2"].contains(&other)
    {
        return Err(unknown(fields, "solver_type", other));
    }
    let order = match fields.count("solver_order")?.unwrap_or(2) {
        1 => MultistepOrder::First,
        2 => MultistepOrder::Second,
        other => return Err(unknown(fields, "solver_order", &other.to_string())),
    };
    Ok(Multistep {
        order,
        heun: solver == Some("heun"),
        bh1: solver == Some("bh1"),
        lower_order_final: fields.flag("lower_order_final", true)?,
        euler_at_final: fields.flag("euler_at_final", false)?,
    })
}

fn betas(fields: &Fields, train_timesteps: usize) -> Result<Betas, ModelError> {
    if let Some(value) = fields.get("trained_betas") {
        return trained(fields, value, train_timesteps);
    }
    let start = number(fields, "beta_start", 1e-4, 1e-9, 0.999)?;
    let end = number(fields, "beta_end", 0.02, 1e-9, 0.999)?;
    if start > end {
        return Err(fields.invalid("beta_start", format!("{start} is above beta_end, {end}")));
    }
    let betas = match fields.text("beta_schedule")?.unwrap_or("linear") {
        "linear" => Betas::Linear { start, end },
        "scaled_linear" => Betas::ScaledLinear { start, end },
        "squaredcos_cap_v2" => Betas::SquaredCosine,
        other => return Err(unknown(fields, "beta_schedule", other)),
    };
    leaves_signal(fields, betas, train_timesteps)
}

fn trained(fields: &Fields, value: &Value, train_timesteps: usize) -> Result<Betas, ModelError> {
    let values = value.as_array().map(Vec::as_slice).unwrap_or_default();
    if values.len() != train_timesteps {
        let detail = format!("has {} values, not {train_timesteps}", values.len());
        return Err(fields.invalid("trained_betas", detail));
    }
    let betas: Option<Vec<f32>> = values
        .iter()
        .map(|value| value.as_f64().map(|beta| beta as f32))
        .map(|beta| beta.filter(|beta| (1e-9..=0.999).contains(beta)))
        .collect();
    let Some(betas) = betas else {
        return Err(fields.invalid("trained_betas", "holds values outside of 1e-9 to 0.999"));
    };
    leaves_signal(fields, Betas::Trained(betas), train_timesteps)
}

/// So many large betas leave nothing of a picture that a number could hold.
fn leaves_signal(
    fields: &Fields,
    betas: Betas,
    train_timesteps: usize,
) -> Result<Betas, ModelError> {
    let signal = betas.signal(train_timesteps, false);
    let first = signal.first().is_some_and(|first| *first < 1.0);
    if first && signal.last().is_some_and(|last| *last >= 1e-12) {
        return Ok(betas);
    }
    Err(fields.invalid(
        "beta_schedule",
        "it leaves nothing of a picture, or all of it",
    ))
}

fn flow(fields: &Fields) -> Result<Flow, ModelError> {
    for field in [
        "invert_sigmas",
        "use_karras_sigmas",
        "use_exponential_sigmas",
        "use_beta_sigmas",
        "stochastic_sampling",
    ] {
        fields.only(field, &json!(false))?;
    }
    let shift_of = |field, default| number(fields, field, default, 1.0 / MAX_SHIFT, MAX_SHIFT);
    let is_exponential = match fields.text("time_shift_type")?.unwrap_or("exponential") {
        "exponential" => true,
        "linear" => false,
        other => return Err(unknown(fields, "time_shift_type", other)),
    };
    let dynamic = if fields.flag("use_dynamic_shifting", false)? {
        let base_tokens = fields.count("base_image_seq_len")?.unwrap_or(256);
        let max_tokens = fields.count("max_image_seq_len")?.unwrap_or(4096);
        if base_tokens >= max_tokens {
            let detail = format!("{base_tokens} is not below max_image_seq_len, {max_tokens}");
            return Err(fields.invalid("base_image_seq_len", detail));
        }
        // They are exponents.
        let most = MAX_SHIFT.ln();
        Some(DynamicShift {
            base_shift: number(fields, "base_shift", 0.5, 1.0 / MAX_SHIFT, most)?,
            max_shift: number(fields, "max_shift", 1.15, 1.0 / MAX_SHIFT, most)?,
            base_tokens,
            max_tokens,
            is_exponential,
        })
    } else {
        None
    };
    let shift_terminal = match fields.get("shift_terminal") {
        Some(_) => Some(number(fields, "shift_terminal", 0.0, 0.0, 0.999)?),
        None => None,
    };
    Ok(Flow {
        shift: shift_of("shift", 1.0)?,
        dynamic,
        // 0 switches it off.
        shift_terminal: shift_terminal.filter(|end| *end > 0.0),
        placed: FlowSigmas::default(),
    })
}

/// A number within bounds.
fn number(
    fields: &Fields,
    field: &str,
    default: f64,
    least: f64,
    most: f64,
) -> Result<f64, ModelError> {
    let value = fields.number(field)?.unwrap_or(default);
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(fields.invalid(field, format!("{value} is not from {least} to {most}")))
}

fn unknown(fields: &Fields, field: &str, found: &str) -> ModelError {
    fields.invalid(field, format!("{found:?} is not supported"))
}
