//! From prompts to the tokens of CLIP's text encoders, on the caller's side.

use std::fmt;
use std::path::Path;

use serde_json::Value;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{Lowercase, NFC, NormalizerWrapper, Replace, Sequence};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use crate::models::guarded::guarded;
use crate::models::{ModelError, files};

const VOCABULARY: &str = "vocab.json";
const MERGES: &str = "merges.txt";
const WHOLE: &str = "tokenizer.json";
const SETTINGS: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";

const BEGIN: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// Words, single digits, and runs of other signs; what lies between is left out.
const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// CLIP's tokenizer, in `tokenizer.json` or else `vocab.json` and `merges.txt`.
pub(in crate::models) struct ClipTokenizer {
    tokenizer: Tokenizer,
    begin: u32,
    end: u32,
    padding: u32,
    length: usize,
}

impl fmt::Debug for ClipTokenizer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClipTokenizer")
            .field("length", &self.length)
            .field("padding", &self.padding)
            .finish_non_exhaustive()
    }
}

impl ClipTokenizer {
    /// Reads the tokenizer of a folder, for an encoder that takes `positions` tokens.
    ///
    /// # Errors
    /// [`ModelError::MissingFile`], [`ModelError::Unreadable`], [`ModelError::Corrupt`] and
    /// [`ModelError::InvalidConfig`], each naming the file.
    pub(in crate::models) fn read(folder: &Path, positions: usize) -> Result<Self, ModelError> {
        let path = |name| folder.join(name);
        let settings = files::read_optional_json(&path(SETTINGS), SETTINGS)?.unwrap_or_default();
        let special = files::read_optional_json(&path(SPECIAL), SPECIAL)?.unwrap_or_default();
        let named = |field| content(&settings, field).or_else(|| content(&special, field));
        let whole = path(WHOLE);
        let mut tokenizer = if whole.exists() {
            let bytes = files::read(&whole, WHOLE)?;
            guarded(|| Tokenizer::from_bytes(&bytes))
                .map_err(|error| corrupt(&whole, WHOLE, error))?
        } else {
            // The padding, too, is one token wherever it stands in a prompt.
            let padding = named("pad_token").unwrap_or(END);
            of_pairs(folder, &[BEGIN, END, padding])?
        };
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|error| corrupt(&whole, WHOLE, error))?;
        let id_of = |field: &'static str, default: &'static str| {
            let name = named(field).unwrap_or(default);
            tokenizer
                .token_to_id(name)
                .ok_or_else(|| ModelError::InvalidConfig {
                    file: SETTINGS.to_owned(),
                    field: field.to_owned(),
                    detail: format!("{name:?} is not in the vocabulary"),
                })
        };
        // Files without a limit write a very large one.
        let length = settings
            .get("model_max_length")
            .and_then(Value::as_u64)
            .map_or(positions, |most| positions.min(most as usize));
        if length < 2 {
            return Err(ModelError::InvalidConfig {
                file: SETTINGS.to_owned(),
                field: "model_max_length".to_owned(),
                detail: format!("{length} is too few"),
            });
        }
        let (begin, end) = (id_of("bos_token", BEGIN)?, id_of("eos_token", END)?);
        let padding = id_of("pad_token", END)?;
        let read = Self {
            begin,
            end,
            padding,
            length,
            tokenizer,
        };
        // Tables that point nowhere show only when they are used.
        read.tokens("a")
            .map_err(|error| corrupt(&whole, WHOLE, error.to_string().into()))?;
        Ok(read)
    }

    /// How many bytes the files that [`read`](Self::read) needs have.
    ///
    /// # Errors
    /// [`ModelError::MissingFile`], [`ModelError::WrongFileKind`] or [`ModelError::Unreadable`].
    pub(in crate::models) fn stored_bytes(folder: &Path) -> Result<u64, ModelError> {
        let bytes = |name| files::open(&folder.join(name)).map(|(_, bytes)| bytes);
        if folder.join(WHOLE).exists() {
            return bytes(WHOLE);
        }
        Ok(bytes(VOCABULARY)?.saturating_add(bytes(MERGES)?))
    }

    /// The tokens of a prompt between the begin and the end of a text, cut off and filled up to the
    /// encoder's length.
    ///
    /// # Errors
    /// [`ModelError::Tokenize`].
    pub(in crate::models) fn tokens(&self, prompt: &str) -> Result<Vec<u32>, ModelError> {
        let encoding = guarded(|| self.tokenizer.encode_fast(prompt, false));
        let encoding = encoding.map_err(|error| ModelError::Tokenize {
            detail: error.to_string(),
        })?;
        let ids = encoding.get_ids();
        let kept = ids.len().min(self.length - 2);
        let mut tokens = Vec::with_capacity(self.length);
        tokens.push(self.begin);
        tokens.extend_from_slice(&ids[..kept]);
        tokens.push(self.end);
        tokens.resize(self.length, self.padding);
        Ok(tokens)
    }
}

/// The text of a special token, plain or with its settings.
fn content<'a>(settings: &'a Value, field: &str) -> Option<&'a str> {
    let token = settings.get(field)?;
    token.as_str().or_else(|| token.get("content")?.as_str())
}

fn corrupt(path: &Path, format: &'static str, error: tokenizers::Error) -> ModelError {
    ModelError::Corrupt {
        path: path.to_owned(),
        format,
        detail: error.to_string(),
    }
}

/// Makes the tokenizer of its vocabulary and its merges.
fn of_pairs(folder: &Path, special: &[&str]) -> Result<Tokenizer, ModelError> {
    let path = folder.join(VOCABULARY);
    let wrong = |detail: &str| corrupt(&path, VOCABULARY, detail.into());
    let value = files::read_json(&path, VOCABULARY)?;
    let entries = value.as_object().ok_or_else(|| wrong("it is no object"))?;
    let vocabulary: Option<Vocab> = entries
        .iter()
        .map(|(token, id)| Some((token.clone(), u32::try_from(id.as_u64()?).ok()?)))
        .collect();
    let vocabulary = vocabulary.ok_or_else(|| wrong("an id is no whole number"))?;
    let merges = read_merges(&folder.join(MERGES))?;
    let built = guarded(|| {
        let model = BPE::builder()
            .vocab_and_merges(vocabulary, merges)
            .unk_token(END.to_owned())
            .end_of_word_suffix("</w>".to_owned())
            .build()?;
        let mut tokenizer = Tokenizer::new(model);
        let blanks = Replace::new(
            tokenizers::normalizers::replace::ReplacePattern::Regex(r"\s+".to_owned()),
            " ",
        )?;
        tokenizer.with_normalizer(Some(NormalizerWrapper::Sequence(Sequence::new(vec![
            NormalizerWrapper::NFC(NFC),
            NormalizerWrapper::Replace(blanks),
            NormalizerWrapper::Lowercase(Lowercase),
        ]))))?;
        let words = Split::new(
            SplitPattern::Regex(WORDS.to_owned()),
            SplitDelimiterBehavior::Removed,
            true,
        )?;
        let bytes = ByteLevel::new(false, true, true);
        tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(PreTokenizers::new(
            vec![
                PreTokenizerWrapper::Split(words),
                PreTokenizerWrapper::ByteLevel(bytes),
            ],
        ))));
        let specials = special.iter().map(|name| AddedToken::from(*name, true));
        tokenizer.add_special_tokens(specials)?;
        Ok(tokenizer)
    });
    built.map_err(|error| corrupt(&path, VOCABULARY, error))
}

fn read_merges(path: &Path) -> Result<Merges, ModelError> {
    let bytes = files::read(path, MERGES)?;
    let text = String::from_utf8(bytes).map_err(|error| corrupt(path, MERGES, error.into()))?;
    let is_pair = |line: &&str| !line.is_empty() && !line.starts_with("#version");
    text.lines()
        .filter(is_pair)
        .map(|line| {
            let halves = line.split_once(' ');
            let halves = halves.filter(|(left, right)| !left.is_empty() && !right.is_empty());
            let pair = halves.map(|(left, right)| (left.to_owned(), right.to_owned()));
            pair.ok_or_else(|| corrupt(path, MERGES, format!("{line:?} is not a pair").into()))
        })
        .collect()
}
