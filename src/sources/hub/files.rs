//! Which of a repository's files a model needs, and which names are fit for a path.

use super::client::Listing;
use crate::models::ModelError;
use crate::sources::folder::{CONFIG, MODULES, TOKENIZER};

/// Small files at the top of a repository. Weights are chosen apart from these.
const TOP_LEVEL: [&str; 14] = [
    CONFIG,
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    MODULES,
    "config_sentence_transformers.json",
    "preprocessor_config.json",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
];

/// The files to fetch, weights of the model itself excepted.
pub(super) fn wanted(listing: &Listing) -> impl Iterator<Item = &str> {
    listing
        .size_of
        .keys()
        .map(String::as_str)
        .filter(|name| match name.split_once('/') {
            None => TOP_LEVEL.contains(name) || is_sentence_config(name),
            Some((folder, file)) => is_module_file(folder, file),
        })
}

/// `sentence_bert_config.json` and its kin for other architectures.
fn is_sentence_config(name: &str) -> bool {
    name.starts_with("sentence_") && name.ends_with("_config.json")
}

/// A file in the folder of a sentence-transformers module, such as `1_Pooling/config.json`.
fn is_module_file(folder: &str, file: &str) -> bool {
    let Some((number, kind)) = folder.split_once('_') else {
        return false;
    };
    let numbered = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    numbered
        && match kind {
            "Pooling" | "Normalize" => file == CONFIG,
            "Dense" => file == CONFIG || file == "model.safetensors",
            _ => false,
        }
}

/// Whether a relative path with `/` between its parts stays below the folder it is joined to, on
/// every platform.
pub(in crate::sources) fn is_safe_name(name: &str) -> bool {
    let forbidden = |letter: char| letter.is_control() || matches!(letter, '\\' | ':');
    !name.contains(forbidden)
        && name
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
}

/// Whether a word that becomes one part of a path (a commit, an etag) is nothing but a word.
pub(super) fn is_plain_word(word: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !word.is_empty() && word.len() <= 128 && word.bytes().all(plain)
}

pub(super) fn check_repo_id(repo: &str) -> Result<(), ModelError> {
    let fits = is_safe_name(repo)
        && repo.split('/').count() <= 2
        && repo
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
    fits.then_some(()).ok_or_else(|| {
        invalid(
            "repo",
            format!("{repo:?} is not of the form name or owner/name"),
        )
    })
}

pub(super) fn check_revision(revision: &str) -> Result<(), ModelError> {
    let fits = is_safe_name(revision)
        && revision
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_./+".contains(&byte));
    fits.then_some(()).ok_or_else(|| {
        invalid(
            "revision",
            format!("{revision:?} is no branch, tag or commit"),
        )
    })
}

fn invalid(field: &str, detail: String) -> ModelError {
    ModelError::InvalidConfig {
        file: "the hub's settings".to_owned(),
        field: field.to_owned(),
        detail,
    }
}
