//! The network: from latents, a prompt and the time to the flow.

use candle_core::{Device, Result, Tensor, bail};

use super::blocks::{DoubleBlock, SingleBlock};
use super::config::FluxConfig;
use super::embedding::Conditions;
use super::modulation::{Modulation, normalise};
use super::rotary::Rotary;
use crate::models::ModelError;
use crate::models::tensors::{Linear, Weights};

/// Latents on a side of a token.
pub(super) const PATCH: usize = 2;

/// What a prediction is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct FluxInput<'a> {
    /// Shape `[channels, height, width]`.
    pub(super) latents: &'a [f32],
    pub(super) height: usize,
    pub(super) width: usize,
    /// From 0 to 1000.
    pub(super) time: f32,
    pub(super) guidance: Option<f32>,
    /// The text encoder's hidden states, `[text tokens, text width]`.
    pub(super) text: &'a [f32],
    pub(super) pooled: &'a [f32],
}

/// The transformer with its weights.
#[derive(Debug)]
pub(super) struct FluxTransformer {
    config: FluxConfig,
    picture_in: Linear,
    text_in: Linear,
    conditions: Conditions,
    double: Vec<DoubleBlock>,
    single: Vec<SingleBlock>,
    norm_out: Modulation<2>,
    out: Linear,
}

impl FluxTransformer {
    pub(super) fn new(
        weights: &Weights<'_>,
        config: &FluxConfig,
    ) -> std::result::Result<Self, ModelError> {
        let width = config.width();
        let mut double = Vec::new();
        for number in 0..config.double_layers {
            let weights = weights.under(format!("transformer_blocks.{number}"));
            double.push(DoubleBlock::new(&weights, config)?);
        }
        let mut single = Vec::new();
        for number in 0..config.single_layers {
            let weights = weights.under(format!("single_transformer_blocks.{number}"));
            single.push(SingleBlock::new(&weights, config)?);
        }
        Ok(Self {
            config: config.clone(),
            picture_in: Linear::new(
                &weights.under("x_embedder"),
                config.token_width,
                width,
                true,
            )?,
            text_in: Linear::new(
                &weights.under("context_embedder"),
                config.text_width,
                width,
                true,
            )?,
            conditions: Conditions::new(&weights.under("time_text_embed"), config)?,
            double,
            single,
            norm_out: Modulation::new(&weights.under("norm_out"), width)?,
            out: Linear::new(&weights.under("proj_out"), width, config.token_width, true)?,
        })
    }

    /// The flow, in the shape of the latents.
    pub(super) fn forward(&self, input: FluxInput<'_>, device: &Device) -> Result<Vec<f32>> {
        let FluxInput { height, width, .. } = input;
        let text_width = self.config.text_width;
        if !height.is_multiple_of(PATCH) || !width.is_multiple_of(PATCH) {
            bail!("{width} by {height} latents do not divide into tokens");
        }
        let tokens = (height / PATCH) * (width / PATCH);
        if input.latents.len() != tokens * self.config.token_width
            || !input.text.len().is_multiple_of(text_width)
            || input.pooled.len() != self.config.pooled_width
        {
            bail!("latents or conditions of another shape than the model's");
        }
        let text_tokens = input.text.len() / text_width;
        let packed = pack(input.latents, height, width);
        let packed = Tensor::from_vec(packed, (tokens, self.config.token_width), device)?;
        let text = Tensor::from_slice(input.text, (text_tokens, text_width), device)?;
        let rotary = Rotary::new(&self.config, text_tokens, height / PATCH, width / PATCH);
        let conditions =
            self.conditions
                .forward(input.time, input.guidance, input.pooled, device)?;

        let mut picture = self.picture_in.forward(&packed)?;
        let mut text = self.text_in.forward(&text)?;
        for block in &self.double {
            (text, picture) = block.forward(text, picture, &conditions, &rotary)?;
        }
        let mut both = Tensor::cat(&[&text, &picture], 0)?;
        for block in &self.single {
            both = block.forward(both, &conditions, &rotary)?;
        }
        let picture = both.narrow(0, text_tokens, tokens)?;
        let [scale, shift] = self.norm_out.forward(&conditions)?;
        let flow = self.out.forward(&normalise(&picture, &shift, &scale)?)?;
        let flow = flow.flatten_all()?.to_vec1()?;
        Ok(unpack(&flow, height, width))
    }
}

/// From `[channels, height, width]` to tokens, `[height / 2 · width / 2, channels · 4]`.
fn pack(latents: &[f32], height: usize, width: usize) -> Vec<f32> {
    places(latents.len(), height, width)
        .map(|place| latents[place])
        .collect()
}

/// The way back.
fn unpack(tokens: &[f32], height: usize, width: usize) -> Vec<f32> {
    let mut latents = vec![0.0; tokens.len()];
    for (place, value) in places(tokens.len(), height, width).zip(tokens) {
        latents[place] = *value;
    }
    latents
}

/// Where in `[channels, height, width]` the values of the tokens lie, in the tokens' order.
fn places(values: usize, height: usize, width: usize) -> impl Iterator<Item = usize> {
    let channels = values / (height * width).max(1);
    let squares = (0..height / PATCH)
        .flat_map(move |row| (0..width / PATCH).map(move |column| (row, column)));
    squares.flat_map(move |(row, column)| {
        (0..channels).flat_map(move |channel| {
            (0..PATCH * PATCH).map(move |part| {
                let row = row * PATCH + part / PATCH;
                let column = column * PATCH + part % PATCH;
                (channel * height + row) * width + column
            })
        })
    })
}
