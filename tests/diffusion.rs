//! Between noise and a picture: schedules, schedulers and noise, without a model.

#[path = "diffusion/configs.rs"]
mod configs;
#[path = "diffusion/noise.rs"]
mod noise;
#[path = "diffusion/parity.rs"]
mod parity;
#[path = "diffusion/plans.rs"]
mod plans;
