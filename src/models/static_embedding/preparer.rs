//! From a text to the tokens of a static embedding model.

use std::fmt;
use std::path::Path;

use serde_json::json;
use tokenizers::Tokenizer;

use super::{checked_dimensions, no_known_token};
use crate::models::ModelError;
use crate::models::guarded::guarded;
use crate::pool::capabilities::text_embedding::{
    EmbedInput, EmbedOptions, EmbedTask, TextPreparer,
};

/// The vocabulary of the table that is compiled in: the token of row `n` is on line `n`.
static EMBEDDED_VOCABULARY: &str = include_str!("../../../assets/embedded/vocab.txt");
/// How many components the table that is compiled in has; a test holds it to the table.
const EMBEDDED_DIMENSIONS: usize = 128;

/// A text's tokens beyond this many do not count.
const MAX_TOKENS: usize = 2048;
/// A text is cut here before it is tokenised, so that a huge one costs no more than a long one:
/// 32 bytes for each of the [`MAX_TOKENS`], where English takes four or five.
const MAX_BYTES: usize = 32 * MAX_TOKENS;

/// The tokenizer of a static embedding model.
///
/// Only the first 2048 tokens of a text count, and of these only such as stand in its first
/// 64 KiB (leading white space aside). Words that the vocabulary cannot spell are left out. The
/// embedded model's vocabulary is English WordPiece, uncased; it spells Latin and Greek letters.
pub struct StaticPreparer {
    tokenizer: Tokenizer,
    unknown: Option<u32>,
    dimensions: usize,
}

impl StaticPreparer {
    /// The tokenizer of the model that is compiled into this crate.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] for a damaged vocabulary; the crate's tests show that its own is sound.
    pub fn embedded() -> Result<Self, ModelError> {
        let vocabulary: serde_json::Map<String, serde_json::Value> = EMBEDDED_VOCABULARY
            .lines()
            .enumerate()
            .map(|(row, token)| (token.to_owned(), row.into()))
            .collect();
        let description = json!({
            "version": "1.0",
            "added_tokens": [],
            "normalizer": {
                "type": "BertNormalizer",
                "clean_text": true,
                "handle_chinese_chars": true,
                "strip_accents": true,
                "lowercase": true,
            },
            "pre_tokenizer": { "type": "BertPreTokenizer" },
            "post_processor": null,
            "decoder": null,
            "model": {
                "type": "WordPiece",
                "unk_token": UNKNOWN,
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": vocabulary,
            },
        });
        Self::from_tokenizer_json(
            description.to_string().as_bytes(),
            Path::new("vocab.txt"),
            EMBEDDED_DIMENSIONS,
        )
    }

    /// A tokenizer of its own file, for a table of `dimensions` components.
    pub(super) fn from_tokenizer_json(
        json: &[u8],
        path: &Path,
        dimensions: usize,
    ) -> Result<Self, ModelError> {
        let corrupt = |error: &dyn fmt::Display| ModelError::Corrupt {
            path: path.to_owned(),
            format: "tokenizer",
            detail: error.to_string(),
        };
        let mut tokenizer =
            guarded(|| Tokenizer::from_bytes(json)).map_err(|error| corrupt(&error))?;
        // A file may bring padding or a shorter limit of its own; neither suits a mean of rows.
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|error| corrupt(&error))?;
        let unknown = unknown_token(&tokenizer);
        Ok(Self {
            tokenizer,
            unknown,
            dimensions,
        })
    }

    /// How many token ids the tokenizer can give.
    pub(super) fn vocabulary_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }
}

const UNKNOWN: &str = "[UNK]";

/// The id that stands for what the vocabulary cannot spell, where the vocabulary has one.
fn unknown_token(tokenizer: &Tokenizer) -> Option<u32> {
    [UNKNOWN, "<unk>"]
        .iter()
        .find_map(|token| tokenizer.token_to_id(token))
}

impl TextPreparer for StaticPreparer {
    fn prepare(&self, text: String, options: &EmbedOptions) -> Result<EmbedInput, ModelError> {
        if let EmbedTask::Named(prompt) = &options.task {
            return Err(ModelError::InvalidConfig {
                file: "the request".to_owned(),
                field: "task".to_owned(),
                detail: format!("a static model has no prompts, so none named {prompt:?}"),
            });
        }
        checked_dimensions(options.dimensions, self.dimensions)?;
        let start = text.trim_start();
        let head = &start[..start.floor_char_boundary(MAX_BYTES)];
        let encoding = guarded(|| self.tokenizer.encode_fast(head, false)).map_err(|error| {
            ModelError::Tokenize {
                detail: error.to_string(),
            }
        })?;
        let tokens: Vec<u32> = encoding
            .get_ids()
            .iter()
            .copied()
            .filter(|token| Some(*token) != self.unknown)
            .take(MAX_TOKENS)
            .collect();
        if tokens.is_empty() {
            return Err(no_known_token());
        }
        Ok(EmbedInput {
            text: String::new(),
            tokens,
            dimensions: options.dimensions,
        })
    }
}

impl fmt::Debug for StaticPreparer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("StaticPreparer")
            .field("tokens", &self.vocabulary_size())
            .field("dimensions", &self.dimensions)
            .finish()
    }
}
