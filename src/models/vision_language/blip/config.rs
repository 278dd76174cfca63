//! From `config.json` to what a BLIP model is.

use serde_json::{Value, json};

use super::super::description::{Places, Sight, Tower};
use super::super::families::{
    activation, epsilon, fixed_side, part, require_whole_heads, side, token,
};
use super::super::names;
use super::attention::Heads;
use crate::kernels::Activation;
use crate::models::ModelError;
use crate::models::fields::Fields;

/// The `architectures` that are built in.
const SUPPORTED: [&str; 2] = ["BlipForConditionalGeneration", "BlipForQuestionAnswering"];

/// No real model has as many layers.
const MAX_LAYERS: usize = 1024;

/// The half that reads and writes.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) hidden: usize,
    pub(super) heads: usize,
    pub(super) intermediate: usize,
    pub(super) layers: usize,
    pub(super) activation: Activation,
    pub(super) epsilon: f32,
    pub(super) vocabulary: usize,
    /// The most tokens of a text.
    pub(super) positions: usize,
    /// The width of a picture's rows.
    pub(super) seen: usize,
    /// The head is the table of words.
    pub(super) tied: bool,
}

impl Text {
    pub(super) fn heads(&self) -> Heads {
        Heads {
            heads: self.heads,
            hidden: self.hidden,
        }
    }

    /// Keys and values that all layers have of one row.
    pub(super) fn row_values(&self) -> usize {
        2 * self.layers * self.hidden
    }
}

/// What `config.json` says of a model.
#[derive(Debug, Clone)]
pub(super) struct Blip {
    pub(super) sight: Sight,
    pub(super) text: Text,
    /// It answers questions, which it reads with an encoder; otherwise it goes on with a caption.
    pub(super) answers: bool,
    /// Begins every text that it writes.
    pub(super) begin: u32,
    /// Ends it.
    pub(super) end: u32,
}

pub(super) fn describe(value: Value) -> Result<Blip, ModelError> {
    let config = Fields::new("config.json", value);
    let named = config.get("architectures").and_then(|names| names.get(0));
    let answers = match named.and_then(Value::as_str) {
        Some("BlipForConditionalGeneration") => false,
        Some("BlipForQuestionAnswering") => true,
        other => {
            return Err(ModelError::UnsupportedArchitecture {
                found: other.unwrap_or("blip without a task").to_owned(),
                supported: SUPPORTED.to_vec(),
            });
        }
    };
    let sight = sight(&part(&config, "vision_config")?)?;
    let fields = part(&config, "text_config")?;
    let text = text(&config, &fields)?;
    if text.seen != sight.tower.hidden {
        let detail = format!("{} is not the tower's {}", text.seen, sight.tower.hidden);
        return Err(fields.invalid("encoder_hidden_size", detail));
    }
    let known = |field: &str, usual: u32| {
        let id = match fields.get(field) {
            Some(_) => token(&fields, &[field])?,
            None => usual,
        };
        match (id as usize) < text.vocabulary {
            true => Ok(id),
            false => Err(fields.invalid(field, format!("{id} is no token"))),
        }
    };
    Ok(Blip {
        begin: known("bos_token_id", 30_522)?,
        end: known("sep_token_id", 102)?,
        sight,
        text,
        answers,
    })
}

fn sight(vision: &Fields) -> Result<Sight, ModelError> {
    let hidden = vision.count("hidden_size")?.unwrap_or(768);
    let heads = vision.count("num_attention_heads")?.unwrap_or(12);
    require_whole_heads(vision, "num_attention_heads", hidden, heads, 1)?;
    vision.only("num_channels", &json!(3))?;
    let patch = side(vision, "patch_size", 16)?;
    Ok(Sight {
        tower: Tower {
            names: &names::BLIP,
            hidden,
            heads,
            intermediate: vision.count("intermediate_size")?.unwrap_or(3072),
            activation: activation(vision, "hidden_act", Activation::Gelu)?,
            rms: false,
            epsilon: epsilon(vision, 1e-5)?,
            layers: vec![true; layers(vision)?],
            patch,
            frames: 1,
            patch_bias: true,
            places: Places::Learned,
            size: Some([fixed_side(vision, patch, 384)?; 2]),
            merge: 1,
            window: usize::MAX,
        },
        projector: None,
        in_grid: false,
    })
}

fn text(config: &Fields, fields: &Fields) -> Result<Text, ModelError> {
    let hidden = fields.count("hidden_size")?.unwrap_or(768);
    let heads = fields.count("num_attention_heads")?.unwrap_or(8);
    require_whole_heads(fields, "num_attention_heads", hidden, heads, 1)?;
    Ok(Text {
        hidden,
        heads,
        intermediate: fields.count("intermediate_size")?.unwrap_or(3072),
        layers: layers(fields)?,
        activation: activation(fields, "hidden_act", Activation::Gelu)?,
        epsilon: epsilon(fields, 1e-12)?,
        vocabulary: fields.count("vocab_size")?.unwrap_or(30_524),
        positions: fields.count("max_position_embeddings")?.unwrap_or(512),
        seen: fields.count("encoder_hidden_size")?.unwrap_or(768),
        tied: config.flag("tie_word_embeddings", true)?
            && fields.flag("tie_word_embeddings", true)?,
    })
}

fn layers(fields: &Fields) -> Result<usize, ModelError> {
    const FIELD: &str = "num_hidden_layers";
    let count = fields.count(FIELD)?.unwrap_or(12);
    match count > MAX_LAYERS {
        true => Err(fields.invalid(FIELD, format!("{count} are more than {MAX_LAYERS}"))),
        false => Ok(count),
    }
}
