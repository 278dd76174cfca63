//! From `unet/config.json` to what the network is like.

use serde_json::{Value, json};

use super::super::config;
use crate::models::ModelError;
use crate::models::fields::Fields;

/// One resolution of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) channels: usize,
    pub(super) layers: usize,
    /// How it attends on the way down, if it does.
    pub(super) down: Option<Attends>,
    /// The same on the way up.
    pub(super) up: Option<Attends>,
}

/// How a block's transformers attend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attends {
    pub(super) heads: usize,
    pub(super) layers: usize,
    /// The width of the prompt's rows.
    pub(super) context: usize,
}

/// What SDXL is told beside the timestep: the prompt's pooled vector, and sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TextTime {
    /// The width in which each size is spread.
    pub(super) spread: usize,
    /// Of pooled vector and spread sizes together.
    pub(super) inputs: usize,
}

/// What a `UNet2DConditionModel` is like; every value has been checked.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::models::diffusion) struct UnetConfig {
    pub(in crate::models::diffusion) channels: usize,
    /// From the finest to the coarsest.
    pub(super) levels: Vec<Level>,
    /// How the middle attends; without, there is no middle.
    pub(super) middle: Option<Attends>,
    pub(super) groups: usize,
    pub(super) epsilon: f32,
    pub(super) cosine_first: bool,
    pub(super) frequency_shift: usize,
    pub(super) linear_projection: bool,
    pub(super) text_time: Option<TextTime>,
    /// The width in which guidance is spread, for models that are told it.
    pub(in crate::models::diffusion) guidance_width: Option<usize>,
    /// Height and width of the latents that it was trained on.
    pub(in crate::models::diffusion) trained_size: Option<[usize; 2]>,
}

/// Fields that change what is computed, with the only value that is supported.
fn fixed() -> [(&'static str, Value); 27] {
    [
        ("center_input_sample", json!(false)),
        ("only_cross_attention", json!(false)),
        ("downsample_padding", json!(1)),
        ("mid_block_scale_factor", json!(1)),
        ("act_fn", json!("silu")),
        ("dual_cross_attention", json!(false)),
        ("resnet_time_scale_shift", json!("default")),
        ("resnet_skip_time_act", json!(false)),
        ("resnet_out_scale_factor", json!(1.0)),
        ("time_embedding_type", json!("positional")),
        ("conv_in_kernel", json!(3)),
        ("conv_out_kernel", json!(3)),
        ("attention_type", json!("default")),
        ("class_embeddings_concat", json!(false)),
        // None of these is known by another value than null.
        ("mid_block_only_cross_attention", json!(false)),
        ("reverse_transformer_layers_per_block", Value::Null),
        ("encoder_hid_dim", Value::Null),
        ("encoder_hid_dim_type", Value::Null),
        ("num_attention_heads", Value::Null),
        ("class_embed_type", Value::Null),
        ("num_class_embeds", Value::Null),
        ("time_embedding_dim", Value::Null),
        ("time_embedding_act_fn", Value::Null),
        ("timestep_post_act", Value::Null),
        ("cross_attention_norm", Value::Null),
        ("conditioning_embedding_out_channels", Value::Null),
        ("addition_embed_type_num_heads", json!(64)),
    ]
}

impl UnetConfig {
    pub(in crate::models::diffusion) fn read(value: &Value) -> Result<Self, ModelError> {
        let fields = config::fields_of("unet", value, &["UNet2DConditionModel"])?;
        for (field, supported) in fixed() {
            // A number may be written with or without a point.
            let number = |value: &Value| value.as_f64();
            let found = fields.get(field);
            let same = found.is_some_and(|found| number(found) == number(&supported));
            if !(same && supported.is_number()) {
                fields.only(field, &supported)?;
            }
        }
        let widths = config::list(&fields, "block_out_channels")?;
        let blocks = widths.len();
        let layers = config::counts(&fields, "layers_per_block", blocks)?;
        let layers = layers.unwrap_or_else(|| vec![2; blocks]);
        config::layers(&fields, "layers_per_block", &layers)?;
        let groups = fields.count("norm_num_groups")?.unwrap_or(32);
        config::divides(&fields, "norm_num_groups", groups, &widths)?;
        let attends = attends(&fields, &widths)?;
        let down = attending(&fields, "down_block_types", "Down", &attends)?;
        let mut up = attending(&fields, "up_block_types", "Up", &{
            let mut reversed = attends.clone();
            reversed.reverse();
            reversed
        })?;
        up.reverse();
        let levels = (0..blocks)
            .map(|block| Level {
                channels: widths[block],
                layers: layers[block],
                down: down[block],
                up: up[block],
            })
            .collect();
        let has_no_middle = value.get("mid_block_type").is_some_and(Value::is_null);
        fields.only("mid_block_type", &json!("UNetMidBlock2DCrossAttn"))?;
        let middle = attends.last().copied().filter(|_| !has_no_middle);
        let channels = fields.count("in_channels")?.unwrap_or(4);
        if fields.count("out_channels")?.unwrap_or(4) != channels {
            let detail = format!("only as many as in_channels, {channels}, are supported");
            return Err(fields.invalid("out_channels", detail));
        }
        let frequency_shift = fields.whole("freq_shift")?.unwrap_or(0);
        if frequency_shift >= widths[0] / 2 {
            return Err(fields.invalid("freq_shift", format!("{frequency_shift} is too much")));
        }
        Ok(Self {
            channels,
            levels,
            middle,
            groups,
            epsilon: config::epsilon(&fields, "norm_eps", 1e-5)?,
            cosine_first: fields.flag("flip_sin_to_cos", true)?,
            frequency_shift,
            linear_projection: fields.flag("use_linear_projection", false)?,
            text_time: text_time(&fields)?,
            guidance_width: guidance_width(&fields)?,
            trained_size: trained_size(&fields)?,
        })
    }
}

/// How each level's transformers attend where they do.
fn attends(fields: &Fields, widths: &[usize]) -> Result<Vec<Attends>, ModelError> {
    let counts = |field, default: usize| {
        let found = config::counts(fields, field, widths.len())?;
        Ok::<_, ModelError>(found.unwrap_or_else(|| vec![default; widths.len()]))
    };
    // The name says otherwise, but it is their number.
    let heads = counts("attention_head_dim", 8)?;
    let layers = counts("transformer_layers_per_block", 1)?;
    config::layers(fields, "transformer_layers_per_block", &layers)?;
    let contexts = counts("cross_attention_dim", 1280)?;
    for (width, heads) in widths.iter().zip(&heads) {
        config::divides(fields, "attention_head_dim", *heads, &[*width])?;
    }
    let all = heads.into_iter().zip(layers).zip(contexts);
    Ok(all
        .map(|((heads, layers), context)| Attends {
            heads,
            layers,
            context,
        })
        .collect())
}

/// Which blocks attend, by their names.
fn attending(
    fields: &Fields,
    field: &str,
    way: &str,
    attends: &[Attends],
) -> Result<Vec<Option<Attends>>, ModelError> {
    let names = config::texts(fields, field)?;
    if names.len() != attends.len() {
        let detail = format!("{} blocks, but {} widths", names.len(), attends.len());
        return Err(fields.invalid(field, detail));
    }
    let (plain, crossing) = (format!("{way}Block2D"), format!("CrossAttn{way}Block2D"));
    let attending = names.iter().zip(attends).map(|(name, attends)| {
        if *name == plain {
            return Ok(None);
        }
        if *name == crossing {
            return Ok(Some(*attends));
        }
        Err(fields.invalid(
            field,
            format!("{name:?} is not supported, only {plain} and {crossing} are"),
        ))
    });
    attending.collect()
}

fn text_time(fields: &Fields) -> Result<Option<TextTime>, ModelError> {
    match fields.text("addition_embed_type")? {
        None => Ok(None),
        Some("text_time") => {
            let spread = fields.required(&["addition_time_embed_dim"])?;
            let inputs = fields.required(&["projection_class_embeddings_input_dim"])?;
            if spread % 2 != 0 {
                return Err(fields.invalid("addition_time_embed_dim", "it is odd"));
            }
            Ok(Some(TextTime { spread, inputs }))
        }
        Some(other) => Err(fields.invalid(
            "addition_embed_type",
            format!("{other:?} is not supported, only \"text_time\" is"),
        )),
    }
}

fn guidance_width(fields: &Fields) -> Result<Option<usize>, ModelError> {
    let width = fields.count("time_cond_proj_dim")?;
    match width {
        Some(width) if width < 4 || width % 2 != 0 => {
            Err(fields.invalid("time_cond_proj_dim", format!("{width} is odd, or too few")))
        }
        _ => Ok(width),
    }
}

fn trained_size(fields: &Fields) -> Result<Option<[usize; 2]>, ModelError> {
    match fields.get("sample_size") {
        None => Ok(None),
        Some(Value::Array(_)) => match config::list(fields, "sample_size")?.as_slice() {
            [height, width] => Ok(Some([*height, *width])),
            _ => Err(fields.invalid("sample_size", "it is not a height and a width")),
        },
        Some(_) => Ok(fields.count("sample_size")?.map(|side| [side, side])),
    }
}

impl UnetConfig {
    /// The widths of the prompt's rows, for each transformer's level.
    pub(in crate::models::diffusion) fn contexts(&self) -> impl Iterator<Item = usize> + '_ {
        let levels = self.levels.iter().flat_map(|level| [level.down, level.up]);
        levels
            .chain([self.middle])
            .flatten()
            .map(|attends| attends.context)
    }

    /// Layers of its finest level.
    pub(in crate::models::diffusion) fn layers(&self) -> usize {
        self.levels.first().map_or(0, |level| level.layers)
    }

    /// Whether it is told the prompt's pooled vector, and sizes.
    pub(in crate::models::diffusion) fn is_told_sizes(&self) -> bool {
        self.text_time.is_some()
    }

    /// Fails unless pooled vectors of this width, and six sizes, are what it is told.
    pub(in crate::models::diffusion) fn check_told(
        &self,
        pooled: usize,
        fields: &Fields,
    ) -> Result<(), ModelError> {
        match self.text_time {
            Some(told) if told.inputs != pooled.saturating_add(6 * told.spread) => {
                let detail = format!(
                    "{}, but {pooled} and 6 times {} come together",
                    told.inputs, told.spread
                );
                Err(fields.invalid("projection_class_embeddings_input_dim", detail))
            }
            _ => Ok(()),
        }
    }

    /// About the most values that a step on so many latents holds at once.
    pub(in crate::models::diffusion) fn most_values(&self, latents: u64) -> u64 {
        let mut area = latents;
        let mut skipped: u64 = 0;
        let mut widest: u64 = 0;
        for level in &self.levels {
            let channels = level.channels as u64;
            let layers = level.layers as u64 + 1;
            let values = area.saturating_mul(channels);
            skipped = skipped.saturating_add(values.saturating_mul(layers));
            // A transformer's inner rows, gated; or what a convolution of joined pictures makes.
            widest = widest.max(values.saturating_mul(16));
            area = area.div_ceil(4);
        }
        // The attention scores and their shares are bounded.
        skipped.saturating_add(widest).saturating_add(1 << 23)
    }
}
