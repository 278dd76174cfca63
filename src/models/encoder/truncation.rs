//! From a text to as many tokens as a model takes.

use std::fmt;
use std::path::Path;

use serde_json::Value;
use tokenizers::normalizers::{Lowercase, NormalizerWrapper, Sequence};
use tokenizers::{PostProcessor, Tokenizer, TruncationDirection};

use crate::models::ModelError;
use crate::models::fields::Fields;
use crate::models::files;
use crate::models::guarded::guarded;

/// Bytes of a text that are tokenised at first, for each token that the model takes. Tokens of
/// natural language have 3 to 6 bytes; texts that need more get more.
const BYTES_PER_TOKEN: usize = 16;

/// No text gets more than this, or than [`MOST_BYTES_PER_TOKEN`] for each token if that is more.
const MOST_BYTES: usize = 1 << 20;

const MOST_BYTES_PER_TOKEN: usize = 256;

/// Tokens beyond the model's limit that a shortened text must give: far enough from the cut that
/// those within the limit are the whole text's.
const SPARE_TOKENS: usize = 32;

/// A tokenizer that cuts texts to a length, special tokens included, and of far longer ones reads no
/// more than that takes.
#[derive(Clone)]
pub(super) struct Truncating {
    tokenizer: Tokenizer,
    max_tokens: usize,
    /// What special tokens leave of them.
    content_tokens: usize,
    direction: TruncationDirection,
}

impl fmt::Debug for Truncating {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Truncating")
            .field("max_tokens", &self.max_tokens)
            .finish_non_exhaustive()
    }
}

impl Truncating {
    /// Reads a `tokenizer.json` and the `tokenizer_config.json` beside it.
    pub(super) fn read(
        path: &Path,
        max_tokens: usize,
        lower_case: bool,
    ) -> Result<Self, ModelError> {
        let bytes = files::read(path, "tokenizer.json")?;
        let corrupt = |error: tokenizers::Error| ModelError::Corrupt {
            path: path.to_owned(),
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
        Ok(Self {
            tokenizer,
            max_tokens,
            content_tokens: max_tokens - added,
            direction,
        })
    }

    /// The id of a token by its text.
    pub(super) fn token_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// Tokenises as much of `text` as truncation leaves.
    pub(super) fn tokenize(&self, text: &str) -> Result<Vec<u32>, ModelError> {
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

fn add_lower_case(tokenizer: &mut Tokenizer) -> Result<(), tokenizers::Error> {
    let mut steps = vec![NormalizerWrapper::Lowercase(Lowercase)];
    steps.extend(tokenizer.get_normalizer().cloned());
    tokenizer.with_normalizer(Some(Sequence::new(steps)))?;
    Ok(())
}
