//! Attention over the tokens of text and picture together.

use candle_core::{D, Result, Tensor};

use super::config::FluxConfig;
use super::rotary::Rotary;
use crate::kernels::{self, Cpu};
use crate::models::ModelError;
use crate::models::tensors::{AttentionBias, Linear, Weights, attention, in_rows, values};

/// What the norms add to the mean square.
const EPSILON: f32 = 1e-6;

/// From tokens to the queries, keys and values of all heads.
#[derive(Debug)]
pub(super) struct Projection {
    query: Linear,
    key: Linear,
    value: Linear,
    query_norm: Tensor,
    key_norm: Tensor,
    heads: usize,
}

/// How a projection's tensors are called.
pub(super) struct ProjectionNames {
    query: &'static str,
    key: &'static str,
    value: &'static str,
    query_norm: &'static str,
    key_norm: &'static str,
}

/// Those of the picture, or of all tokens.
pub(super) const OWN: ProjectionNames = ProjectionNames {
    query: "to_q",
    key: "to_k",
    value: "to_v",
    query_norm: "norm_q",
    key_norm: "norm_k",
};

/// Those of the text in a layer that keeps it apart.
pub(super) const TEXT: ProjectionNames = ProjectionNames {
    query: "add_q_proj",
    key: "add_k_proj",
    value: "add_v_proj",
    query_norm: "norm_added_q",
    key_norm: "norm_added_k",
};

/// Queries, keys and values, `[heads, tokens, head width]` each.
pub(super) struct Projected {
    query: Tensor,
    key: Tensor,
    value: Tensor,
}

impl Projection {
    pub(super) fn new(
        weights: &Weights<'_>,
        config: &FluxConfig,
        names: &ProjectionNames,
    ) -> std::result::Result<Self, ModelError> {
        let width = config.width();
        let linear = |name: &str| Linear::new(&weights.under(name), width, width, true);
        let norm = |name: &str| weights.under(name).tensor("weight", &[config.head_width]);
        Ok(Self {
            query: linear(names.query)?,
            key: linear(names.key)?,
            value: linear(names.value)?,
            query_norm: norm(names.query_norm)?,
            key_norm: norm(names.key_norm)?,
            heads: config.heads,
        })
    }

    /// Of `[tokens, width]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Projected> {
        Ok(Projected {
            query: normalise(self.heads_of(&self.query, x)?, &self.query_norm)?,
            key: normalise(self.heads_of(&self.key, x)?, &self.key_norm)?,
            value: self.heads_of(&self.value, x)?,
        })
    }

    /// Fresh.
    fn heads_of(&self, linear: &Linear, x: &Tensor) -> Result<Tensor> {
        let made = linear.forward(x)?;
        let (tokens, width) = made.dims2()?;
        let heads = made.reshape((tokens, self.heads, width / self.heads.max(1)))?;
        heads.transpose(0, 1)?.contiguous()
    }
}

impl Projected {
    /// Those of the text, and then those of the picture.
    pub(super) fn join(text: &Self, picture: &Self) -> Result<Self> {
        let join = |text: &Tensor, picture: &Tensor| Tensor::cat(&[text, picture], 1);
        Ok(Self {
            query: join(&text.query, &picture.query)?,
            key: join(&text.key, &picture.key)?,
            value: join(&text.value, &picture.value)?,
        })
    }

    /// Each token's mixture of what all tokens hold, `[tokens, width]`.
    pub(super) fn attend(self, rotary: &Rotary) -> Result<Tensor> {
        let query = rotary.turn(self.query)?;
        let key = rotary.turn(self.key)?;
        let scale = 1.0 / (query.dim(D::Minus1)? as f32).sqrt();
        let mixed = attention(&query, &key, &self.value, scale, AttentionBias::None)?;
        mixed.transpose(0, 1)?.flatten_from(1)?.contiguous()
    }
}

/// The root-mean-square norm (Zhang and Sennrich 2019) of each row of a fresh tensor.
fn normalise(fresh: Tensor, weight: &Tensor) -> Result<Tensor> {
    if !fresh.device().is_cpu() {
        return candle_nn::ops::rms_norm(&fresh, weight, EPSILON);
    }
    let width = fresh.dim(D::Minus1)?;
    let cpu = Cpu::detect();
    values(weight, |weight| {
        in_rows(fresh, width, |_, row| {
            kernels::norm(cpu, row, weight, &[], EPSILON, true);
        })
    })
}
