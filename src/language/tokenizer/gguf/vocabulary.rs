//! The tokens of a GGUF file.

use std::collections::HashSet;

use super::{invalid, missing};
use crate::language::spelling::MOST_TOKENS;
use crate::language::tokenizer::ends;
use crate::models::{Gguf, GgufStrings, ModelError};

const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";

/// What a token is, by the format's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl Kind {
    fn from_number(number: i32) -> Self {
        match number {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Normal,
        }
    }
}

/// A file's tokens: none empty, none twice.
#[derive(Debug)]
pub(super) struct Vocabulary<'a> {
    tokens: &'a GgufStrings,
    kinds: Vec<Kind>,
}

impl<'a> Vocabulary<'a> {
    pub(super) fn read(gguf: &'a Gguf) -> Result<Self, ModelError> {
        let tokens = gguf.strs(TOKENS)?.ok_or_else(|| missing(TOKENS))?;
        if tokens.is_empty() || tokens.len() > MOST_TOKENS {
            let detail = format!("{} tokens; allowed are 1 to {MOST_TOKENS}", tokens.len());
            return Err(invalid(TOKENS, detail).into());
        }
        let mut seen = HashSet::with_capacity(tokens.len());
        for (id, token) in tokens.iter().enumerate() {
            if token.is_empty() {
                return Err(invalid(TOKENS, format!("token {id} is empty")).into());
            }
            if !seen.insert(token) {
                return Err(invalid(TOKENS, format!("{token:?} is there twice")).into());
            }
        }
        let mut kinds: Vec<Kind> = match gguf.i32s(TYPES)? {
            None => vec![Kind::Normal; tokens.len()],
            Some(numbers) if numbers.len() == tokens.len() => {
                numbers.into_iter().map(Kind::from_number).collect()
            }
            Some(numbers) => {
                let detail = format!("{} types of {} tokens", numbers.len(), tokens.len());
                return Err(invalid(TYPES, detail).into());
            }
        };
        // Converters have been known to forget to mark the ends of a turn.
        for (kind, token) in kinds.iter_mut().zip(tokens.iter()) {
            if *kind != Kind::Control && ends::is_known(token) {
                *kind = Kind::Control;
            }
        }
        Ok(Self { tokens, kinds })
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Each token's id, text and kind.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &'a str, Kind)> + '_ {
        (0..)
            .zip(self.tokens.iter())
            .zip(&self.kinds)
            .map(|((id, token), kind)| (id, token, *kind))
    }

    pub(super) fn text(&self, id: u32) -> Option<&'a str> {
        self.tokens.get(id as usize)
    }

    /// The tokens' scores, one for each.
    pub(super) fn scores(&self, gguf: &Gguf) -> Result<Vec<f32>, ModelError> {
        let scores = gguf.f32s(SCORES)?.ok_or_else(|| missing(SCORES))?;
        if scores.len() != self.len() {
            let detail = format!("{} scores of {} tokens", scores.len(), self.len());
            return Err(invalid(SCORES, detail).into());
        }
        Ok(scores)
    }
}
