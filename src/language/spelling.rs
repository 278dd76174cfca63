//! The bytes that each token stands for.
//!
//! A tokenizer's decoder is a list of steps over token texts. All those that language models use
//! come to the same: every token has its bytes, a text is their concatenation, and its beginning may
//! be trimmed. With a table of the bytes, detokenising is a copy, and constraints can look at tokens
//! as bytes.

mod byte_level;
mod rules;

use tokenizers::Tokenizer;

pub(super) use self::rules::Beginning;
use self::rules::Rules;
use super::LanguageError;

/// No vocabulary comes near this; an id beyond it is damage.
pub(super) const MOST_TOKENS: usize = 1 << 22;

/// A vocabulary as bytes.
#[derive(Debug, Clone)]
pub(super) struct Spelling {
    bytes: Vec<u8>,
    /// Where each token's bytes end; they begin where the previous one's end.
    ends: Vec<u32>,
    kinds: Vec<TokenKind>,
    beginning: Beginning,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenKind {
    /// The id is not in use.
    Absent,
    Text,
    /// Part of the protocol and not of the text, such as the end of a turn.
    Control,
}

impl Spelling {
    pub(super) fn of(tokenizer: &Tokenizer) -> Result<Self, LanguageError> {
        let rules = Rules::of(tokenizer.get_decoder())?;
        let added = tokenizer.get_added_vocabulary();
        let vocabulary = tokenizer.get_vocab(true);
        let ids = vocabulary.values().copied();
        let added_ids = added.get_added_tokens_decoder().keys().copied();
        let size = ids
            .chain(added_ids)
            .max()
            .map_or(0, |largest| largest as usize + 1);
        if size == 0 || size > MOST_TOKENS {
            return Err(LanguageError::InvalidTokenizer {
                field: "vocabulary".to_owned(),
                detail: format!("it has ids up to {size}, allowed are 1 to {MOST_TOKENS}"),
            });
        }
        let mut texts: Vec<Option<&str>> = vec![None; size];
        for (text, &id) in &vocabulary {
            if let Some(place) = texts.get_mut(id as usize) {
                *place = Some(text);
            }
        }
        let mut spelling = Self {
            bytes: Vec::new(),
            ends: Vec::with_capacity(size),
            kinds: Vec::with_capacity(size),
            beginning: rules.beginning,
        };
        for (id, text) in (0_u32..).zip(texts) {
            let added_text = added.simple_id_to_token(id);
            let kind = match added_text.as_deref().or(text) {
                None => TokenKind::Absent,
                Some(text) => {
                    rules.spell(text, &mut spelling.bytes);
                    let is_control = added
                        .get_added_tokens_decoder()
                        .get(&id)
                        .is_some_and(|token| token.special);
                    if is_control {
                        TokenKind::Control
                    } else {
                        TokenKind::Text
                    }
                }
            };
            let end = u32::try_from(spelling.bytes.len()).map_err(|_| {
                LanguageError::InvalidTokenizer {
                    field: "vocabulary".to_owned(),
                    detail: "its tokens together have more than 4 GiB".to_owned(),
                }
            })?;
            spelling.ends.push(end);
            spelling.kinds.push(kind);
        }
        Ok(spelling)
    }

    /// One more than the largest id.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn bytes(&self, id: u32) -> Option<&[u8]> {
        let id = id as usize;
        if *self.kinds.get(id)? == TokenKind::Absent {
            return None;
        }
        let start = id.checked_sub(1).map_or(0, |previous| self.ends[previous]);
        self.bytes.get(start as usize..self.ends[id] as usize)
    }

    pub(super) fn is_control(&self, id: u32) -> bool {
        self.kinds.get(id as usize) == Some(&TokenKind::Control)
    }

    /// What happens to the beginning of a text.
    pub(super) fn beginning(&self) -> Beginning {
        self.beginning
    }
}
