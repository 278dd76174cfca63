//! From `vae/config.json` to what the autoencoder is like.

use serde_json::{Value, json};

use super::super::config;
use crate::models::ModelError;
use crate::models::fields::Fields;

/// What an `AutoencoderKL` is like; every value has been checked.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::models) struct VaeConfig {
    pub(in crate::models) latent_channels: usize,
    /// Channels from the finest resolution to the coarsest.
    pub(super) widths: Vec<usize>,
    pub(super) layers: usize,
    pub(super) groups: usize,
    /// Whether the middles attend.
    pub(super) attends: bool,
    pub(super) has_quant_conv: bool,
    pub(super) has_post_quant_conv: bool,
    /// Latents are what the encoder says, less the shift, times the scale.
    pub(in crate::models) scale: f32,
    pub(in crate::models) shift: f32,
}

impl VaeConfig {
    /// Reads what `config.json` of the folder `part` says.
    pub(in crate::models) fn read(part: &str, value: &Value) -> Result<Self, ModelError> {
        let fields = config::fields_of(part, value, &["AutoencoderKL"])?;
        fields.only("act_fn", &json!("silu"))?;
        fields.only("in_channels", &json!(3))?;
        fields.only("out_channels", &json!(3))?;
        for field in ["latents_mean", "latents_std"] {
            fields.only(field, &Value::Null)?;
        }
        let widths = config::list(&fields, "block_out_channels")?;
        if widths.len() > 8 {
            return Err(fields.invalid("block_out_channels", "there are more than 8"));
        }
        for (field, kind) in [
            ("down_block_types", "DownEncoderBlock2D"),
            ("up_block_types", "UpDecoderBlock2D"),
        ] {
            let names = config::texts(&fields, field)?;
            if names.len() != widths.len() || names.iter().any(|name| name != kind) {
                let detail = format!("only {} times {kind} is supported", widths.len());
                return Err(fields.invalid(field, detail));
            }
        }
        let layers = fields.count("layers_per_block")?.unwrap_or(1);
        config::layers(&fields, "layers_per_block", &[layers])?;
        let groups = fields.count("norm_num_groups")?.unwrap_or(32);
        config::divides(&fields, "norm_num_groups", groups, &widths)?;
        Ok(Self {
            latent_channels: fields.count("latent_channels")?.unwrap_or(4),
            widths,
            layers,
            groups,
            attends: fields.flag("mid_block_add_attention", true)?,
            has_quant_conv: fields.flag("use_quant_conv", true)?,
            has_post_quant_conv: fields.flag("use_post_quant_conv", true)?,
            scale: scale(&fields)?,
            shift: fields.number("shift_factor")?.unwrap_or(0.0) as f32,
        })
    }

    /// How many pixels a side of one latent stands for.
    pub(in crate::models) fn pixels_per_latent(&self) -> usize {
        1 << (self.widths.len() - 1)
    }

    /// The most values that decoding or encoding a picture of so many pixels holds at once.
    pub(in crate::models) fn most_values(&self, pixels: u64) -> u64 {
        // Three pictures at the finest level: what goes into a block, that normalised, and what comes out.
        let finest = self.widths.iter().take(2).max().copied().unwrap_or(1);
        pixels.saturating_mul(3 * finest as u64)
    }
}

fn scale(fields: &Fields) -> Result<f32, ModelError> {
    let scale = fields.number("scaling_factor")?.unwrap_or(0.18215);
    if (1e-6..=1e6).contains(&scale) {
        return Ok(scale as f32);
    }
    Err(fields.invalid("scaling_factor", format!("{scale} is out of range")))
}
