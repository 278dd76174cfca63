//! The text encoders: transformers' `CLIPTextModel`, with or without a projection.

use candle_core::{Device, Result, Tensor};
use serde_json::Value;

use super::blocks::{by_heads, from_heads};
use super::config;
use crate::kernels::Activation;
use crate::models::ModelError;
use crate::models::fields::Fields;
use crate::models::tensors::{
    self, AttentionBias, Embedding, LayerNorm, Linear, Weights, attention,
};

type Made<T> = std::result::Result<T, ModelError>;

const PLAIN: &str = "CLIPTextModel";
const PROJECTED: &str = "CLIPTextModelWithProjection";

/// An end-of-text id that stands for the largest id of a text: an old mistake in many configurations.
const END_IS_LARGEST: u32 = 2;

/// What a text encoder is like; every value has been checked.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::models) struct ClipTextConfig {
    vocabulary: usize,
    /// How many tokens it takes.
    pub(in crate::models) positions: usize,
    /// The length of its rows.
    pub(in crate::models) width: usize,
    inner: usize,
    layers: usize,
    heads: usize,
    epsilon: f32,
    act: Activation,
    end: u32,
    /// The width that pooled vectors are projected to.
    pub(in crate::models) projected: Option<usize>,
}

impl ClipTextConfig {
    /// Reads what `config.json` of the folder `part` says.
    pub(in crate::models) fn read(part: &str, value: &Value) -> Made<Self> {
        let fields = Fields::new(format!("{part}/config.json"), value.clone());
        let class = fields
            .get("architectures")
            .and_then(|classes| classes.get(0))
            .and_then(Value::as_str)
            .unwrap_or_default();
        if ![PLAIN, PROJECTED].contains(&class) {
            return Err(ModelError::UnsupportedArchitecture {
                found: class.to_owned(),
                supported: vec![PLAIN, PROJECTED],
            });
        }
        let width = fields.required(&["hidden_size"])?;
        let heads = fields.required(&["num_attention_heads"])?;
        config::divides(&fields, "num_attention_heads", heads, &[width])?;
        let layers = fields.required(&["num_hidden_layers"])?;
        config::layers(&fields, "num_hidden_layers", &[layers])?;
        let act = match fields.text("hidden_act")?.unwrap_or("quick_gelu") {
            "quick_gelu" => Activation::QuickGelu,
            "gelu" => Activation::Gelu,
            other => {
                let detail = format!("{other:?} is not supported, only quick_gelu and gelu are");
                return Err(fields.invalid("hidden_act", detail));
            }
        };
        let projected = match class == PROJECTED {
            true => Some(fields.required(&["projection_dim"])?),
            false => None,
        };
        let positions = fields.count("max_position_embeddings")?.unwrap_or(77);
        if !(2..=4096).contains(&positions) {
            let detail = format!("{positions} is not from 2 to 4096");
            return Err(fields.invalid("max_position_embeddings", detail));
        }
        Ok(Self {
            vocabulary: fields.count("vocab_size")?.unwrap_or(49408),
            positions,
            width,
            inner: fields.required(&["intermediate_size"])?,
            layers,
            heads,
            epsilon: config::epsilon(&fields, "layer_norm_eps", 1e-5)?,
            act,
            end: fields.whole("eos_token_id")?.unwrap_or(2) as u32,
            projected,
        })
    }
}

/// What a text encoder makes of a prompt.
#[derive(Debug)]
pub(in crate::models) struct EncodedText {
    /// After the last layer and its norm, `[tokens, width]`.
    pub(in crate::models) last: Tensor,
    /// Before the last layer, `[tokens, width]`.
    pub(in crate::models) before_last: Tensor,
    /// The last row of the text itself; projected, where the encoder has a projection.
    pub(in crate::models) pooled: Vec<f32>,
}

/// A text encoder with its weights.
#[derive(Debug)]
pub(in crate::models) struct ClipText {
    config: ClipTextConfig,
    tokens: Embedding,
    positions: Embedding,
    layers: Vec<Layer>,
    norm: LayerNorm,
    projection: Option<Linear>,
}

impl ClipText {
    /// Takes the weights below the prefix.
    pub(in crate::models) fn new(all: &Weights<'_>, config: &ClipTextConfig) -> Made<Self> {
        // The newest files leave it out.
        let has_prefix = all.has("text_model.embeddings.token_embedding.weight")?;
        let weights = if has_prefix {
            all.under("text_model")
        } else {
            all.clone()
        };
        let table = |name, rows| Embedding::new(&weights.under(name), rows, config.width);
        let projection =
            |outputs| Linear::new(&all.under("text_projection"), config.width, outputs, false);
        let layer = |layer| {
            let weights = weights.under(format!("encoder.layers.{layer}"));
            Layer::new(&weights, config)
        };
        Ok(Self {
            tokens: table("embeddings.token_embedding", config.vocabulary)?,
            positions: table("embeddings.position_embedding", config.positions)?,
            layers: (0..config.layers).map(layer).collect::<Made<_>>()?,
            norm: LayerNorm::new(
                &weights.under("final_layer_norm"),
                config.width,
                config.epsilon,
            )?,
            projection: config.projected.map(projection).transpose()?,
            config: config.clone(),
        })
    }

    /// Reads a prompt.
    ///
    /// # Errors
    /// [`ModelError::Tokenize`] for no token, too many of them, or ids outside of the vocabulary.
    pub(in crate::models) fn encode(&self, ids: &[u32]) -> Made<EncodedText> {
        let most = self.config.positions;
        let refused = |detail| Err(ModelError::Tokenize { detail });
        if ids.is_empty() || ids.len() > most {
            return refused(format!("{} tokens, where 1 to {most} are taken", ids.len()));
        }
        if let Some(id) = ids
            .iter()
            .find(|id| **id as usize >= self.config.vocabulary)
        {
            return refused(format!("token {id} is not in the encoder's vocabulary"));
        }
        let place = |end| ids.iter().position(|id| *id == end).unwrap_or(0);
        let end = match self.config.end {
            END_IS_LARGEST => place(ids.iter().copied().max().unwrap_or(0)),
            end => place(end),
        };
        Ok(self.forward(ids, end)?)
    }

    fn forward(&self, ids: &[u32], end: usize) -> Result<EncodedText> {
        let mut rows = tensors::add(self.tokens.forward(ids)?, &self.positions.first(ids.len())?)?;
        let mut before_last = rows.clone();
        for layer in &self.layers {
            before_last = rows.clone();
            rows = layer.forward(&rows)?;
        }
        let last = self.norm.forward(&rows)?;
        let mut pooled = last.narrow(0, end, 1)?;
        if let Some(projection) = &self.projection {
            pooled = projection.forward(&pooled)?;
        }
        Ok(EncodedText {
            last,
            before_last,
            pooled: pooled.flatten_all()?.to_vec1()?,
        })
    }
}

#[derive(Debug)]
struct Layer {
    norm1: LayerNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    norm2: LayerNorm,
    widen: Linear,
    narrow: Linear,
    act: Activation,
    heads: usize,
    scale: f32,
}

impl Layer {
    fn new(weights: &Weights<'_>, config: &ClipTextConfig) -> Made<Self> {
        let (width, inner) = (config.width, config.inner);
        let linear =
            |name, inputs, outputs| Linear::new(&weights.under(name), inputs, outputs, true);
        let norm = |name| LayerNorm::new(&weights.under(name), width, config.epsilon);
        Ok(Self {
            norm1: norm("layer_norm1")?,
            q: linear("self_attn.q_proj", width, width)?,
            k: linear("self_attn.k_proj", width, width)?,
            v: linear("self_attn.v_proj", width, width)?,
            out: linear("self_attn.out_proj", width, width)?,
            norm2: norm("layer_norm2")?,
            widen: linear("mlp.fc1", width, inner)?,
            narrow: linear("mlp.fc2", inner, width)?,
            act: config.act,
            heads: config.heads,
            scale: 1.0 / ((width / config.heads) as f32).sqrt(),
        })
    }

    fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        let normed = self.norm1.forward(rows)?;
        let heads = |linear: &Linear| by_heads(&linear.forward(&normed)?, self.heads);
        let (q, k, v) = (heads(&self.q)?, heads(&self.k)?, heads(&self.v)?);
        let attended = attention(&q, &k, &v, self.scale, AttentionBias::Causal)?;
        let rows = tensors::add(self.out.forward(&from_heads(&attended)?)?, rows)?;
        let wide = self.widen.forward(&self.norm2.forward(&rows)?)?;
        let wide = tensors::activate(wide, self.act)?;
        tensors::add(self.narrow.forward(&wide)?, &rows)
    }
}

/// The device on which a text encoder's prompts are read is that of its weights.
pub(in crate::models) fn rows_of(tensor: &Tensor) -> Made<Vec<f32>> {
    Ok(tensor.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?)
}
