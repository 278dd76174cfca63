//! How a model's training mixed pictures with noise.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::betas::Betas;
use super::config;
use super::flow::{Flow, FlowSigmas};
use super::kind::SchedulerKind;
use super::scheduler::{PaintingPlan, Scheduler};
use crate::models::{ModelError, files};

/// The file's name in diffusers' folder `scheduler`.
pub(super) const FILE: &str = "scheduler_config.json";

/// What a model's output is. The scheduler makes the picture of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The noise.
    Epsilon,
    /// The velocity between noise and picture (`v_prediction`).
    Velocity,
    /// The picture itself.
    Sample,
    /// The flow from picture to noise, of models trained by flow matching.
    Flow,
}

/// Which of the training's timesteps a few steps stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestepSpacing {
    /// Evenly from the first.
    Leading,
    /// Evenly down from the last.
    Trailing,
    /// Evenly from the first to the last, both among them.
    Linspace,
}

/// What a diffusion is like, beside the number of its timesteps.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Diffusion {
    pub(super) betas: Betas,
    pub(super) prediction: Prediction,
    /// `None` for the solver's own default.
    pub(super) spacing: Option<TimestepSpacing>,
    pub(super) steps_offset: usize,
    pub(super) set_alpha_to_one: bool,
    /// Whether Ddim and Lcm cut the estimated picture off at `clip_range`; `None` for their defaults.
    pub(super) cuts_off: Option<bool>,
    pub(super) clip_range: f32,
    pub(super) rescale_zero_snr: bool,
    pub(super) karras: bool,
    /// The last sigma is the training's smallest, and not 0.
    pub(super) ends_at_sigma_min: bool,
    pub(super) lcm: config::Lcm,
    pub(super) multistep: config::Multistep,
}

/// What the noise of a process follows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Process {
    Diffusion(Diffusion),
    Flow(Flow),
}

/// How a model's training mixed pictures with noise, and how its makers walk back from there: what
/// diffusers keeps in `scheduler_config.json`. Every value has been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseSchedule {
    pub(super) train_timesteps: usize,
    pub(super) process: Process,
    pub(super) default_kind: SchedulerKind,
}

impl NoiseSchedule {
    /// Reads the text of a `scheduler_config.json`.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] for what is no JSON, [`ModelError::InvalidConfig`] that names the field
    /// for a value that makes no sense or is not supported, [`ModelError::UnsupportedArchitecture`] for
    /// a scheduler of another kind.
    pub fn from_json(text: &str) -> Result<Self, ModelError> {
        config::parse(Path::new(FILE), text)
    }

    /// Reads `scheduler/scheduler_config.json` of a pipeline's folder.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json), or [`ModelError::MissingFile`].
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = folder.as_ref().join("scheduler").join(FILE);
        let bytes = files::read(&path, FILE)?;
        config::parse(&path, &String::from_utf8_lossy(&bytes))
    }

    /// How many timesteps the training had; the model is given them from 0 to one less (from 0 to all
    /// of them by a flow).
    pub fn train_timesteps(&self) -> usize {
        self.train_timesteps
    }

    /// What the model's output is.
    pub fn prediction(&self) -> Prediction {
        match &self.process {
            Process::Diffusion(diffusion) => diffusion.prediction,
            Process::Flow(_) => Prediction::Flow,
        }
    }

    /// Whether the model was trained by flow matching.
    pub fn is_flow(&self) -> bool {
        matches!(self.process, Process::Flow(_))
    }

    /// The solver that the model's makers use, or the nearest to it that is here.
    pub fn default_kind(&self) -> SchedulerKind {
        self.default_kind
    }

    /// Whether a solver can walk this schedule.
    pub fn takes(&self, kind: SchedulerKind) -> bool {
        kind.is_flow() == self.is_flow()
    }

    /// Places the steps of a flow otherwise than diffusers' scheduler does by itself, as some of its
    /// pipelines do. Changes nothing for others.
    #[must_use]
    pub fn flow_sigmas(mut self, sigmas: FlowSigmas) -> Self {
        if let Process::Flow(flow) = &mut self.process {
            flow.placed = sigmas;
        }
        self
    }

    /// Makes the scheduler of one painting.
    ///
    /// # Errors
    /// [`ModelError::InvalidPainting`] that names what of the plan cannot be done.
    pub fn scheduler(&self, plan: &PaintingPlan) -> Result<Scheduler, ModelError> {
        Scheduler::new(self, plan)
    }
}
