//! The transformers of the network, by which it reads the prompt.

use candle_core::{Result, Tensor};

use super::super::blocks::{by_heads, from_heads, pixels_as_rows, rows_as_pixels};
use super::config::{Attends, UnetConfig};
use crate::kernels::Activation;
use crate::models::ModelError;
use crate::models::tensors::{
    self, AttentionBias, Conv2d, GroupNorm, LayerNorm, Linear, Weights, attention,
};

/// The epsilon of the norm before a transformer, and of those within.
const NORM_EPSILON: f32 = 1e-6;
const ROW_EPSILON: f32 = 1e-5;

/// What leads from channels to the transformer's rows and back.
#[derive(Debug)]
enum Projection {
    Linear(Linear),
    Conv(Conv2d),
}

impl Projection {
    fn new(
        weights: &Weights<'_>,
        channels: usize,
        is_linear: bool,
    ) -> std::result::Result<Self, ModelError> {
        Ok(if is_linear {
            Self::Linear(Linear::new(weights, channels, channels, true)?)
        } else {
            Self::Conv(Conv2d::new(weights, channels, channels, 1, 1, 0)?)
        })
    }
}

/// Attention of the picture's pixels to each other and to the prompt.
#[derive(Debug)]
pub(super) struct Transformer {
    norm: GroupNorm,
    inward: Projection,
    layers: Vec<Layer>,
    outward: Projection,
}

impl Transformer {
    pub(super) fn new(
        weights: &Weights<'_>,
        channels: usize,
        attends: Attends,
        config: &UnetConfig,
    ) -> std::result::Result<Self, ModelError> {
        let project =
            |name| Projection::new(&weights.under(name), channels, config.linear_projection);
        let layer = |layer: usize| {
            let weights = weights.under(format!("transformer_blocks.{layer}"));
            Layer::new(&weights, channels, attends)
        };
        Ok(Self {
            norm: GroupNorm::new(
                &weights.under("norm"),
                channels,
                config.groups,
                NORM_EPSILON,
            )?,
            inward: project("proj_in")?,
            layers: (0..attends.layers)
                .map(layer)
                .collect::<std::result::Result<_, _>>()?,
            outward: project("proj_out")?,
        })
    }

    /// `context` holds the prompt's rows, `[tokens, width]`.
    pub(super) fn forward(&self, x: &Tensor, context: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let normed = self.norm.forward(x, Activation::Identity)?;
        let mut rows = match &self.inward {
            Projection::Linear(linear) => linear.forward(&pixels_as_rows(&normed)?)?,
            Projection::Conv(conv) => pixels_as_rows(&conv.forward(&normed)?)?,
        };
        for layer in &self.layers {
            rows = layer.forward(rows, context)?;
        }
        let made = match &self.outward {
            Projection::Linear(linear) => rows_as_pixels(&linear.forward(&rows)?, [height, width])?,
            Projection::Conv(conv) => conv.forward(&rows_as_pixels(&rows, [height, width])?)?,
        };
        tensors::add(made, x)
    }
}

#[derive(Debug)]
struct Layer {
    norms: [LayerNorm; 3],
    to_itself: Attention,
    to_prompt: Attention,
    widen: Linear,
    narrow: Linear,
    inner: usize,
}

impl Layer {
    fn new(
        weights: &Weights<'_>,
        width: usize,
        attends: Attends,
    ) -> std::result::Result<Self, ModelError> {
        let norm = |name| LayerNorm::new(&weights.under(name), width, ROW_EPSILON);
        let attention =
            |name, context| Attention::new(&weights.under(name), width, context, attends.heads);
        let inner = 4 * width;
        Ok(Self {
            norms: [norm("norm1")?, norm("norm2")?, norm("norm3")?],
            to_itself: attention("attn1", width)?,
            to_prompt: attention("attn2", attends.context)?,
            widen: Linear::new(&weights.under("ff.net.0.proj"), width, 2 * inner, true)?,
            narrow: Linear::new(&weights.under("ff.net.2"), inner, width, true)?,
            inner,
        })
    }

    fn forward(&self, rows: Tensor, context: &Tensor) -> Result<Tensor> {
        let [first, second, third] = &self.norms;
        let normed = first.forward(&rows)?;
        let rows = tensors::add(self.to_itself.forward(&normed, &normed)?, &rows)?;
        let normed = second.forward(&rows)?;
        let rows = tensors::add(self.to_prompt.forward(&normed, context)?, &rows)?;
        let wide = self.widen.forward(&third.forward(&rows)?)?;
        let gated = tensors::gate(wide, Activation::Gelu, self.inner, true)?;
        tensors::add(self.narrow.forward(&gated)?, &rows)
    }
}

#[derive(Debug)]
struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    heads: usize,
    scale: f32,
}

impl Attention {
    fn new(
        weights: &Weights<'_>,
        width: usize,
        context: usize,
        heads: usize,
    ) -> std::result::Result<Self, ModelError> {
        let linear = |name, inputs| Linear::new(&weights.under(name), inputs, width, false);
        Ok(Self {
            q: linear("to_q", width)?,
            k: linear("to_k", context)?,
            v: linear("to_v", context)?,
            out: Linear::new(&weights.under("to_out.0"), width, width, true)?,
            heads,
            scale: 1.0 / ((width / heads) as f32).sqrt(),
        })
    }

    fn forward(&self, x: &Tensor, context: &Tensor) -> Result<Tensor> {
        let q = by_heads(&self.q.forward(x)?, self.heads)?;
        let k = by_heads(&self.k.forward(context)?, self.heads)?;
        let v = by_heads(&self.v.forward(context)?, self.heads)?;
        let made = attention(&q, &k, &v, self.scale, AttentionBias::None)?;
        self.out.forward(&from_heads(&made)?)
    }
}
