//! A pipeline as diffusers lays it out: `model_index.json`, and a folder for each part.

use std::path::Path;

use serde_json::Value;

use super::folder::{CONFIG, TOKENIZER, present_file, read_json, shards_of_index};
use crate::models::ModelError;

pub(super) const INDEX: &str = "model_index.json";

/// What a part holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Scheduler,
    Tokenizer,
    /// Weights, in files of this stem.
    Network(&'static str),
}

const ENCODER: Kind = Kind::Network("model");
const NETWORK: Kind = Kind::Network("diffusion_pytorch_model");

/// The parts that paint. Others, such as safety checkers, are left alone.
pub(super) const PARTS: [(&str, Kind); 8] = [
    ("scheduler", Kind::Scheduler),
    ("tokenizer", Kind::Tokenizer),
    ("tokenizer_2", Kind::Tokenizer),
    ("text_encoder", ENCODER),
    ("text_encoder_2", ENCODER),
    ("unet", NETWORK),
    ("transformer", NETWORK),
    ("vae", NETWORK),
];

/// Files beside the weights.
const SMALL: [&str; 9] = [
    CONFIG,
    "scheduler_config.json",
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
];

/// Whether a file, named from the top of the repository, is a small one of a part that paints.
pub(super) fn is_small_file(name: &str) -> bool {
    let Some((folder, file)) = name.split_once('/') else {
        return name == INDEX;
    };
    PARTS.iter().any(|(part, _)| *part == folder) && SMALL.contains(&file)
}

/// The file that holds a part's weights, or the index of those that do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WeightFile {
    Whole(String),
    Index(String),
}

/// Which of the files that are there are a part's weights: the plain ones, or else those in half
/// precision.
pub(super) fn weight_file(part: &str, stem: &str, has: impl Fn(&str) -> bool) -> WeightFile {
    let whole = format!("{part}/{stem}.safetensors");
    let index = format!("{whole}.index.json");
    let half = format!("{part}/{stem}.fp16.safetensors");
    let half_index = format!("{whole}.index.fp16.json");
    if has(&whole) {
        WeightFile::Whole(whole)
    } else if has(&index) {
        WeightFile::Index(index)
    } else if has(&half) {
        WeightFile::Whole(half)
    } else if has(&half_index) {
        WeightFile::Index(half_index)
    } else {
        WeightFile::Whole(whole)
    }
}

/// Looks whether every part that the index names, and that paints, has its files.
pub(super) fn locate(folder: &Path) -> Result<(), ModelError> {
    let index: Value = read_json(&folder.join(INDEX), INDEX)?;
    let look = |name: &str| present_file(&folder.join(name));
    for (part, kind) in PARTS {
        // `[null, null]` stands for a part that is not there.
        let class = index.get(part).and_then(|names| names.get(1));
        if class.is_none_or(Value::is_null) {
            continue;
        }
        match kind {
            Kind::Scheduler => look(&format!("{part}/scheduler_config.json"))?,
            Kind::Tokenizer => {
                let known = ["vocab.json", "spiece.model"];
                let path = folder.join(part);
                if !known.iter().any(|name| path.join(name).is_file()) {
                    look(&format!("{part}/{TOKENIZER}"))?;
                }
            }
            Kind::Network(stem) => {
                look(&format!("{part}/{CONFIG}"))?;
                match weight_file(part, stem, |name| folder.join(name).is_file()) {
                    WeightFile::Whole(name) => look(&name)?,
                    WeightFile::Index(name) => {
                        for shard in shards_of_index(&folder.join(name))? {
                            look(&format!("{part}/{shard}"))?;
                        }
                    }
                }
            }
        }
    }
    Ok(())
}
