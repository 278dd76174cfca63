//! From tokens to text, as they come.

use std::sync::Arc;

use super::TextTokenizer;
use super::spelling::Beginning;

/// Turns the tokens of one sequence into text, one by one.
///
/// A piece of text ends only where a character ends: a token that is part of one is held back until
/// the rest has come. Bytes that are certain not to be UTF-8 become U+FFFD, one for each maximal
/// beginning of a character, as [`String::from_utf8_lossy`] does. (So a run of byte tokens that is
/// partly UTF-8 keeps its good characters, where the `tokenizers` crate's whole-text decoder makes
/// U+FFFD of all of the run.) The pieces together are the text that [`TextTokenizer::decode`] gives
/// for all the tokens, and the time is linear in their number. Control tokens give no text.
#[derive(Debug, Clone)]
pub struct Detokenizer {
    tokenizer: Arc<TextTokenizer>,
    /// The beginning of a character: at most three bytes.
    pending: Vec<u8>,
    beginning: Beginning,
}

impl Detokenizer {
    /// At the beginning of a text, where the space that some tokenizers put before it is taken off.
    pub fn new(tokenizer: Arc<TextTokenizer>) -> Self {
        Self {
            beginning: tokenizer.spelling().beginning(),
            tokenizer,
            pending: Vec::new(),
        }
    }

    /// After a prompt: if that has any text, what follows keeps its leading space.
    pub fn after_prompt(tokenizer: Arc<TextTokenizer>, prompt: &[u32]) -> Self {
        let spelling = tokenizer.spelling();
        let has_text = prompt
            .iter()
            .any(|&id| !spelling.is_control(id) && spelling.bytes(id).is_some());
        let mut detokenizer = Self::new(tokenizer);
        if has_text {
            detokenizer.beginning = Beginning::AsIs;
        }
        detokenizer
    }

    /// Takes the next token; gives the text that it completes, if any. An id that the tokenizer does
    /// not have gives none.
    pub fn push(&mut self, id: u32) -> String {
        let mut text = String::new();
        self.push_into(id, &mut text);
        text
    }

    /// As [`Detokenizer::push`], but appends the text to `text`.
    pub fn push_into(&mut self, id: u32, text: &mut String) {
        let spelling = self.tokenizer.spelling();
        let Some(bytes) = spelling.bytes(id) else {
            return;
        };
        if spelling.is_control(id) {
            return;
        }
        self.beginning = self.beginning.append(bytes, &mut self.pending);
        self.take_characters(text);
    }

    /// What is left when no more tokens come: U+FFFD for an unfinished character, else nothing.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        text
    }

    /// Moves whole characters from the pending bytes to `text`.
    fn take_characters(&mut self, text: &mut String) {
        let mut taken = 0;
        for chunk in self.pending.utf8_chunks() {
            text.push_str(chunk.valid());
            taken += chunk.valid().len();
            let is_last = taken + chunk.invalid().len() == self.pending.len();
            if chunk.invalid().is_empty() || (is_last && is_beginning(chunk.invalid())) {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            taken += chunk.invalid().len();
        }
        self.pending.drain(..taken);
    }
}

/// Whether more bytes could make a character of these.
fn is_beginning(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}
