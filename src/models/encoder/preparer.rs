//! From a text to tokens, on the caller's side.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde_json::Value;
use tokenizers::normalizers::{Lowercase, NormalizerWrapper, Sequence};
use tokenizers::{PostProcessor, Tokenizer, TruncationDirection};

use crate::models::ModelError;
use crate::models::fields::Fields;
use crate::models::files;
use crate::models::guarded::guarded;
use crate::pool::capabilities::text_embedding::{
    EmbedInput, EmbedOptions, EmbedTask, TextPreparer,
};

const PROMPTS: &str = "config_sentence_transformers.json";

/// Bytes of a text that are tokenised at first, for each token that the model takes. Tokens of
/// natural language have 3 to 6 bytes; texts that need more get more.
const BYTES_PER_TOKEN: usize = 16;

/// No text gets more than this, or than [`MOST_BYTES_PER_TOKEN`] for each token if that is more.
const MOST_BYTES: usize = 1 << 20;

const MOST_BYTES_PER_TOKEN: usize = 256;

/// Tokens beyond the model's limit that a shortened text must give: far enough from the cut that
/// those within the limit are the whole text's.
const SPARE_TOKENS: usize = 32;

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
    tokenizer: Tokenizer,
    max_tokens: usize,
    /// What special tokens leave of them.
    content_tokens: usize,
    dimensions: usize,
    direction: TruncationDirection,
    prompts: BTreeMap<String, String>,
    default_prompt: Option<String>,
}

impl fmt::Debug for EncoderPreparer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EncoderPreparer")
            .field("max_tokens", &self.max_tokens)
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
        let bytes = files::read(&path, "tokenizer.json")?;
        let corrupt = |error: tokenizers::Error| ModelError::Corrupt {
            path: path.clone(),
            format: "tokenizer.json",
            detail: error.to_string(),
        };
        let mut tokenizer = guarded(|| Tokenizer::from_bytes(&bytes)).map_err(corrupt)?;
        tokenizer.with_padding(None);
        if lower_case {
            add_lower_case(&mut tokenizer).map_err(corrupt)?;
        }
        let own = files::read_optional_json(
            &path.with_file_name("tokenizer_config.json"),
            "tokenizer_config.json",
        )?;
        let own = Fields::new("tokenizer_config.json", own.unwrap_or_default());
        let direction = match own.text("truncation_side")? {
            Some("left") => TruncationDirection::Left,
            Some("right") => TruncationDirection::Right,
            _ => tokenizer
                .get_truncation()
                .map_or(TruncationDirection::Right, |set| set.direction),
        };
        // Truncation is done here: the tokenizer's own runs over the whole text first.
        tokenizer.with_truncation(None).map_err(corrupt)?;
        let added = tokenizer
            .get_post_processor()
            .map_or(0, |processor| processor.added_tokens(false));
        if added >= max_tokens {
            let fields = Fields::new("sentence_bert_config.json", Value::Null);
            let detail = format!("{max_tokens}, of which special tokens take {added}");
            return Err(fields.invalid("max_seq_length", detail));
        }

        // Tables that point nowhere show only when they are used.
        guarded(|| tokenizer.encode_fast("a", true)).map_err(corrupt)?;

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
            max_tokens,
            content_tokens: max_tokens - added,
            dimensions,
            direction,
            prompts,
            default_prompt,
        })
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

    /// Tokenises as much of `text` as truncation leaves.
    fn tokenize(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let wrong = |error: tokenizers::Error| ModelError::Tokenize {
            detail: error.to_string(),
        };
        let most = MOST_BYTES.max(self.max_tokens.saturating_mul(MOST_BYTES_PER_TOKEN));
        let mut length = self.max_tokens.saturating_mul(BYTES_PER_TOKEN).max(1024);
        loop {
            let part = self.part(text, length);
            let encode = || self.tokenizer.encode_fast(part, false);
            let mut encoding = guarded(encode).map_err(wrong)?;
            let is_enough = encoding.len() >= self.content_tokens + SPARE_TOKENS;
            if is_enough || part.len() == text.len() || length >= most {
                encoding.truncate(self.content_tokens, 0, self.direction);
                let finish = || self.tokenizer.post_process(encoding, None, true);
                return Ok(guarded(finish).map_err(wrong)?.get_ids().to_vec());
            }
            length = length.saturating_mul(8).min(most);
        }
    }

    /// About `length` bytes of the text, from the end that is kept.
    fn part<'a>(&self, text: &'a str, length: usize) -> &'a str {
        if text.len() <= length {
            text
        } else if self.direction == TruncationDirection::Left {
            &text[text.ceil_char_boundary(text.len() - length)..]
        } else {
            &text[..text.floor_char_boundary(length)]
        }
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
            self.tokenize(&text)?
        } else {
            self.tokenize(&format!("{prompt}{text}"))?
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

fn add_lower_case(tokenizer: &mut Tokenizer) -> Result<(), tokenizers::Error> {
    let mut steps = vec![NormalizerWrapper::Lowercase(Lowercase)];
    steps.extend(tokenizer.get_normalizer().cloned());
    tokenizer.with_normalizer(Some(Sequence::new(steps)))?;
    Ok(())
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
