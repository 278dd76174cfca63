//! From a text to tokens, on the caller's side.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::truncation::Truncating;
use crate::models::ModelError;
use crate::models::fields::Fields;
use crate::models::files;
use crate::pool::capabilities::text_embedding::{
    EmbedInput, EmbedOptions, EmbedTask, TextPreparer,
};

const PROMPTS: &str = "config_sentence_transformers.json";

/// Turns texts into the model's tokens: prompt, special tokens and truncation as
/// sentence-transformers does them.
///
/// A text is truncated so that it has at most [`EncoderFolder::max_tokens`] tokens, special tokens
/// included. Of a text that is far longer, only as much is tokenised as that takes; of one that gives
/// hardly any tokens, never more than 1 MiB or 256 bytes for each token that the model takes.
///
/// [`EncoderFolder::max_tokens`]: super::EncoderFolder::max_tokens
#[derive(Clone)]
pub struct EncoderPreparer {
    tokenizer: Truncating,
    dimensions: usize,
    prompts: BTreeMap<String, String>,
    default_prompt: Option<String>,
}

impl fmt::Debug for EncoderPreparer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EncoderPreparer")
            .field("tokenizer", &self.tokenizer)
            .field("prompts", &self.prompts)
            .field("default_prompt", &self.default_prompt)
            .finish_non_exhaustive()
    }
}

impl EncoderPreparer {
    pub(super) fn read(
        root: &Path,
        transformer: &Path,
        max_tokens: usize,
        dimensions: usize,
        lower_case: bool,
    ) -> Result<Self, ModelError> {
        let beside = transformer.join("tokenizer.json");
        let path = if beside.exists() {
            beside
        } else {
            root.join("tokenizer.json")
        };
        let tokenizer = Truncating::read(&path, max_tokens, lower_case)?;
        let prompts = files::read_optional_json(&root.join(PROMPTS), PROMPTS)?;
        let fields = Fields::new(PROMPTS, prompts.unwrap_or_default());
        let prompts = prompt_texts(&fields)?;
        let default_prompt = fields.text("default_prompt_name")?.map(str::to_owned);
        if let Some(name) = default_prompt
            .as_ref()
            .filter(|name| !prompts.contains_key(*name))
        {
            return Err(fields.invalid("default_prompt_name", format!("no prompt {name}")));
        }
        Ok(Self {
            tokenizer,
            dimensions,
            prompts,
            default_prompt,
        })
    }

    /// Of a folder that holds a tokenizer alone; texts are truncated to `max_tokens`.
    pub(crate) fn of_tokenizer(folder: &Path, max_tokens: usize) -> Result<Self, ModelError> {
        Self::read(folder, folder, max_tokens, 1, false)
    }

    /// The prompts by name, from `config_sentence_transformers.json`.
    pub fn prompts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.prompts
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// What is put before the text. A model without a prompt for queries or passages takes them
    /// as any text.
    fn prompt(&self, task: &EmbedTask) -> Result<&str, ModelError> {
        let name = match task {
            EmbedTask::Named(name) if self.prompts.contains_key(name) => Some(name.as_str()),
            EmbedTask::Named(name) => {
                return Err(ModelError::InvalidConfig {
                    file: PROMPTS.to_owned(),
                    field: "prompts".to_owned(),
                    detail: format!("no prompt is named {name}"),
                });
            }
            EmbedTask::Query => self.first_prompt(&["query"]),
            EmbedTask::Passage => self.first_prompt(&["document", "passage", "corpus"]),
            EmbedTask::Default => None,
        };
        let prompt = name
            .or(self.default_prompt.as_deref())
            .and_then(|name| self.prompts.get(name));
        Ok(prompt.map_or("", String::as_str))
    }

    fn first_prompt<'a>(&self, names: &[&'a str]) -> Option<&'a str> {
        names
            .iter()
            .copied()
            .find(|name| self.prompts.contains_key(*name))
    }

    /// A text's tokens, without a prompt before it.
    pub(crate) fn tokenize(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        self.tokenizer.tokenize(text)
    }
}

impl TextPreparer for EncoderPreparer {
    fn prepare(&self, text: String, options: &EmbedOptions) -> Result<EmbedInput, ModelError> {
        let wrong = options
            .dimensions
            .filter(|count| *count == 0 || *count > self.dimensions);
        if let Some(count) = wrong {
            return Err(ModelError::InvalidConfig {
                file: "the request".to_owned(),
                field: "dimensions".to_owned(),
                detail: format!("{count} is not within 1 to {}", self.dimensions),
            });
        }
        let prompt = self.prompt(&options.task)?;
        let tokens = if prompt.is_empty() {
            self.tokenizer.tokenize(&text)?
        } else {
            self.tokenizer.tokenize(&format!("{prompt}{text}"))?
        };
        if tokens.is_empty() {
            return Err(ModelError::Tokenize {
                detail: "it gives no tokens".to_owned(),
            });
        }
        Ok(EmbedInput {
            text: String::new(),
            tokens,
            dimensions: options.dimensions,
        })
    }
}

fn prompt_texts(fields: &Fields) -> Result<BTreeMap<String, String>, ModelError> {
    let Some(prompts) = fields.get("prompts") else {
        return Ok(BTreeMap::new());
    };
    let wrong = || fields.invalid("prompts", "it is not a table of texts");
    prompts
        .as_object()
        .ok_or_else(wrong)?
        .iter()
        .map(|(name, text)| {
            let text = text.as_str().ok_or_else(wrong)?;
            Ok((name.clone(), text.to_owned()))
        })
        .collect()
}
