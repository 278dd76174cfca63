//! From `transformer/config.json` to the sizes of the network.

use serde_json::{Value, json};

use crate::models::ModelError;
use crate::models::fields::Fields;

/// No real model has as many layers.
const MAX_LAYERS: usize = 1024;

/// Positions have this many axes: one that FLUX leaves unused, rows and columns.
pub(super) const AXES: usize = 3;

/// The sizes of the transformer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FluxConfig {
    /// Values of one token of the picture: a square of 2 by 2 latents.
    pub(super) token_width: usize,
    /// Layers that keep text and picture apart but for the attention.
    pub(super) double_layers: usize,
    /// Layers over text and picture as one.
    pub(super) single_layers: usize,
    pub(super) heads: usize,
    pub(super) head_width: usize,
    /// Width of the text encoder's hidden states.
    pub(super) text_width: usize,
    /// Width of the pooled text vector.
    pub(super) pooled_width: usize,
    /// Whether the guidance is one of the inputs.
    pub(super) has_guidance: bool,
    /// How much of a head's width each axis of the positions turns.
    pub(super) axes: [usize; AXES],
}

impl FluxConfig {
    /// Reads the fields of a `FluxTransformer2DModel`.
    ///
    /// # Errors
    /// [`ModelError::UnsupportedArchitecture`] for another class, [`ModelError::InvalidConfig`] for a
    /// field that makes no sense.
    pub(super) fn read(config: &Fields) -> Result<Self, ModelError> {
        const CLASS: &str = "FluxTransformer2DModel";
        match config.text("_class_name")? {
            Some(CLASS) | None => {}
            Some(other) => {
                return Err(ModelError::UnsupportedArchitecture {
                    found: other.to_owned(),
                    supported: vec![CLASS],
                });
            }
        }
        config.only("patch_size", &json!(1))?;
        let token_width = config.count("in_channels")?.unwrap_or(64);
        if !token_width.is_multiple_of(4) {
            let detail = format!("{token_width} is no multiple of 4");
            return Err(config.invalid("in_channels", detail));
        }
        config.only("out_channels", &json!(token_width))?;
        let layers = |field: &str, default| match config.whole(field)?.unwrap_or(default) {
            count if count <= MAX_LAYERS => Ok(count),
            count => Err(config.invalid(field, format!("{count} are too many"))),
        };
        let head_width = config.count("attention_head_dim")?.unwrap_or(128);
        Ok(Self {
            token_width,
            double_layers: layers("num_layers", 19)?,
            single_layers: layers("num_single_layers", 38)?,
            heads: config.count("num_attention_heads")?.unwrap_or(24),
            head_width,
            text_width: config.count("joint_attention_dim")?.unwrap_or(4096),
            pooled_width: config.count("pooled_projection_dim")?.unwrap_or(768),
            has_guidance: config.flag("guidance_embeds", false)?,
            axes: axes(config, head_width)?,
        })
    }

    /// Width of the residual stream.
    pub(super) fn width(&self) -> usize {
        self.heads * self.head_width
    }

    /// Width of the feed-forward networks' inside.
    pub(super) fn inside(&self) -> usize {
        4 * self.width()
    }
}

/// Three even widths that make up a head's.
fn axes(config: &Fields, head_width: usize) -> Result<[usize; AXES], ModelError> {
    const FIELD: &str = "axes_dims_rope";
    let Some(value) = config.get(FIELD) else {
        return Ok([16, 56, 56]);
    };
    let widths: Option<Vec<usize>> = value.as_array().and_then(|list| {
        let width = |value: &Value| usize::try_from(value.as_u64()?).ok();
        list.iter().map(width).collect()
    });
    widths
        .and_then(|widths| <[usize; AXES]>::try_from(widths).ok())
        .filter(|widths| {
            let sum = widths
                .iter()
                .try_fold(0_usize, |sum, width| sum.checked_add(*width));
            sum == Some(head_width) && widths.iter().all(|width| width.is_multiple_of(2))
        })
        .ok_or_else(|| {
            let detail = format!("{value} are not three even widths that make up {head_width}");
            config.invalid(FIELD, detail)
        })
}
