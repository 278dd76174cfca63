//! From `config.json` to a [`Description`].

use serde_json::{Value, json};

use super::description::{Biases, Description, DistanceBias, LayerKind, Placement, Positions};
use super::names;
use crate::kernels::Activation;
use crate::models::ModelError;
use crate::models::fields::Fields;

/// The `model_type`s that are built in.
pub(super) const SUPPORTED: [&str; 10] = [
    "bert",
    "camembert",
    "distilbert",
    "modernbert",
    "mpnet",
    "nomic_bert",
    "qwen3",
    "roberta",
    "t5",
    "xlm-roberta",
];

/// No real model has as many layers.
pub(super) const MAX_LAYERS: usize = 1024;

/// Reads the description of the architecture that `config` names.
pub(super) fn describe(config: &Fields) -> Result<Description, ModelError> {
    let model_type = config
        .text("model_type")?
        .ok_or_else(|| config.invalid("model_type", "it is missing"))?;
    match model_type {
        "bert" => bert(config),
        "roberta" | "xlm-roberta" | "camembert" => roberta(config),
        "distilbert" => distilbert(config),
        "mpnet" => mpnet(config),
        "modernbert" => modernbert(config),
        "nomic_bert" => nomic_bert(config),
        "qwen3" => qwen3(config),
        "t5" => t5(config),
        other => Err(unsupported(other)),
    }
}

fn unsupported(found: impl Into<String>) -> ModelError {
    ModelError::UnsupportedArchitecture {
        found: found.into(),
        supported: SUPPORTED.to_vec(),
    }
}

/// What the families have in common, with BERT's values where they have not.
fn base(config: &Fields) -> Result<Description, ModelError> {
    let hidden = config.required(&["hidden_size", "dim", "n_embd"])?;
    let heads = config.required(&["num_attention_heads", "n_heads", "n_head"])?;
    let head_width = match config.count("head_dim")? {
        Some(width) => width,
        None if hidden % heads == 0 => hidden / heads,
        None => {
            return Err(config.invalid(
                "num_attention_heads",
                format!("{heads} do not divide hidden_size {hidden}"),
            ));
        }
    };
    let layers = config.required(&["num_hidden_layers", "n_layers", "n_layer"])?;
    if layers > MAX_LAYERS {
        return Err(config.invalid("num_hidden_layers", format!("{layers} are too many")));
    }
    let count = config
        .count("max_position_embeddings")?
        .or(config.count("n_positions")?)
        .unwrap_or(512);
    Ok(Description {
        architecture: config.text("model_type")?.unwrap_or_default().to_owned(),
        hidden,
        vocabulary: config.required(&["vocab_size"])?,
        heads,
        kv_heads: heads,
        head_width,
        intermediate: config.count("intermediate_size")?.unwrap_or(4 * hidden),
        activation: activation(config, "hidden_act", "gelu")?,
        gated: false,
        placement: Placement::Post,
        rms: false,
        epsilon: epsilon(config, "layer_norm_eps", 1e-12)?,
        positions: Positions::Learned { offset: 0, count },
        token_types: config.whole("type_vocab_size")?.unwrap_or(2),
        distance_bias: DistanceBias::None,
        scaled: true,
        causal: false,
        biases: Biases::ALL,
        layers: vec![LayerKind::GLOBAL; layers],
        max_positions: count,
        names: &names::BERT,
    })
}

fn bert(config: &Fields) -> Result<Description, ModelError> {
    let mut description = base(config)?;
    config.only("is_decoder", &json!(false))?;
    match config.text("position_embedding_type")? {
        None | Some("absolute") => {}
        Some("alibi") => {
            // JinaBERT v2 (Günther et al. 2023), which calls itself bert.
            description.architecture = "bert (alibi)".to_owned();
            description.positions = Positions::None;
            description.distance_bias = DistanceBias::Alibi;
            description.activation = match config.text("feed_forward_type")? {
                Some("geglu") => Activation::Gelu,
                Some("reglu") => Activation::Relu,
                Some("swiglu") => Activation::Silu,
                other => {
                    let detail = format!("{} is not supported", other.unwrap_or("none"));
                    return Err(config.invalid("feed_forward_type", detail));
                }
            };
            description.gated = true;
            description.biases.mlp_in = false;
            description.names = &names::JINA_BERT;
        }
        Some(other) => return Err(unsupported(format!("bert with {other} positions"))),
    }
    Ok(description)
}

fn roberta(config: &Fields) -> Result<Description, ModelError> {
    let mut description = base(config)?;
    config.only("is_decoder", &json!(false))?;
    config.only("position_embedding_type", &json!("absolute"))?;
    let offset = config.whole("pad_token_id")?.unwrap_or(1) + 1;
    set_offset(config, &mut description, offset)?;
    Ok(description)
}

/// Tokens take positions from `offset` on.
fn set_offset(
    config: &Fields,
    description: &mut Description,
    offset: usize,
) -> Result<(), ModelError> {
    let count = description.max_positions;
    if offset >= count {
        return Err(config.invalid(
            "max_position_embeddings",
            format!("{count} leave no room after the padding's {offset}"),
        ));
    }
    description.positions = Positions::Learned { offset, count };
    description.max_positions = count - offset;
    Ok(())
}

fn distilbert(config: &Fields) -> Result<Description, ModelError> {
    let mut description = base(config)?;
    description.intermediate = config
        .count("hidden_dim")?
        .unwrap_or(description.intermediate);
    description.activation = activation(config, "activation", "gelu")?;
    // Not a field of this family: its code has the number.
    description.epsilon = 1e-12;
    description.token_types = 0;
    description.names = &names::DISTILBERT;
    Ok(description)
}

fn mpnet(config: &Fields) -> Result<Description, ModelError> {
    let mut description = base(config)?;
    set_offset(config, &mut description, 2)?;
    description.token_types = 0;
    // The reference always sorts distances into 32 buckets, whatever the table's length.
    let count = config
        .count("relative_attention_num_buckets")?
        .unwrap_or(32);
    if count < 32 {
        return Err(config.invalid("relative_attention_num_buckets", "fewer than 32"));
    }
    description.distance_bias = DistanceBias::Buckets { count };
    description.names = &names::MPNET;
    Ok(description)
}

/// ModernBERT (Warner et al. 2024).
fn modernbert(config: &Fields) -> Result<Description, ModelError> {
    let mut description = base(config)?;
    description.activation = activation(config, "hidden_activation", "gelu")?;
    description.gated = true;
    description.placement = Placement::Pre;
    description.epsilon = epsilon(config, "norm_eps", 1e-5)?;
    description.positions = Positions::Rotary;
    description.token_types = 0;
    let attention = config.flag("attention_bias", false)?;
    let mlp = config.flag("mlp_bias", false)?;
    description.biases = Biases {
        qkv: attention,
        attention_out: attention,
        mlp_in: mlp,
        mlp_out: mlp,
        norm: config.flag("norm_bias", false)?,
    };
    // Half of the window lies on each side.
    let window = config.whole("local_attention")?.unwrap_or(128) / 2;
    let every = config.count("global_attn_every_n_layers")?.unwrap_or(3);
    let kinds = layer_types(config, description.layers.len())?;
    let global = rope_theta(
        config,
        Some("full_attention"),
        "global_rope_theta",
        160_000.0,
    )?;
    let local = rope_theta(
        config,
        Some("sliding_attention"),
        "local_rope_theta",
        10_000.0,
    )?;
    for (number, layer) in description.layers.iter_mut().enumerate() {
        let is_global = kinds
            .as_ref()
            .map_or(number % every == 0, |kinds| kinds[number]);
        *layer = LayerKind {
            window: (!is_global).then_some(window),
            theta: if is_global { global } else { local },
            attention_norm: number > 0,
        };
    }
    description.names = &names::MODERNBERT;
    Ok(description)
}

/// Nomic Embed (Nussbaum et al. 2024), in the fields of its own code or in those of transformers.
fn nomic_bert(config: &Fields) -> Result<Description, ModelError> {
    let mut description = base(config)?;
    let own = config.get("n_embd").is_some();
    description.positions = Positions::Rotary;
    description.gated = true;
    description.activation = Activation::Silu;
    description.biases = Biases::NORMS_ONLY;
    description.names = &names::NOMIC_BERT;
    let default_theta = if own { 10_000.0 } else { 1_000.0 };
    let theta = rope_theta(config, None, "rotary_emb_base", default_theta)?;
    if own {
        config.only("activation_function", &json!("swiglu"))?;
        config.only("prenorm", &json!(false))?;
        config.only("use_rms_norm", &json!(false))?;
        config.only("rotary_emb_interleaved", &json!(false))?;
        if config.number("rotary_emb_fraction")?.unwrap_or(1.0) != 1.0 {
            return Err(config.invalid("rotary_emb_fraction", "only 1.0 is supported"));
        }
        if config.number("rotary_scaling_factor")?.is_some() {
            return Err(config.invalid("rotary_scaling_factor", "only null is supported"));
        }
        description.intermediate = config.required(&["n_inner"])?;
        description.epsilon = epsilon(config, "layer_norm_epsilon", 1e-12)?;
        let mlp = config.flag("mlp_fc1_bias", false)?;
        description.biases = Biases {
            qkv: config.flag("qkv_proj_bias", false)?,
            attention_out: config.flag("qkv_proj_bias", false)?,
            mlp_in: mlp,
            mlp_out: config.flag("mlp_fc2_bias", mlp)?,
            norm: true,
        };
    } else {
        description.activation = activation(config, "hidden_act", "silu")?;
    }
    for layer in &mut description.layers {
        layer.theta = theta;
    }
    Ok(description)
}

/// Qwen3 Embedding (Zhang et al. 2025): a decoder whose last token stands for the text.
fn qwen3(config: &Fields) -> Result<Description, ModelError> {
    config.only("use_sliding_window", &json!(false))?;
    config.only("is_causal", &json!(true))?;
    let mut description = base(config)?;
    let heads = description.heads;
    description.kv_heads = config.count("num_key_value_heads")?.unwrap_or(heads);
    if !heads.is_multiple_of(description.kv_heads) {
        return Err(config.invalid("num_key_value_heads", format!("does not divide {heads}")));
    }
    description.activation = activation(config, "hidden_act", "silu")?;
    description.gated = true;
    description.placement = Placement::Pre;
    description.rms = true;
    description.epsilon = epsilon(config, "rms_norm_eps", 1e-6)?;
    description.positions = Positions::Rotary;
    description.token_types = 0;
    description.causal = true;
    let attention = config.flag("attention_bias", false)?;
    description.biases = Biases {
        qkv: attention,
        attention_out: attention,
        mlp_in: false,
        mlp_out: false,
        norm: false,
    };
    let theta = rope_theta(config, None, "rope_theta", 10_000.0)?;
    for layer in &mut description.layers {
        layer.theta = theta;
    }
    description.names = &names::QWEN3;
    Ok(description)
}

/// The encoder of T5 (Raffel et al. 2020), the first or version 1.1.
fn t5(config: &Fields) -> Result<Description, ModelError> {
    config.only("relative_attention_num_buckets", &json!(32))?;
    config.only("relative_attention_max_distance", &json!(128))?;
    let hidden = config.required(&["d_model"])?;
    let heads = config.required(&["num_heads"])?;
    let layers = config.required(&["num_layers"])?;
    if layers > MAX_LAYERS {
        return Err(config.invalid("num_layers", format!("{layers} are too many")));
    }
    let (activation, gated) = match config.text("feed_forward_proj")?.unwrap_or("relu") {
        "relu" => (Activation::Relu, false),
        "gated-gelu" => (Activation::GeluTanh, true),
        "gated-silu" => (Activation::Silu, true),
        other => {
            let detail = format!("{other} is not supported");
            return Err(config.invalid("feed_forward_proj", detail));
        }
    };
    Ok(Description {
        architecture: "t5".to_owned(),
        hidden,
        vocabulary: config.required(&["vocab_size"])?,
        heads,
        kv_heads: heads,
        head_width: config.count("d_kv")?.unwrap_or(64),
        intermediate: config.required(&["d_ff"])?,
        activation,
        gated,
        placement: Placement::Pre,
        rms: true,
        epsilon: epsilon(config, "layer_norm_epsilon", 1e-6)?,
        positions: Positions::None,
        token_types: 0,
        distance_bias: DistanceBias::Buckets { count: 32 },
        scaled: false,
        causal: false,
        biases: Biases::NONE,
        layers: vec![LayerKind::GLOBAL; layers],
        max_positions: config.count("n_positions")?.unwrap_or(512),
        names: if gated { &names::T5 } else { &names::FIRST_T5 },
    })
}

pub(super) fn activation(
    config: &Fields,
    field: &str,
    default: &str,
) -> Result<Activation, ModelError> {
    match config.text(field)?.unwrap_or(default) {
        "gelu" | "gelu_python" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        "quick_gelu" => Ok(Activation::QuickGelu),
        "relu" => Ok(Activation::Relu),
        "silu" | "swish" => Ok(Activation::Silu),
        "tanh" => Ok(Activation::Tanh),
        other => Err(config.invalid(field, format!("activation {other} is not supported"))),
    }
}

pub(super) fn epsilon(config: &Fields, field: &str, default: f64) -> Result<f32, ModelError> {
    let value = config.number(field)?.unwrap_or(default);
    if value >= 0.0 {
        Ok(value as f32)
    } else {
        Err(config.invalid(field, format!("{value} is negative")))
    }
}

/// For each layer whether it sees the whole text, where the configuration lists them.
fn layer_types(config: &Fields, layers: usize) -> Result<Option<Vec<bool>>, ModelError> {
    let Some(list) = config.get("layer_types").and_then(Value::as_array) else {
        return Ok(None);
    };
    let kinds: Vec<bool> = list.iter().map(|kind| kind == "full_attention").collect();
    if kinds.len() == layers {
        Ok(Some(kinds))
    } else {
        let detail = format!("{} entries for {layers} layers", kinds.len());
        Err(config.invalid("layer_types", detail))
    }
}

/// RoPE's base: in `rope_parameters` (of one kind of layer), or in the older field `plain`.
fn rope_theta(
    config: &Fields,
    kind: Option<&str>,
    plain: &str,
    default: f64,
) -> Result<f64, ModelError> {
    config.only("rope_scaling", &Value::Null)?;
    let mut parameters = config.within("rope_parameters");
    if let (Some(kind), Some(all)) = (kind, &parameters) {
        parameters = all.within(kind);
    }
    let nested = match &parameters {
        Some(parameters) => {
            parameters.only("rope_type", &json!("default"))?;
            parameters.number("rope_theta")?
        }
        None => None,
    };
    let theta = match nested {
        Some(theta) => theta,
        None => config.number(plain)?.unwrap_or(default),
    };
    if theta > 0.0 {
        Ok(theta)
    } else {
        Err(config.invalid(plain, format!("{theta} is not positive")))
    }
}
