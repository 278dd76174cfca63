//! Between noise and a picture: noise schedules, the solvers that walk them, and noise that is the same
//! everywhere. Pure code, with neither actors nor tensors in it.
//!
//! A [`NoiseSchedule`] is what a model was trained with, read from `scheduler_config.json`. Of it and a
//! [`SchedulerKind`], a [`Scheduler`] is made for each painting: it tells the timesteps, and makes of
//! what the model predicts at each the latents of the next.

mod betas;
mod config;
mod flow;
mod kind;
mod level;
mod noise;
mod schedule;
mod scheduler;
mod sigmas;
mod solver;
mod spacing;

pub use flow::FlowSigmas;
pub use kind::SchedulerKind;
pub use noise::{NoiseSource, NormalNoise, Purpose};
pub use schedule::{NoiseSchedule, Prediction, TimestepSpacing};
pub use scheduler::{MAX_STEPS, PaintingPlan, Scheduler};
