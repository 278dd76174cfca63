//! From `config.json` to what a vision-language model is.

use serde_json::{Value, json};

use super::description::{Places, Projector, Sight, Tower};
use super::{moondream, names};
use crate::kernels::Activation;
use crate::models::ModelError;
use crate::models::checkpoint::Checkpoint;
use crate::models::fields::Fields;

/// The `model_type`s that are built in.
pub(super) const SUPPORTED: [&str; 4] = ["blip", "llava", "moondream1", "qwen2_5_vl"];

const FILE: &str = "config.json";

/// No real tower has as many layers.
const MAX_LAYERS: usize = 1024;
/// Nor does a real one take pictures of longer sides.
const MAX_SIDE: usize = 1 << 14;

/// A conversation for folders that have no template: what LLaVA 1.5 was taught.
const LLAVA_TEMPLATE: &str = "{% for message in messages %}{{ message['role'].upper() + ': ' }}\
    {% for part in message['content'] %}{{ '<image>\n' if part['type'] == 'image' else part['text'] + ' ' }}\
    {% endfor %}{% endfor %}{{ 'ASSISTANT:' }}";

/// What `config.json` says of a model.
#[derive(Debug, Clone)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) sight: Sight,
    /// The configuration of its language model.
    pub(super) text: Fields,
    pub(super) prompt: Prompt,
    /// What makes of pictures what the tower takes, where the folder does not say.
    pub(super) preprocessor: Option<String>,
}

/// How a query becomes a prompt.
#[derive(Debug, Clone)]
pub(super) enum Prompt {
    /// By a chat template.
    Chat {
        /// The token that stands for the picture in the template's text.
        placeholder: u32,
        /// The template of folders that have none.
        usual: Option<&'static str>,
    },
    /// The picture stands first, and the query between these texts.
    Question {
        before: &'static str,
        after: &'static str,
    },
}

/// Reads the description of the model that `config` names, with the headers of its weights where that says
/// less than all.
pub(super) fn describe(config: Value, checkpoint: &Checkpoint) -> Result<Family, ModelError> {
    let fields = Fields::new(FILE, config.clone());
    match fields.text("model_type")? {
        Some("llava") => llava(&fields, config),
        Some("moondream1") => moondream::describe(&fields, &config, checkpoint),
        Some("qwen2_5_vl") => qwen(&fields, config),
        Some(other) => Err(ModelError::UnsupportedArchitecture {
            found: other.to_owned(),
            supported: SUPPORTED.to_vec(),
        }),
        None => Err(fields.invalid("model_type", "it is missing")),
    }
}

fn llava(config: &Fields, value: Value) -> Result<Family, ModelError> {
    let vision = part(config, "vision_config")?;
    match vision.text("model_type")? {
        Some("clip_vision_model") | None => {}
        Some(other) => {
            return Err(ModelError::UnsupportedArchitecture {
                found: format!("llava with {other}"),
                supported: SUPPORTED.to_vec(),
            });
        }
    }
    let mut text = text_of(&value);
    if text.get("model_type").and_then(Value::as_str) == Some("llama") {
        // What a file leaves out is as in the first Llama.
        let usual = json!({
            "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
            "num_attention_heads": 32, "vocab_size": 32000, "max_position_embeddings": 2048,
        });
        add_missing(&mut text, &usual);
    }
    let text = Fields::new(FILE, text);
    let outputs = text.required(&["hidden_size"])?;
    let layers = vision.count("num_hidden_layers")?.unwrap_or(24);
    let mut tower = Tower {
        layers: vec![true; run_layers(config, layers)?],
        epsilon: epsilon(&vision, 1e-5)?,
        activation: activation(&vision, "hidden_act", Activation::QuickGelu)?,
        ..clip(&vision)?
    };
    tower.size = Some([fixed_side(&vision, tower.patch, 336)?; 2]);
    let drops_class = match config.text("vision_feature_select_strategy")? {
        None | Some("default") => true,
        Some("full") => false,
        Some(other) => {
            let detail = format!("{other} is not supported");
            return Err(config.invalid("vision_feature_select_strategy", detail));
        }
    };
    Ok(Family {
        name: "llava",
        sight: Sight {
            projector: Some(Projector {
                names: &names::LLAVA_PROJECTOR,
                drops_class,
                epsilon: 0.0,
                inside: outputs,
                activation: activation(config, "projector_hidden_act", Activation::Gelu)?,
                biases: config.flag("multimodal_projector_bias", true)?,
                outputs,
            }),
            tower,
            in_grid: false,
        },
        text,
        prompt: Prompt::Chat {
            placeholder: token(config, &["image_token_index", "image_token_id"])?,
            usual: Some(LLAVA_TEMPLATE),
        },
        preprocessor: None,
    })
}

/// A tower as CLIP has it.
fn clip(vision: &Fields) -> Result<Tower, ModelError> {
    let hidden = vision.count("hidden_size")?.unwrap_or(1024);
    let heads = vision.count("num_attention_heads")?.unwrap_or(16);
    require_whole_heads(vision, "num_attention_heads", hidden, heads, 1)?;
    vision.only("num_channels", &json!(3))?;
    Ok(Tower {
        names: &names::CLIP,
        hidden,
        heads,
        intermediate: vision.count("intermediate_size")?.unwrap_or(4096),
        activation: Activation::QuickGelu,
        rms: false,
        epsilon: 1e-5,
        layers: Vec::new(),
        patch: side(vision, "patch_size", 14)?,
        frames: 1,
        patch_bias: false,
        places: Places::Learned,
        size: None,
        merge: 1,
        window: MAX_SIDE,
    })
}

/// How many of the tower's layers are run: those whose result the projector takes.
fn run_layers(config: &Fields, layers: usize) -> Result<usize, ModelError> {
    const FIELD: &str = "vision_feature_layer";
    let chosen = match config.get(FIELD) {
        None => -2,
        Some(value) => value
            .as_i64()
            .ok_or_else(|| config.invalid(FIELD, format!("{value} is not one layer")))?,
    };
    let run = match chosen {
        0.. => Some(chosen),
        _ => i64::try_from(layers)
            .ok()
            .and_then(|layers| layers.checked_add(1)?.checked_add(chosen)),
    };
    run.and_then(|run| usize::try_from(run).ok())
        .filter(|run| (1..=layers.min(MAX_LAYERS)).contains(run))
        .ok_or_else(|| config.invalid(FIELD, format!("{chosen} of {layers} layers")))
}

fn qwen(config: &Fields, value: Value) -> Result<Family, ModelError> {
    let vision = part(config, "vision_config")?;
    let mut text = text_of(&value);
    if let Some(fields) = text.as_object_mut() {
        // Older files have the language model's fields beside the tower's.
        fields.insert("model_type".to_owned(), json!("qwen2_5_vl_text"));
    }
    let text = Fields::new(FILE, text);
    let hidden = vision.required(&["hidden_size"])?;
    let heads = vision.required(&["num_heads"])?;
    require_whole_heads(&vision, "num_heads", hidden, heads, 4)?;
    for channels in ["in_channels", "in_chans"] {
        vision.only(channels, &json!(3))?;
    }
    let patch = side(&vision, "patch_size", 14)?;
    let merge = side(&vision, "spatial_merge_size", 2)?;
    let window = vision.count("window_size")?.unwrap_or(112) / merge / patch;
    if window == 0 {
        return Err(vision.invalid("window_size", "it is smaller than a square of patches"));
    }
    let rope = vision.within("rope_parameters");
    let theta = match &rope {
        Some(rope) => rope.number("rope_theta")?.unwrap_or(1e4),
        None => 1e4,
    };
    if theta <= 1.0 {
        return Err(vision.invalid("rope_theta", format!("{theta} is too small")));
    }
    let outputs = text.required(&["hidden_size"])?;
    if let Some(found) = vision
        .count("out_hidden_size")?
        .filter(|out| *out != outputs)
    {
        let detail = format!("{found} is not the language model's {outputs}");
        return Err(vision.invalid("out_hidden_size", detail));
    }
    let tower = Tower {
        names: &names::QWEN,
        hidden,
        heads,
        intermediate: vision.required(&["intermediate_size"])?,
        activation: activation(&vision, "hidden_act", Activation::Silu)?,
        rms: true,
        epsilon: 1e-6,
        layers: seeing_all(&vision)?,
        patch,
        frames: side(&vision, "temporal_patch_size", 2)?,
        patch_bias: false,
        places: Places::Rotary { theta },
        size: None,
        merge,
        window,
    };
    Ok(Family {
        name: "qwen2_5_vl",
        sight: Sight {
            projector: Some(Projector {
                names: &names::QWEN_PROJECTOR,
                drops_class: false,
                epsilon: 1e-6,
                // In bounds: both are below 2^24.
                inside: hidden * merge * merge,
                activation: Activation::Gelu,
                biases: true,
                outputs,
            }),
            tower,
            in_grid: true,
        },
        text,
        prompt: Prompt::Chat {
            placeholder: token(config, &["image_token_id"])?,
            usual: None,
        },
        preprocessor: None,
    })
}

/// For each layer, whether a patch sees all of the picture.
fn seeing_all(vision: &Fields) -> Result<Vec<bool>, ModelError> {
    const FIELD: &str = "fullatt_block_indexes";
    let count = vision.required(&["depth"])?;
    if count > MAX_LAYERS {
        return Err(vision.invalid("depth", format!("{count} are more than {MAX_LAYERS}")));
    }
    let mut layers = vec![false; count];
    let listed = match vision.get(FIELD) {
        None => vec![7, 15, 23, 31],
        Some(list) => list
            .as_array()
            .and_then(|list| list.iter().map(Value::as_u64).collect::<Option<Vec<_>>>())
            .ok_or_else(|| vision.invalid(FIELD, format!("{list} is no list of layers")))?,
    };
    for number in listed {
        if let Some(layer) = usize::try_from(number).ok().and_then(|n| layers.get_mut(n)) {
            *layer = true;
        }
    }
    Ok(layers)
}

pub(super) fn part(config: &Fields, field: &str) -> Result<Fields, ModelError> {
    config
        .within(field)
        .ok_or_else(|| config.invalid(field, "it is missing"))
}

/// The language model's configuration: an object of its own, or what stands beside the tower's.
fn text_of(config: &Value) -> Value {
    let own = config.get("text_config").filter(|own| own.is_object());
    let mut text = own.unwrap_or(config).clone();
    if let Some(tied) = config.get("tie_word_embeddings") {
        add_missing(&mut text, &json!({ "tie_word_embeddings": tied }));
    }
    text
}

pub(super) fn add_missing(value: &mut Value, usual: &Value) {
    let (Some(fields), Some(usual)) = (value.as_object_mut(), usual.as_object()) else {
        return;
    };
    for (name, value) in usual {
        let field = fields.entry(name.clone()).or_insert(Value::Null);
        if field.is_null() {
            *field = value.clone();
        }
    }
}

pub(super) fn token(config: &Fields, names: &[&str]) -> Result<u32, ModelError> {
    for name in names {
        if let Some(id) = config.whole(name)? {
            return Ok(id as u32);
        }
    }
    let field = names.first().copied().unwrap_or_default();
    Err(config.invalid(field, "it is missing"))
}

/// A small side, of a patch or of what is made of patches.
pub(super) fn side(fields: &Fields, field: &str, usual: usize) -> Result<usize, ModelError> {
    let side = fields.count(field)?.unwrap_or(usual);
    if side > MAX_SIDE {
        return Err(fields.invalid(field, format!("{side} is more than {MAX_SIDE}")));
    }
    Ok(side)
}

/// The side of every picture, in whole patches.
pub(super) fn fixed_side(fields: &Fields, patch: usize, usual: usize) -> Result<usize, ModelError> {
    const FIELD: &str = "image_size";
    let size = side(fields, FIELD, usual)?;
    if !size.is_multiple_of(patch) {
        return Err(fields.invalid(FIELD, format!("{size} is not whole patches of {patch}")));
    }
    Ok(size)
}

pub(super) fn require_whole_heads(
    fields: &Fields,
    field: &str,
    hidden: usize,
    heads: usize,
    unit: usize,
) -> Result<(), ModelError> {
    if hidden.is_multiple_of(heads) && (hidden / heads).is_multiple_of(unit) {
        return Ok(());
    }
    let detail = format!("{heads} do not divide a width of {hidden} in parts of {unit}");
    Err(fields.invalid(field, detail))
}

pub(super) fn epsilon(fields: &Fields, usual: f64) -> Result<f32, ModelError> {
    const FIELD: &str = "layer_norm_eps";
    let epsilon = fields.number(FIELD)?.unwrap_or(usual) as f32;
    match epsilon > 0.0 && epsilon.is_finite() {
        true => Ok(epsilon),
        false => Err(fields.invalid(FIELD, format!("{epsilon} is impossible"))),
    }
}

pub(super) fn activation(
    fields: &Fields,
    field: &str,
    usual: Activation,
) -> Result<Activation, ModelError> {
    match fields.text(field)? {
        None => Ok(usual),
        Some("gelu") => Ok(Activation::Gelu),
        Some("gelu_pytorch_tanh" | "gelu_new" | "gelu_fast") => Ok(Activation::GeluTanh),
        Some("quick_gelu") => Ok(Activation::QuickGelu),
        Some("relu") => Ok(Activation::Relu),
        Some("silu" | "swish") => Ok(Activation::Silu),
        Some(other) => Err(fields.invalid(field, format!("{other} is not supported"))),
    }
}
