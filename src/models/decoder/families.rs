//! From `config.json` to a [`Description`].

use serde_json::{Value, json};

use super::description::{
    Biases, Description, HeadNorm, LayerKind, Norms, Parts, Rotary, RotaryScaling, alternating,
};
use super::names;
use super::rope::Scaling;
use crate::kernels::Activation;
use crate::models::ModelError;
use crate::models::fields::Fields;

/// The `model_type`s that are built in.
pub(super) const SUPPORTED: [&str; 13] = [
    "gemma",
    "gemma2",
    "gemma3_text",
    "granite",
    "llama",
    "mistral",
    "olmo2",
    "phi",
    "phi3",
    "qwen2",
    "qwen2_5_vl_text",
    "qwen3",
    "smollm3",
];

/// What stands for the `model_type` of Moondream's language model, whose files do not name it.
pub(in crate::models) const MOONDREAM: &str = "moondream_phi";

/// No real model has as many layers.
pub(super) const MAX_LAYERS: usize = 1024;

/// Reads the description of the architecture that `config` names.
pub(super) fn describe(config: &Fields) -> Result<Description, ModelError> {
    let model_type = config
        .text("model_type")?
        .ok_or_else(|| config.invalid("model_type", "it is missing"))?;
    let unsupported = |found: String| ModelError::UnsupportedArchitecture {
        found,
        supported: SUPPORTED.to_vec(),
    };
    for field in ["num_local_experts", "num_experts", "n_routed_experts"] {
        if config.whole(field)?.is_some_and(|experts| experts > 0) {
            return Err(unsupported(format!("{model_type} with experts ({field})")));
        }
    }
    let mut description = base(config, model_type)?;
    match model_type {
        "llama" | "mistral" => {}
        "qwen2" | "qwen2_5_vl_text" => description.biases.qkv = true,
        "qwen3" => description.head_norm = HeadNorm::PerHead,
        "gemma" | "gemma2" | "gemma3_text" => gemma(config, model_type, &mut description)?,
        "phi" | MOONDREAM => phi(config, &mut description)?,
        "phi3" => description.parts = Parts::Fused,
        "granite" => {
            let number = |field, default| {
                Ok::<_, ModelError>(config.number(field)?.unwrap_or(default) as f32)
            };
            description.attention_scale = number("attention_multiplier", 1.0)?;
            description.embedding_scale = number("embedding_multiplier", 1.0)?;
            description.residual_scale = number("residual_multiplier", 1.0)?;
            description.logit_scale = 1.0 / number("logits_scaling", 1.0)?;
        }
        "smollm3" => without_positions(config, &mut description)?,
        "olmo2" => {
            description.norms = Norms::After;
            description.head_norm = HeadNorm::Whole;
            description.names = &names::HUB_POST;
        }
        other => return Err(unsupported(other.to_owned())),
    }
    if let Some(kinds) = config.get("layer_types") {
        layer_types(config, kinds, &mut description)?;
    }
    if !description.logit_scale.is_finite() {
        return Err(config.invalid("logits_scaling", "0 is impossible"));
    }
    Ok(description)
}

/// What all families share, read as Llama has it.
fn base(config: &Fields, model_type: &str) -> Result<Description, ModelError> {
    let hidden = config.required(&["hidden_size"])?;
    let heads = config.required(&["num_attention_heads"])?;
    let kv_heads = config.count("num_key_value_heads")?.unwrap_or(heads);
    if heads % kv_heads != 0 {
        return Err(config.invalid(
            "num_key_value_heads",
            format!("{kv_heads} do not divide {heads} heads"),
        ));
    }
    let head_width = match config.count("head_dim")? {
        Some(width) => width,
        None if hidden % heads == 0 => hidden / heads,
        None => {
            return Err(config.invalid(
                "num_attention_heads",
                format!("{heads} do not divide a width of {hidden}"),
            ));
        }
    };
    let count = config.required(&["num_hidden_layers"])?;
    if count > MAX_LAYERS {
        return Err(config.invalid(
            "num_hidden_layers",
            format!("{count} are more than {MAX_LAYERS}"),
        ));
    }
    let context = config.required(&["max_position_embeddings"])?;
    let rope = config
        .within("rope_parameters")
        .or_else(|| config.within("rope_scaling"));
    let theta = base_theta(config, rope.as_ref())?;
    let rotary = rotary(config, rope.as_ref(), theta, head_width, context)?;
    // Qwen 2 and 3 have a window in their files that is used only when they say so.
    let window = match config.flag("use_sliding_window", true)? {
        true => config.count("sliding_window")?,
        false => None,
    };
    let whole = matches!(model_type, "qwen2" | "qwen2_5_vl_text" | "qwen3");
    let layer = LayerKind {
        window: window.filter(|_| !whole),
        rotary: Some(0),
    };
    let bias = config.flag("attention_bias", false)?;
    Ok(Description {
        architecture: model_type.to_owned(),
        hidden,
        vocabulary: config.required(&["vocab_size"])?,
        heads,
        kv_heads,
        head_width,
        intermediate: config.required(&["intermediate_size"])?,
        activation: activation(config)?,
        gated: true,
        norms: Norms::Before,
        head_norm: HeadNorm::None,
        layer_norms: false,
        epsilon: config.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
        norm_shift: 0.0,
        biases: Biases {
            qkv: bias,
            attention_out: bias,
            mlp: config.flag("mlp_bias", false)?,
            head: false,
        },
        parts: Parts::Apart,
        interleaved: false,
        attention_scale: 1.0 / (head_width as f32).sqrt(),
        attention_cap: None,
        logit_cap: None,
        embedding_scale: 1.0,
        residual_scale: 1.0,
        logit_scale: 1.0,
        tied: config.flag(
            "tie_word_embeddings",
            matches!(model_type, "gemma" | "gemma2" | "gemma3_text"),
        )?,
        rotaries: vec![rotary],
        layers: vec![layer; count],
        context,
        names: &names::HUB,
    })
}

fn activation(config: &Fields) -> Result<Activation, ModelError> {
    for field in ["hidden_activation", "hidden_act"] {
        match config.text(field)? {
            None => {}
            Some("silu" | "swish") => return Ok(Activation::Silu),
            // Gemma's first files say "gelu" and mean its approximation.
            Some("gelu_pytorch_tanh" | "gelu_new" | "gelu_fast") => {
                return Ok(Activation::GeluTanh);
            }
            Some("gelu") => return Ok(Activation::Gelu),
            Some("relu") => return Ok(Activation::Relu),
            Some(other) => {
                return Err(config.invalid(field, format!("{other} is not supported")));
            }
        }
    }
    Ok(Activation::Silu)
}

/// What sets Gemma apart from Llama, in all its generations.
fn gemma(
    config: &Fields,
    model_type: &str,
    description: &mut Description,
) -> Result<(), ModelError> {
    description.norm_shift = 1.0;
    description.embedding_scale = (description.hidden as f32).sqrt();
    if model_type == "gemma" {
        // Its first files say "gelu" and mean the approximation.
        description.activation = Activation::GeluTanh;
        return Ok(());
    }
    config.only("use_bidirectional_attention", &json!(false))?;
    description.norms = Norms::Around;
    description.names = &names::HUB_POST;
    if let Some(scalar) = config.number("query_pre_attn_scalar")? {
        description.attention_scale = 1.0 / (scalar as f32).sqrt();
    }
    let cap = |field| Ok::<_, ModelError>(config.number(field)?.map(|cap| cap as f32));
    description.attention_cap = cap("attn_logit_softcapping")?;
    description.logit_cap = cap("final_logit_softcapping")?;
    let window = config.required(&["sliding_window"])?;
    let global = LayerKind {
        window: None,
        rotary: Some(0),
    };
    let local = LayerKind {
        window: Some(window),
        rotary: Some(0),
    };
    let count = description.layers.len();
    if model_type == "gemma2" {
        description.layers = alternating(count, 2, local, global);
        return Ok(());
    }
    description.head_norm = HeadNorm::PerHead;
    let of_kind = |kind| {
        config
            .within("rope_parameters")
            .and_then(|kinds| kinds.within(kind))
    };
    let (global_rope, local_rope) = (of_kind("full_attention"), of_kind("sliding_attention"));
    let width = description.head_width;
    if let Some(rope) = global_rope {
        let theta = rope.number("rope_theta")?.unwrap_or(1e6);
        description.rotaries = vec![rotary(
            config,
            Some(&rope),
            theta,
            width,
            description.context,
        )?];
    }
    let theta = match &local_rope {
        Some(rope) => rope.number("rope_theta")?,
        None => config.number("rope_local_base_freq")?,
    };
    let theta = theta.unwrap_or(1e4);
    let rope = local_rope.as_ref();
    let local_rotary = rotary(config, rope, theta, width, description.context)?;
    description.rotaries.push(local_rotary);
    let local = LayerKind {
        rotary: Some(1),
        ..local
    };
    let period = config.count("sliding_window_pattern")?.unwrap_or(6);
    description.layers = alternating(count, period, local, global);
    Ok(())
}

/// What sets the first Phi apart from Llama.
fn phi(config: &Fields, description: &mut Description) -> Result<(), ModelError> {
    config.only("qk_layernorm", &json!(false))?;
    description.norms = Norms::Shared;
    description.layer_norms = true;
    description.epsilon = config.number("layer_norm_eps")?.unwrap_or(1e-5) as f32;
    if description.epsilon <= 0.0 {
        let detail = format!("{} is impossible", description.epsilon);
        return Err(config.invalid("layer_norm_eps", detail));
    }
    description.gated = false;
    description.biases = Biases {
        qkv: true,
        attention_out: true,
        mlp: true,
        head: true,
    };
    description.names = &names::HUB_PHI;
    if description.architecture == MOONDREAM {
        description.names = &names::MOONDREAM;
        description.parts = Parts::Fused;
    }
    Ok(())
}

/// SmolLM 3: every fourth layer knows no positions.
fn without_positions(config: &Fields, description: &mut Description) -> Result<(), ModelError> {
    let interval = config.count("no_rope_layer_interval")?.unwrap_or(4);
    let listed = match config.get("no_rope_layers") {
        None => None,
        Some(list) => Some(
            list.as_array()
                .filter(|list| list.len() == description.layers.len())
                .and_then(|list| list.iter().map(Value::as_u64).collect::<Option<Vec<_>>>())
                .ok_or_else(|| config.invalid("no_rope_layers", "it does not fit the layers"))?,
        ),
    };
    for (number, layer) in description.layers.iter_mut().enumerate() {
        let turned = match &listed {
            Some(list) => list.get(number).is_some_and(|flag| *flag != 0),
            None => !(number + 1).is_multiple_of(interval),
        };
        if !turned {
            layer.rotary = None;
        }
    }
    Ok(())
}

/// The list that newer files have says of each layer whether it is local.
fn layer_types(
    config: &Fields,
    kinds: &Value,
    description: &mut Description,
) -> Result<(), ModelError> {
    let fits = kinds
        .as_array()
        .filter(|kinds| kinds.len() == description.layers.len())
        .ok_or_else(|| config.invalid("layer_types", "it does not fit the layers"))?;
    let dual = description.rotaries.len() > 1;
    for (layer, kind) in description.layers.iter_mut().zip(fits) {
        match kind.as_str() {
            Some("full_attention") => {
                layer.window = None;
                if dual {
                    layer.rotary = Some(0);
                }
            }
            Some("sliding_attention") => {
                layer.window = Some(config.required(&["sliding_window"])?);
                if dual {
                    layer.rotary = Some(1);
                }
            }
            _ => return Err(config.invalid("layer_types", format!("{kind} is not supported"))),
        }
    }
    Ok(())
}

fn base_theta(config: &Fields, rope: Option<&Fields>) -> Result<f64, ModelError> {
    let nested = match rope {
        Some(rope) => rope.number("rope_theta")?,
        None => None,
    };
    let theta = nested.or(config.number("rope_theta")?).unwrap_or(1e4);
    if theta > 1.0 {
        Ok(theta)
    } else {
        Err(config.invalid("rope_theta", format!("{theta} is too small")))
    }
}

/// One kind of rotary positions, from the object that describes it.
fn rotary(
    config: &Fields,
    rope: Option<&Fields>,
    theta: f64,
    head_width: usize,
    context: usize,
) -> Result<Rotary, ModelError> {
    let nested = match rope {
        Some(rope) => rope.number("partial_rotary_factor")?,
        None => None,
    };
    let share = nested.or(config.number("partial_rotary_factor")?);
    let usual = match config.text("model_type")? {
        Some("phi" | MOONDREAM) => 0.5,
        _ => 1.0,
    };
    let share = share.unwrap_or(usual);
    let width = (head_width as f64 * share) as usize;
    if width == 0 || width > head_width || !width.is_multiple_of(2) {
        return Err(config.invalid(
            "partial_rotary_factor",
            format!("{width} of {head_width} components cannot be turned"),
        ));
    }
    let scaling = match rope {
        Some(rope) => scaling(config, rope, width, context)?,
        None => RotaryScaling::Fixed(Scaling::None),
    };
    let axes = match rope {
        Some(rope) => axes(rope, width)?,
        None => Vec::new(),
    };
    Ok(Rotary {
        theta,
        width,
        scaling,
        axes,
    })
}

/// By which of its three positions a token's pairs of components are turned: in Qwen's language
/// models that look at pictures, a share of the pairs by each, one share after the other.
fn axes(rope: &Fields, width: usize) -> Result<Vec<u8>, ModelError> {
    const FIELD: &str = "mrope_section";
    let Some(sections) = rope.get(FIELD) else {
        return Ok(Vec::new());
    };
    rope.only("mrope_interleaved", &json!(false))?;
    let counts = sections
        .as_array()
        .filter(|counts| counts.len() == 3)
        .and_then(|counts| counts.iter().map(Value::as_u64).collect::<Option<Vec<_>>>())
        .filter(|counts| counts.iter().all(|count| *count <= width as u64))
        .filter(|counts| counts.iter().sum::<u64>() == width as u64 / 2)
        .ok_or_else(|| rope.invalid(FIELD, format!("it does not divide {} pairs", width / 2)))?;
    let shares = (0..).zip(counts);
    Ok(shares
        .flat_map(|(axis, count)| std::iter::repeat_n(axis, count as usize))
        .collect())
}

fn scaling(
    config: &Fields,
    rope: &Fields,
    width: usize,
    context: usize,
) -> Result<RotaryScaling, ModelError> {
    let kind = rope.text("rope_type")?.or(rope.text("type")?);
    let positive = |field: &'static str| match rope.number(field)? {
        Some(number) if number > 0.0 => Ok(Some(number)),
        Some(number) => Err(rope.invalid(field, format!("{number} is too small"))),
        None => Ok(None),
    };
    let needed =
        |field: &'static str| positive(field)?.ok_or_else(|| rope.invalid(field, "it is missing"));
    let original = || {
        let field = "original_max_position_embeddings";
        Ok::<_, ModelError>(positive(field)?.or(config.number(field)?))
    };
    let fixed = match kind.unwrap_or("default") {
        "default" | "mrope" => Scaling::None,
        "linear" => Scaling::Linear(needed("factor")?),
        "llama3" => Scaling::Llama3 {
            factor: needed("factor")?,
            low: needed("low_freq_factor")?,
            high: needed("high_freq_factor")?,
            original: needed("original_max_position_embeddings")?,
        },
        "yarn" => {
            for field in ["mscale", "mscale_all_dim"] {
                rope.only(field, &Value::Null)?;
            }
            rope.only("truncate", &json!(true))?;
            Scaling::Yarn {
                factor: needed("factor")?,
                original: original()?.unwrap_or(context as f64),
                beta_fast: positive("beta_fast")?.unwrap_or(32.0),
                beta_slow: positive("beta_slow")?.unwrap_or(1.0),
                attention: positive("attention_factor")?,
            }
        }
        "longrope" | "su" => return long_rope(rope, width, context, original()?),
        other => {
            return Err(rope.invalid("rope_type", format!("{other} is not supported")));
        }
    };
    Ok(RotaryScaling::Fixed(fixed))
}

fn long_rope(
    rope: &Fields,
    width: usize,
    context: usize,
    original: Option<f64>,
) -> Result<RotaryScaling, ModelError> {
    let original = original
        .filter(|original| *original > 1.0)
        .ok_or_else(|| rope.invalid("original_max_position_embeddings", "it is missing"))?;
    let factor = context as f64 / original;
    let attention = match rope.number("attention_factor")? {
        Some(attention) => attention,
        None => long_rope_attention(factor, original),
    };
    let factors = |field: &str| {
        rope.get(field)
            .and_then(Value::as_array)
            .and_then(|list| list.iter().map(Value::as_f64).collect::<Option<Vec<_>>>())
            .filter(|list| list.len() == width / 2 && list.iter().all(|factor| *factor > 0.0))
            .map(|list| Scaling::Each {
                factors: list.into_iter().map(|factor| factor as f32).collect(),
                attention,
            })
            .ok_or_else(|| rope.invalid(field, format!("it is not {} factors", width / 2)))
    };
    Ok(RotaryScaling::ByContext {
        short: factors("short_factor")?,
        long: factors("long_factor")?,
        original: original as usize,
    })
}

/// LongRoPE's own factor for what is turned.
pub(super) fn long_rope_attention(factor: f64, original: f64) -> f64 {
    if factor <= 1.0 {
        1.0
    } else {
        (1.0 + factor.ln() / original.ln()).sqrt()
    }
}
