//! A tokenizer from a GGUF file's metadata.

mod byte_pairs;
mod other_kinds;
mod pre_tokenizer;
mod sentence_pieces;
mod vocabulary;

use tokenizers::{AddedToken, Tokenizer};

use self::vocabulary::{Kind, Vocabulary};
use super::{SpecialTokens, TextTokenizer, Wrap, ends};
use crate::language::LanguageError;
use crate::models::{Gguf, ModelError};

const MODEL: &str = "tokenizer.ggml.model";
const KNOWN_MODELS: [&str; 4] = ["gpt2", "llama", "t5", "bert"];

/// What a kind of tokenizer does unless the file says otherwise.
#[derive(Debug, Clone, Copy, Default)]
struct Habits {
    bos: Option<u32>,
    eos: Option<u32>,
    unknown: Option<u32>,
    separator: Option<u32>,
    add_bos: bool,
    add_eos: bool,
    add_separator: bool,
    /// Control tokens swallow the white space that follows them.
    strips_after_controls: bool,
}

impl TextTokenizer {
    /// Builds the tokenizer that a GGUF file describes: byte-level BPE (`gpt2`) with its
    /// pre-tokenizer, SentencePiece BPE (`llama`), Unigram (`t5`) or WordPiece (`bert`). The ids are
    /// those of llama.cpp.
    ///
    /// Generation ends at the file's `eos`, `eot` and `eom` tokens and at those tokens that models
    /// are known to end a turn with (`<|im_end|>`, `<end_of_turn>` and the like).
    ///
    /// # Errors
    /// [`LanguageError::UnsupportedTokenizer`] names a kind or a pre-tokenizer that is not built in,
    /// [`LanguageError::InvalidTokenizer`] a part that is missing or contradicts the rest; both within
    /// [`ModelError::Language`]. [`ModelError::InvalidConfig`] if an entry is of a wrong type.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, ModelError> {
        let model = gguf.str(MODEL)?.ok_or_else(|| missing(MODEL))?;
        let vocabulary = Vocabulary::read(gguf)?;
        let (mut tokenizer, habits) = match model {
            "gpt2" => byte_pairs::build(gguf, &vocabulary)?,
            "llama" => sentence_pieces::build(gguf, &vocabulary)?,
            "t5" => other_kinds::build_unigram(gguf, &vocabulary)?,
            "bert" => other_kinds::build_word_pieces(gguf, &vocabulary)?,
            other => {
                return Err(LanguageError::UnsupportedTokenizer {
                    field: MODEL,
                    found: other.to_owned(),
                    known: KNOWN_MODELS.to_vec(),
                }
                .into());
            }
        };
        add_special_tokens(&mut tokenizer, &vocabulary, habits)?;
        let (special, wrap) = special_tokens(gguf, &vocabulary, habits)?;
        Ok(Self::assemble(tokenizer, special, wrap)?)
    }
}

/// Tells the tokenizer which tokens are found in a text before it is looked at otherwise.
fn add_special_tokens(
    tokenizer: &mut Tokenizer,
    vocabulary: &Vocabulary,
    habits: Habits,
) -> Result<(), LanguageError> {
    let added = vocabulary.iter().filter_map(|(_, text, kind)| {
        let is_control = match kind {
            Kind::Control | Kind::Unknown => true,
            Kind::UserDefined => false,
            Kind::Normal | Kind::Unused | Kind::Byte => return None,
        };
        let strips = is_control && habits.strips_after_controls;
        Some(
            AddedToken::from(text, is_control)
                .normalized(false)
                .rstrip(strips),
        )
    });
    tokenizer
        .add_tokens(added)
        .map(|_| ())
        .map_err(|error| invalid("tokens", error.to_string()))
}

fn special_tokens(
    gguf: &Gguf,
    vocabulary: &Vocabulary,
    habits: Habits,
) -> Result<(SpecialTokens, Wrap), ModelError> {
    let named = |name: &str, habit: Option<u32>| -> Result<Option<u32>, ModelError> {
        let key = format!("tokenizer.ggml.{name}_token_id");
        match gguf.u32(&key)? {
            Some(id) if (id as usize) < vocabulary.len() => Ok(Some(id)),
            Some(id) => Err(invalid(
                &key,
                format!("{id} is not within the {} tokens", vocabulary.len()),
            )
            .into()),
            None => Ok(habit.filter(|id| (*id as usize) < vocabulary.len())),
        }
    };
    let flag = |name: &str, habit: bool| -> Result<bool, ModelError> {
        Ok(gguf
            .bool(&format!("tokenizer.ggml.add_{name}"))?
            .unwrap_or(habit))
    };
    let mut special = SpecialTokens {
        bos: named("bos", habits.bos)?,
        eos: named("eos", habits.eos)?,
        unknown: named("unknown", habits.unknown)?,
        padding: named("padding", None)?,
        ends: Vec::new(),
    };
    // The format's own specification calls it by the misspelt name.
    let separator = match named("seperator", None)? {
        None => named("separator", habits.separator)?,
        found => found,
    };
    let wanted = [
        (flag("bos_token", habits.add_bos)?, special.bos, "bos"),
        (flag("eos_token", habits.add_eos)?, special.eos, "eos"),
        (
            flag("sep_token", habits.add_separator)?,
            separator,
            "separator",
        ),
    ];
    let mut found = [None; 3];
    for (place, (is_wanted, id, name)) in found.iter_mut().zip(wanted) {
        if is_wanted && id.is_none() {
            return Err(invalid(
                &format!("tokenizer.ggml.{name}_token_id"),
                "it is to be added, but there is none",
            )
            .into());
        }
        *place = id.filter(|_| is_wanted);
    }
    let [before, end, separator] = found;
    let of_file = [special.eos, named("eot", None)?, named("eom", None)?];
    special.ends.extend(of_file.into_iter().flatten());
    special.ends.extend(ends::known(
        vocabulary
            .iter()
            .filter(|(_, _, kind)| *kind == Kind::Control)
            .map(|(id, text, _)| (text, id)),
    ));
    special.ends.sort_unstable();
    special.ends.dedup();
    Ok((
        special,
        Wrap::Ids {
            before,
            after: end.or(separator),
        },
    ))
}

fn missing(key: &str) -> LanguageError {
    invalid(key, "the file has none")
}

fn invalid(field: &str, detail: impl Into<String>) -> LanguageError {
    LanguageError::InvalidTokenizer {
        field: field.to_owned(),
        detail: detail.into(),
    }
}
