//! Between a text and the ids of its tokens.

#[cfg(feature = "testing")]
mod bytes;
mod ends;
mod folder;
mod gguf;

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokenizers::{
    AddedVocabulary, Model, OffsetType, PostProcessor, PreTokenizedString, PreTokenizer, Tokenizer,
};

use super::LanguageError;
use super::shield::{self, Shield};
use super::spelling::Spelling;

/// The tokens of a protocol around the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpecialTokens {
    /// Stands before a text.
    pub bos: Option<u32>,
    /// Ends a text.
    pub eos: Option<u32>,
    /// Stands for what has no token.
    pub unknown: Option<u32>,
    /// Fills up rows of a batch; never part of a sequence.
    pub padding: Option<u32>,
    /// Every token at which a generation ends, sorted: `eos` and the ends of a turn.
    pub ends: Vec<u32>,
}

/// A language model's tokenizer: from a text to ids, and from each id to its bytes.
///
/// Control tokens (`<|im_end|>` and the like) that stand in a text are taken for what they spell,
/// as all libraries do with prompts. Who puts a text that is not his own into a prompt passes it
/// through [`TextTokenizer::shield`], or encodes it with [`TextTokenizer::encode_as_text`].
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    /// Leaves control tokens in a text alone.
    as_text: AddedVocabulary,
    spelling: Spelling,
    shield: Arc<Shield>,
    special: SpecialTokens,
    wrap: Wrap,
}

/// What stands around a text whose special tokens were asked for.
#[derive(Debug, Clone, Default)]
enum Wrap {
    /// What the tokenizer's own post-processor puts there.
    #[default]
    PostProcessor,
    /// These ids.
    Ids {
        before: Option<u32>,
        after: Option<u32>,
    },
}

impl fmt::Debug for TextTokenizer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TextTokenizer")
            .field("vocabulary", &self.vocabulary())
            .field("special", &self.special)
            .field("wrap", &self.wrap)
            .finish_non_exhaustive()
    }
}

impl TextTokenizer {
    /// Checks that the parts fit together.
    fn assemble(
        mut tokenizer: Tokenizer,
        special: SpecialTokens,
        wrap: Wrap,
    ) -> Result<Self, LanguageError> {
        let contradiction = |error: tokenizers::Error| LanguageError::InvalidTokenizer {
            field: "description".to_owned(),
            detail: error.to_string(),
        };
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(contradiction)?;
        let spelling = Spelling::of(&tokenizer)?;
        if let Some(end) = special
            .ends
            .iter()
            .find(|id| spelling.bytes(**id).is_none())
        {
            return Err(LanguageError::InvalidTokenizer {
                field: "special tokens".to_owned(),
                detail: format!("token {end} ends a text, but is not in the vocabulary"),
            });
        }
        let mut as_text = tokenizer.get_added_vocabulary().clone();
        as_text.set_encode_special_tokens(true);
        let added = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
        let controls = added.values().filter(|token| token.special);
        let shield = Arc::new(Shield::against(
            controls.map(|token| token.content.as_str()),
        ));
        let assembled = Self {
            as_text,
            spelling,
            shield,
            special,
            wrap,
            tokenizer,
        };
        // Tables that point nowhere show only when they are used.
        assembled
            .encode("a", true)
            .map_err(|error| contradiction(error.to_string().into()))?;
        Ok(assembled)
    }

    /// How many ids there are: one more than the largest. The model's logits may have more columns;
    /// those mean nothing.
    pub fn vocabulary(&self) -> usize {
        self.spelling.len()
    }

    /// The tokens of the protocol around the text.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// The same, with one more token at which a generation ends.
    #[must_use]
    pub fn ending_at(mut self, id: u32) -> Self {
        if let Err(place) = self.special.ends.binary_search(&id) {
            self.special.ends.insert(place, id);
        }
        self
    }

    /// Whether a generation ends with this token.
    pub fn is_end(&self, id: u32) -> bool {
        self.special.ends.binary_search(&id).is_ok()
    }

    /// Whether the token is part of the protocol and gives no text.
    pub fn is_control(&self, id: u32) -> bool {
        self.spelling.is_control(id)
    }

    /// The bytes that a token stands for: of a control token, its name. `None` for an id that is not
    /// in use. They need not be UTF-8 by themselves.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.spelling.bytes(id)
    }

    /// The id of a token by its text as the tokenizer writes it, control tokens included.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// Turns a text into ids; control tokens in it count as such. With `add_special`, what the model
    /// expects around a text (such as `bos`) is put there; a rendered chat template brings that
    /// itself.
    ///
    /// # Errors
    /// [`LanguageError::Tokenize`].
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, LanguageError> {
        self.encode_with(self.tokenizer.get_added_vocabulary(), text, add_special)
    }

    /// Turns a text into ids, of which none is a control token whatever the text says.
    ///
    /// # Errors
    /// [`LanguageError::Tokenize`].
    pub fn encode_as_text(&self, text: &str, add_special: bool) -> Result<Vec<u32>, LanguageError> {
        self.encode_with(&self.as_text, text, add_special)
    }

    /// Marks the text of control tokens in `text`, so that [`TextTokenizer::encode`] takes it for
    /// text wherever it is put. The mark is the noncharacter U+FDD0, which encoding takes out again;
    /// a control token of one single character cannot be marked.
    pub fn shield<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.shield.apply(text)
    }

    /// The text of a whole sequence: what a [`Detokenizer`](super::Detokenizer) gives for all of its
    /// tokens.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut bytes = Vec::new();
        let mut beginning = self.spelling.beginning();
        for &id in ids.iter().filter(|id| !self.is_control(**id)) {
            if let Some(token) = self.token_bytes(id) {
                beginning = beginning.append(token, &mut bytes);
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(super) fn shared_shield(&self) -> Arc<Shield> {
        Arc::clone(&self.shield)
    }

    /// A token's text as the tokenizer writes it.
    pub(super) fn token_text(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    pub(super) fn spelling(&self) -> &Spelling {
        &self.spelling
    }

    fn encode_with(
        &self,
        added: &AddedVocabulary,
        text: &str,
        add_special: bool,
    ) -> Result<Vec<u32>, LanguageError> {
        let tokenizer = &self.tokenizer;
        let encode = || {
            let mut parts = added.extract_and_normalize(tokenizer.get_normalizer(), text);
            if text.contains(shield::MARK) {
                parts.normalize(|part| part.replace(shield::MARK, ""))?;
            }
            if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
                pre_tokenizer.pre_tokenize(&mut parts)?;
            }
            tokenizer
                .get_model()
                .tokenize_in_pretokenized(&mut parts, None)?;
            self.wrapped(parts, add_special)
        };
        guarded(encode).map_err(|error| LanguageError::Tokenize {
            detail: error.to_string(),
        })
    }

    /// The ids with what belongs around them.
    fn wrapped(
        &self,
        parts: PreTokenizedString,
        add_special: bool,
    ) -> Result<Vec<u32>, tokenizers::Error> {
        let encoding = parts.into_encoding(None, 0, OffsetType::None)?;
        match (&self.wrap, self.tokenizer.get_post_processor()) {
            (Wrap::Ids { before, after }, _) => {
                let before = before.filter(|_| add_special);
                let after = after.filter(|_| add_special);
                let ids = encoding.get_ids().iter().copied();
                Ok(before.into_iter().chain(ids).chain(after).collect())
            }
            (Wrap::PostProcessor, Some(processor)) => Ok(processor
                .process(encoding, None, add_special)?
                .get_ids()
                .to_vec()),
            (Wrap::PostProcessor, None) => Ok(encoding.get_ids().to_vec()),
        }
    }
}

/// Makes an error of a panic: the library indexes its tables by what a tokenizer's file says.
fn guarded<T>(work: impl FnOnce() -> Result<T, tokenizers::Error>) -> Result<T, tokenizers::Error> {
    // What the closure borrows is read only, or dropped with it.
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err("the tokenizer contradicts itself".into()))
}
