//! From `config.json` to a description of towers.

use serde_json::{Value, json};

use super::super::description::{
    Biases, Description, DistanceBias, LayerKind, Placement, Positions,
};
use super::super::families::{MAX_LAYERS, activation, epsilon};
use super::super::names::Names;
use super::description::{Interpolation, Reading, Sight, TextPooling, Towers};
use super::names;
use crate::models::ModelError;
use crate::models::fields::Fields;

/// The `model_type`s that are built in.
pub(super) const SUPPORTED: [&str; 5] =
    ["clip", "dinov2", "dinov2_with_registers", "siglip", "vit"];

/// What a configuration need not say.
struct Usual {
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: usize,
    activation: &'static str,
    epsilon: f64,
    patch: usize,
    vocabulary: usize,
    positions: usize,
}

const CLIP: Usual = Usual {
    hidden: 768,
    intermediate: 3072,
    layers: 12,
    heads: 12,
    activation: "quick_gelu",
    epsilon: 1e-5,
    patch: 32,
    vocabulary: 49_408,
    positions: 77,
};

const CLIP_TEXT: Usual = Usual {
    hidden: 512,
    intermediate: 2048,
    heads: 8,
    ..CLIP
};

const SIGLIP: Usual = Usual {
    activation: "gelu_pytorch_tanh",
    epsilon: 1e-6,
    patch: 16,
    vocabulary: 32_000,
    positions: 64,
    ..CLIP
};

const VIT: Usual = Usual {
    activation: "gelu",
    epsilon: 1e-12,
    patch: 16,
    ..CLIP
};

const DINOV2: Usual = Usual {
    epsilon: 1e-6,
    patch: 14,
    ..VIT
};

const REGISTERED: Usual = Usual {
    patch: 16,
    ..DINOV2
};

/// Reads the description of the towers that `config` names.
pub(super) fn describe(config: &Fields) -> Result<Towers, ModelError> {
    let model_type = config
        .text("model_type")?
        .ok_or_else(|| config.invalid("model_type", "it is missing"))?;
    match model_type {
        "clip" => clip(config),
        "siglip" => siglip(config),
        "dinov2" => dinov2(config, "dinov2"),
        "dinov2_with_registers" => dinov2(config, "dinov2_with_registers"),
        "vit" => vit(config),
        other => Err(ModelError::UnsupportedArchitecture {
            found: other.to_owned(),
            supported: SUPPORTED.to_vec(),
        }),
    }
}

/// CLIP (Radford et al. 2021).
fn clip(config: &Fields) -> Result<Towers, ModelError> {
    let vision = part(config, "vision_config")?;
    let text = part(config, "text_config")?;
    let dimensions = config.count("projection_dim")?.unwrap_or(512);
    let mut sight = sight(&vision, &CLIP, &names::CLIP_VISION, &names::CLIP_SIGHT)?;
    sight.patch_bias = false;
    sight.projection = Some(dimensions);
    let mut transformer = words(&text, &CLIP_TEXT)?;
    transformer.causal = true;
    // Configurations that are older than a correction have a 2, whatever ends a text.
    let pooling = match text.whole("eos_token_id")?.unwrap_or(49_407) {
        2 => TextPooling::Highest,
        id => TextPooling::First(id as u32),
    };
    Ok(Towers {
        family: "clip",
        sight,
        reading: Some(Reading {
            transformer,
            pooling,
            padding: None,
            projection: "text_projection",
            projection_bias: false,
        }),
        unit: true,
    })
}

/// SigLIP (Zhai et al. 2023), or its second version where pictures are of one size.
fn siglip(config: &Fields) -> Result<Towers, ModelError> {
    let vision = part(config, "vision_config")?;
    let text = part(config, "text_config")?;
    vision.only("vision_use_head", &json!(true))?;
    let sight = sight(
        &vision,
        &SIGLIP,
        &names::SIGLIP_VISION,
        &names::SIGLIP_SIGHT,
    )?;
    let transformer = words(&text, &SIGLIP)?;
    let width = sight.transformer.hidden;
    let outputs = text.count("projection_size")?;
    if outputs.unwrap_or(transformer.hidden) != width {
        let detail = format!("texts' vectors are not of the pictures' width {width}");
        return Err(text.invalid("projection_size", detail));
    }
    let padding = text.whole("pad_token_id")?.unwrap_or(1);
    Ok(Towers {
        family: "siglip",
        sight,
        reading: Some(Reading {
            transformer,
            pooling: TextPooling::Last,
            padding: Some(padding as u32),
            projection: "head",
            projection_bias: true,
        }),
        unit: true,
    })
}

/// DINOv2 (Oquab et al. 2023), with registers or without (Darcet et al. 2023).
fn dinov2(config: &Fields, family: &'static str) -> Result<Towers, ModelError> {
    let registered = family != "dinov2";
    let gated = config.flag("use_swiglu_ffn", false)?;
    let (layers, rows) = match (gated, registered) {
        (true, true) => (&names::GATED_DINOV2, &names::REGISTERED_SIGHT),
        (true, false) => (&names::GATED_DINOV2, &names::VIT_SIGHT),
        (false, true) => (&names::DINOV2, &names::REGISTERED_SIGHT),
        (false, false) => (&names::DINOV2, &names::VIT_SIGHT),
    };
    let usual = if registered { &REGISTERED } else { &DINOV2 };
    let mut sight = sight(config, usual, layers, rows)?;
    let ratio = config.number("mlp_ratio")?.unwrap_or(4.0);
    let inside = sight.transformer.hidden as f64 * ratio;
    if !(1.0..=f64::from(1 << 24)).contains(&inside) {
        return Err(config.invalid("mlp_ratio", format!("{ratio} is out of range")));
    }
    // Cut off as the reference does it; a gate takes the place of a third, in whole eights.
    let inside = inside as usize;
    sight.transformer.intermediate = match gated {
        true => ((inside as f64 * 2.0 / 3.0) as usize).next_multiple_of(8),
        false => inside,
    };
    if gated {
        sight.transformer.gated = true;
        sight.transformer.activation = crate::kernels::Activation::Silu;
    }
    sight.transformer.biases.qkv = config.flag("qkv_bias", true)?;
    sight.interpolation = Some(match registered {
        true => Interpolation::Antialiased,
        false => Interpolation::Plain,
    });
    if registered {
        sight.registers = config.whole("num_register_tokens")?.unwrap_or(4);
    }
    Ok(alone(family, sight))
}

/// The first Vision Transformer (Dosovitskiy et al. 2020).
fn vit(config: &Fields) -> Result<Towers, ModelError> {
    let mut sight = sight(config, &VIT, &names::VIT, &names::VIT_SIGHT)?;
    sight.transformer.biases.qkv = config.flag("qkv_bias", true)?;
    Ok(alone("vit", sight))
}

fn alone(family: &'static str, sight: Sight) -> Towers {
    Towers {
        family,
        sight,
        reading: None,
        unit: false,
    }
}

/// The configuration of one tower, in which anything may be left out.
fn part(config: &Fields, field: &str) -> Result<Fields, ModelError> {
    match (config.within(field), config.get(field)) {
        (Some(part), _) => Ok(part),
        (None, None) => Ok(Fields::new(
            format!("config.json, {field}"),
            Value::Object(serde_json::Map::new()),
        )),
        (None, Some(_)) => Err(config.invalid(field, "it is no object")),
    }
}

fn sight(
    config: &Fields,
    usual: &Usual,
    layers: &'static Names,
    names: &'static names::SightNames,
) -> Result<Sight, ModelError> {
    config.only("num_channels", &json!(3))?;
    let patch = config.count("patch_size")?.unwrap_or(usual.patch);
    let side = config.count("image_size")?.unwrap_or(224);
    if side < patch {
        let detail = format!("{side} is less than a patch of {patch}");
        return Err(config.invalid("image_size", detail));
    }
    Ok(Sight {
        transformer: transformer(config, usual, layers)?,
        names,
        side,
        patch,
        patch_bias: true,
        registers: 0,
        interpolation: None,
        projection: None,
    })
}

/// A text tower's layers.
fn words(config: &Fields, usual: &Usual) -> Result<Description, ModelError> {
    let mut description = transformer(config, usual, &names::CLIP_TEXT)?;
    let count = config.count("max_position_embeddings")?;
    let count = count.unwrap_or(usual.positions);
    description.vocabulary = config.count("vocab_size")?.unwrap_or(usual.vocabulary);
    description.positions = Positions::Learned { offset: 0, count };
    description.max_positions = count;
    Ok(description)
}

fn transformer(
    config: &Fields,
    usual: &Usual,
    names: &'static Names,
) -> Result<Description, ModelError> {
    let count = |field, usual| Ok::<_, ModelError>(config.count(field)?.unwrap_or(usual));
    let hidden = count("hidden_size", usual.hidden)?;
    let heads = count("num_attention_heads", usual.heads)?;
    if hidden % heads != 0 {
        let detail = format!("{heads} do not divide hidden_size {hidden}");
        return Err(config.invalid("num_attention_heads", detail));
    }
    let layers = count("num_hidden_layers", usual.layers)?;
    if layers > MAX_LAYERS {
        return Err(config.invalid("num_hidden_layers", format!("{layers} are too many")));
    }
    Ok(Description {
        architecture: config.text("model_type")?.unwrap_or_default().to_owned(),
        hidden,
        vocabulary: 0,
        heads,
        kv_heads: heads,
        head_width: hidden / heads,
        intermediate: count("intermediate_size", usual.intermediate)?,
        activation: activation(config, "hidden_act", usual.activation)?,
        gated: false,
        placement: Placement::Pre,
        rms: false,
        epsilon: epsilon(config, "layer_norm_eps", usual.epsilon)?,
        positions: Positions::None,
        token_types: 0,
        distance_bias: DistanceBias::None,
        scaled: true,
        causal: false,
        biases: Biases::ALL,
        layers: vec![LayerKind::GLOBAL; layers],
        max_positions: 0,
        names,
    })
}
