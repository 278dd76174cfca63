//! One vector of the time, the guidance and the pooled text, by which all layers are modulated.

use candle_core::{Device, Result, Tensor};

use super::config::FluxConfig;
use crate::kernels::Activation;
use crate::models::ModelError;
use crate::models::tensors::{Linear, Weights, activate, add};

/// Cosines and sines of a number together.
const WAVES: usize = 256;

/// The longest wave, in units of the number.
const LONGEST: f32 = 10_000.0;

/// Two linear layers with SiLU between.
#[derive(Debug)]
struct Embedder {
    first: Linear,
    second: Linear,
}

impl Embedder {
    fn new(
        weights: &Weights<'_>,
        inputs: usize,
        outputs: usize,
    ) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            first: Linear::new(&weights.under("linear_1"), inputs, outputs, true)?,
            second: Linear::new(&weights.under("linear_2"), outputs, outputs, true)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let inside = activate(self.first.forward(x)?, Activation::Silu)?;
        self.second.forward(&inside)
    }
}

/// The layers that make that vector.
#[derive(Debug)]
pub(super) struct Conditions {
    time: Embedder,
    guidance: Option<Embedder>,
    text: Embedder,
}

impl Conditions {
    pub(super) fn new(
        weights: &Weights<'_>,
        config: &FluxConfig,
    ) -> std::result::Result<Self, ModelError> {
        let width = config.width();
        let guidance = || Embedder::new(&weights.under("guidance_embedder"), WAVES, width);
        Ok(Self {
            time: Embedder::new(&weights.under("timestep_embedder"), WAVES, width)?,
            guidance: config.has_guidance.then(guidance).transpose()?,
            text: Embedder::new(&weights.under("text_embedder"), config.pooled_width, width)?,
        })
    }

    /// The vector after SiLU, as all modulations take it, `[1, width]`: of a time from 0 to 1000, the
    /// guidance where the model has it as an input, and the pooled text.
    pub(super) fn forward(
        &self,
        time: f32,
        guidance: Option<f32>,
        pooled: &[f32],
        device: &Device,
    ) -> Result<Tensor> {
        let mut sum = self.time.forward(&waves(time, device)?)?;
        if let Some(embedder) = &self.guidance {
            let scaled = 1000.0 * guidance.unwrap_or(1.0);
            sum = add(sum, &embedder.forward(&waves(scaled, device)?)?)?;
        }
        let pooled = Tensor::from_slice(pooled, (1, pooled.len()), device)?;
        sum = add(sum, &self.text.forward(&pooled)?)?;
        activate(sum, Activation::Silu)
    }
}

/// The number as cosines and sines of falling frequency, `[1, WAVES]`.
fn waves(number: f32, device: &Device) -> Result<Tensor> {
    let half = WAVES / 2;
    // In single precision, as the reference does it.
    let angles = (0..half).map(|wave| {
        let exponent = -LONGEST.ln() * wave as f32 / half as f32;
        f64::from(number * exponent.exp())
    });
    let cosines = angles.clone().map(|angle| angle.cos() as f32);
    let values: Vec<f32> = cosines
        .chain(angles.map(|angle| angle.sin() as f32))
        .collect();
    Tensor::from_vec(values, (1, WAVES), device)
}
