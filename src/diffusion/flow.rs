//! Schedules of models trained by flow matching.

use serde::{Deserialize, Serialize};

/// Where the steps of a flow lie before they are shifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowSigmas {
    /// Evenly from the training's largest sigma to its smallest: what diffusers' scheduler does by
    /// itself, and the pipeline of Stable Diffusion 3 with it.
    #[default]
    FromTraining,
    /// Evenly from 1 to 1/steps: what the pipeline of FLUX does.
    Even,
}

/// How the number of a picture's tokens shifts the sigmas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct DynamicShift {
    pub(super) base_shift: f64,
    pub(super) max_shift: f64,
    pub(super) base_tokens: usize,
    pub(super) max_tokens: usize,
    /// The shift is e to this power; otherwise it is the number itself.
    pub(super) is_exponential: bool,
}

impl DynamicShift {
    /// The shift for a picture of so many tokens.
    fn of(&self, tokens: usize) -> f64 {
        let (base, most) = (self.base_tokens as f64, self.max_tokens as f64);
        let slope = (self.max_shift - self.base_shift) / (most - base);
        let exponent = self.base_shift + slope * (tokens as f64 - base);
        // Beyond that, all sigmas are 0 or 1 in single precision.
        const MOST: f64 = 30.0;
        if self.is_exponential {
            exponent.clamp(-MOST, MOST).exp()
        } else {
            exponent.max(1e-3)
        }
    }
}

/// A schedule of flow matching: pictures are mixed with noise in proportion to sigma.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Flow {
    pub(super) shift: f64,
    pub(super) dynamic: Option<DynamicShift>,
    /// What the last sigma before 0 is stretched to be.
    pub(super) shift_terminal: Option<f64>,
    pub(super) placed: FlowSigmas,
}

impl Flow {
    /// The sigmas of so many steps, and the 0 that ends them.
    pub(super) fn sigmas(&self, train_timesteps: usize, steps: usize, tokens: usize) -> Vec<f32> {
        let last = match self.placed {
            FlowSigmas::Even => 1.0 / steps as f64,
            FlowSigmas::FromTraining => {
                let smallest = 1.0 / train_timesteps as f64;
                match self.dynamic {
                    Some(_) => smallest,
                    None => shifted(smallest, self.shift),
                }
            }
        };
        let shift = self
            .dynamic
            .map_or(self.shift, |dynamic| dynamic.of(tokens));
        let mut sigmas: Vec<f64> = (0..steps)
            .map(|step| 1.0 + (last - 1.0) * step as f64 / steps.saturating_sub(1).max(1) as f64)
            .map(|sigma| shifted(sigma, shift))
            .collect();
        if let (Some(end), Some(&last)) = (self.shift_terminal, sigmas.last()) {
            let stretch = (1.0 - last) / (1.0 - end);
            if stretch > 0.0 {
                sigmas
                    .iter_mut()
                    .for_each(|sigma| *sigma = 1.0 - (1.0 - *sigma) / stretch);
            }
        }
        sigmas.push(0.0);
        sigmas.into_iter().map(|sigma| sigma as f32).collect()
    }
}

fn shifted(sigma: f64, shift: f64) -> f64 {
    shift * sigma / (1.0 + (shift - 1.0) * sigma)
}
