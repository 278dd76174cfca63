//! The two kinds of layers.

use candle_core::{Result, Tensor};

use super::config::FluxConfig;
use super::joint::{OWN, Projected, Projection, ProjectionNames, TEXT};
use super::modulation::{Modulation, add_gated, normalise};
use super::rotary::Rotary;
use crate::kernels::Activation;
use crate::models::ModelError;
use crate::models::tensors::{Linear, Weights, activate};

/// One side, text or picture, of a layer that keeps them apart.
#[derive(Debug)]
struct Side {
    modulation: Modulation<6>,
    projection: Projection,
    attention_out: Linear,
    mlp_in: Linear,
    mlp_out: Linear,
}

/// How the tensors of a side are called.
struct SideNames {
    norm: &'static str,
    projection: &'static ProjectionNames,
    attention_out: &'static str,
    mlp: &'static str,
}

impl Side {
    fn new(
        weights: &Weights<'_>,
        config: &FluxConfig,
        names: &SideNames,
    ) -> std::result::Result<Self, ModelError> {
        let (width, inside) = (config.width(), config.inside());
        let attention = weights.under("attn");
        let mlp = weights.under(names.mlp).under("net");
        Ok(Self {
            modulation: Modulation::new(&weights.under(names.norm), width)?,
            projection: Projection::new(&attention, config, names.projection)?,
            attention_out: Linear::new(&attention.under(names.attention_out), width, width, true)?,
            mlp_in: Linear::new(&mlp.under("0.proj"), width, inside, true)?,
            mlp_out: Linear::new(&mlp.under("2"), inside, width, true)?,
        })
    }

    /// What follows the attention: `mixed` are this side's rows of it, `x` is fresh.
    fn finish(&self, x: Tensor, mixed: &Tensor, parts: &[Tensor; 6]) -> Result<Tensor> {
        let [_, _, attention_gate, shift, scale, mlp_gate] = parts;
        let x = add_gated(x, attention_gate, self.attention_out.forward(mixed)?)?;
        let inside = self.mlp_in.forward(&normalise(&x, shift, scale)?)?;
        let branch = self
            .mlp_out
            .forward(&activate(inside, Activation::GeluTanh)?)?;
        add_gated(x, mlp_gate, branch)
    }
}

/// A layer that keeps text and picture apart but for the attention.
#[derive(Debug)]
pub(super) struct DoubleBlock {
    text: Side,
    picture: Side,
}

impl DoubleBlock {
    pub(super) fn new(
        weights: &Weights<'_>,
        config: &FluxConfig,
    ) -> std::result::Result<Self, ModelError> {
        const TEXT_NAMES: SideNames = SideNames {
            norm: "norm1_context",
            projection: &TEXT,
            attention_out: "to_add_out",
            mlp: "ff_context",
        };
        const PICTURE_NAMES: SideNames = SideNames {
            norm: "norm1",
            projection: &OWN,
            attention_out: "to_out.0",
            mlp: "ff",
        };
        Ok(Self {
            text: Side::new(weights, config, &TEXT_NAMES)?,
            picture: Side::new(weights, config, &PICTURE_NAMES)?,
        })
    }

    /// `text` and `picture`, `[tokens, width]` each, are fresh, and so are the results.
    pub(super) fn forward(
        &self,
        text: Tensor,
        picture: Tensor,
        conditions: &Tensor,
        rotary: &Rotary,
    ) -> Result<(Tensor, Tensor)> {
        let of_text = self.text.modulation.forward(conditions)?;
        let of_picture = self.picture.modulation.forward(conditions)?;
        let project = |side: &Side, x: &Tensor, parts: &[Tensor; 6]| {
            let [shift, scale, ..] = parts;
            side.projection.forward(&normalise(x, shift, scale)?)
        };
        let joined = Projected::join(
            &project(&self.text, &text, &of_text)?,
            &project(&self.picture, &picture, &of_picture)?,
        )?;
        let mixed = joined.attend(rotary)?;
        let tokens = text.dim(0)?;
        let text_mixed = mixed.narrow(0, 0, tokens)?;
        let picture_mixed = mixed.narrow(0, tokens, picture.dim(0)?)?;
        Ok((
            self.text.finish(text, &text_mixed, &of_text)?,
            self.picture.finish(picture, &picture_mixed, &of_picture)?,
        ))
    }
}

/// A layer over text and picture as one, whose attention and feed-forward network stand side by side.
#[derive(Debug)]
pub(super) struct SingleBlock {
    modulation: Modulation<3>,
    projection: Projection,
    mlp_in: Linear,
    out: Linear,
}

impl SingleBlock {
    pub(super) fn new(
        weights: &Weights<'_>,
        config: &FluxConfig,
    ) -> std::result::Result<Self, ModelError> {
        let (width, inside) = (config.width(), config.inside());
        Ok(Self {
            modulation: Modulation::new(&weights.under("norm"), width)?,
            projection: Projection::new(&weights.under("attn"), config, &OWN)?,
            mlp_in: Linear::new(&weights.under("proj_mlp"), width, inside, true)?,
            out: Linear::new(&weights.under("proj_out"), width + inside, width, true)?,
        })
    }

    /// `x`, `[tokens, width]`, is fresh, and so is the result.
    pub(super) fn forward(
        &self,
        x: Tensor,
        conditions: &Tensor,
        rotary: &Rotary,
    ) -> Result<Tensor> {
        let [shift, scale, gate] = self.modulation.forward(conditions)?;
        let normed = normalise(&x, &shift, &scale)?;
        let inside = activate(self.mlp_in.forward(&normed)?, Activation::GeluTanh)?;
        let mixed = self.projection.forward(&normed)?.attend(rotary)?;
        let branch = self.out.forward(&Tensor::cat(&[&mixed, &inside], 1)?)?;
        add_gated(x, &gate, branch)
    }
}
