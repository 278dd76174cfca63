//! A tokenizer as the hub lays it out: `tokenizer.json` and the settings beside it.

use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;

use super::{SpecialTokens, TextTokenizer, Wrap, ends, guarded};
use crate::models::{ModelError, files};

const TOKENIZER: &str = "tokenizer.json";
const SETTINGS: &str = "tokenizer_config.json";
const GENERATION: &str = "generation_config.json";
const CONFIG: &str = "config.json";

impl TextTokenizer {
    /// Reads the tokenizer of a model's folder: `tokenizer.json`; which tokens are special, from
    /// `tokenizer_config.json`; and at which ones a generation ends, from `generation_config.json`,
    /// or else `config.json`, or else by the names that such tokens are known to have.
    ///
    /// # Errors
    /// [`ModelError::MissingFile`], [`ModelError::Unreadable`] and [`ModelError::Corrupt`] name the
    /// file; [`ModelError::Language`] tells of a tokenizer that is of an unknown kind or contradicts
    /// itself.
    pub fn from_folder(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join(TOKENIZER);
        let bytes = files::read(&path, TOKENIZER)?;
        let tokenizer = parse(&bytes, path)?;
        let settings = files::read_optional_json(&folder.join(SETTINGS), SETTINGS)?;
        let settings = settings.unwrap_or_default();
        let named = |field: &str| {
            let value = settings.get(field)?;
            let content = value.as_str().or_else(|| value.get("content")?.as_str())?;
            tokenizer.token_to_id(content)
        };
        let mut special = SpecialTokens {
            bos: named("bos_token"),
            eos: named("eos_token"),
            unknown: named("unk_token"),
            padding: named("pad_token"),
            ends: Vec::new(),
        };
        special.ends = match configured_ends(folder)? {
            Some(ends) => ends,
            None => known_ends(&tokenizer),
        };
        special.ends.extend(special.eos);
        special.ends.sort_unstable();
        special.ends.dedup();
        Ok(Self::assemble(tokenizer, special, Wrap::PostProcessor)?)
    }

    /// Reads a `tokenizer.json` that lies in memory. Which tokens begin and end a text is not in it:
    /// generation ends at those that are known by their names.
    ///
    /// # Errors
    /// As [`TextTokenizer::from_folder`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, ModelError> {
        let tokenizer = parse(bytes, PathBuf::from(TOKENIZER))?;
        let mut special = SpecialTokens {
            ends: known_ends(&tokenizer),
            ..SpecialTokens::default()
        };
        special.ends.sort_unstable();
        Ok(Self::assemble(tokenizer, special, Wrap::PostProcessor)?)
    }
}

fn parse(bytes: &[u8], path: PathBuf) -> Result<Tokenizer, ModelError> {
    guarded(|| Tokenizer::from_bytes(bytes)).map_err(|error| ModelError::Corrupt {
        path,
        format: TOKENIZER,
        detail: error.to_string(),
    })
}

/// The control tokens that are known to end a turn.
fn known_ends(tokenizer: &Tokenizer) -> Vec<u32> {
    let added = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
    let controls = added.iter().filter(|(_, token)| token.special);
    ends::known(controls.map(|(id, token)| (token.content.as_str(), *id)))
}

/// The ids at which a generation ends, as the model's configuration has them.
fn configured_ends(folder: &Path) -> Result<Option<Vec<u32>>, ModelError> {
    for name in [GENERATION, CONFIG] {
        let config = files::read_optional_json(&folder.join(name), name)?.unwrap_or_default();
        let Some(value) = config.get("eos_token_id").filter(|value| !value.is_null()) else {
            continue;
        };
        let several = value
            .as_array()
            .map_or(std::slice::from_ref(value), Vec::as_slice);
        return several
            .iter()
            .map(|id| {
                let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
                id.ok_or_else(|| ModelError::InvalidConfig {
                    file: name.to_owned(),
                    field: "eos_token_id".to_owned(),
                    detail: format!("{value} is no token id"),
                })
            })
            .collect::<Result<_, _>>()
            .map(Some);
    }
    Ok(None)
}
