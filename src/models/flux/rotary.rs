//! Positions: how far each token turns the pairs of its heads' values.

use candle_core::{Device, Result, Tensor, bail};

use super::config::{AXES, FluxConfig};
use crate::models::tensors::in_rows;

/// The base of the frequencies.
const THETA: f64 = 10_000.0;

/// Cosines and sines for the tokens of a text, which all stand at the origin, and of a picture's rows and
/// columns after it.
#[derive(Debug)]
pub(super) struct Rotary {
    /// As `sines`, `[tokens, head width / 2]`.
    cosines: Vec<f32>,
    sines: Vec<f32>,
    tokens: usize,
    half: usize,
}

impl Rotary {
    /// For so many tokens of text, and `height` rows of `width` tokens of a picture.
    pub(super) fn new(config: &FluxConfig, text: usize, height: usize, width: usize) -> Self {
        let half = config.head_width / 2;
        let tokens = text + height * width;
        let frequencies = config.axes.map(|width| {
            (0..width / 2)
                .map(|pair| THETA.powf(-((2 * pair) as f64) / width as f64))
                .collect::<Vec<_>>()
        });
        let mut cosines = vec![1.0; text * half];
        let mut sines = vec![0.0; text * half];
        for place in 0..height * width {
            let position: [usize; AXES] = [0, place / width, place % width];
            for (position, frequencies) in position.into_iter().zip(&frequencies) {
                let angles = frequencies
                    .iter()
                    .map(|frequency| position as f64 * frequency);
                cosines.extend(angles.clone().map(|angle| angle.cos() as f32));
                sines.extend(angles.map(|angle| angle.sin() as f32));
            }
        }
        Self {
            cosines,
            sines,
            tokens,
            half,
        }
    }

    /// Turns neighbouring pairs of a fresh `[heads, tokens, head width]`.
    pub(super) fn turn(&self, fresh: Tensor) -> Result<Tensor> {
        let (_, tokens, width) = fresh.dims3()?;
        if tokens != self.tokens || width != 2 * self.half {
            bail!("the positions are those of other tokens");
        }
        if !fresh.device().is_cpu() {
            return self.turn_on_device(&fresh);
        }
        in_rows(fresh, width, |row, values| {
            let place = row % self.tokens * self.half;
            let cosines = &self.cosines[place..place + self.half];
            let sines = &self.sines[place..place + self.half];
            for (pair, (cos, sin)) in values
                .as_chunks_mut()
                .0
                .iter_mut()
                .zip(cosines.iter().zip(sines))
            {
                let [even, odd] = *pair;
                *pair = [even * cos - odd * sin, odd * cos + even * sin];
            }
        })
    }

    fn turn_on_device(&self, x: &Tensor) -> Result<Tensor> {
        let table = |values: &[f32], device: &Device| {
            Tensor::from_slice(values, (self.tokens, self.half), device)
        };
        let (cosines, sines) = (
            table(&self.cosines, x.device())?,
            table(&self.sines, x.device())?,
        );
        candle_nn::rotary_emb::rope_i(&x.unsqueeze(0)?, &cosines, &sines)?.squeeze(0)
    }
}
