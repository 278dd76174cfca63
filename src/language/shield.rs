//! Keeps control tokens that somebody wrote into a text from being taken for real ones.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};

/// Put within the text of a control token, it makes plain text of it. Encoding takes it out again.
/// Unicode sets this character aside for such inner uses; it is in no text.
pub(super) const MARK: char = '\u{fdd0}';

/// The texts that are control tokens.
#[derive(Debug, Clone, Default)]
pub(super) struct Shield {
    texts: HashSet<String>,
    lengths: BTreeSet<usize>,
    first_bytes: HashSet<u8>,
}

impl Shield {
    /// A control token of a single character has no place for the mark and is left out.
    pub(super) fn against<'a>(controls: impl Iterator<Item = &'a str>) -> Self {
        let mut shield = Self::default();
        for text in controls.filter(|text| text.chars().nth(1).is_some()) {
            shield.texts.insert(text.to_owned());
            shield.lengths.insert(text.len());
            shield.first_bytes.extend(text.bytes().next());
        }
        shield
    }

    /// The same, and against one more text.
    pub(super) fn and_against(&self, text: &str) -> Self {
        let more = std::iter::once(text);
        Self::against(self.texts.iter().map(String::as_str).chain(more))
    }

    /// The text with a mark in every control token that it spells.
    pub(super) fn apply<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut shielded = String::new();
        let mut copied = 0;
        for (place, character) in text.char_indices() {
            if self.is_at(&text[place..]) {
                let next = place + character.len_utf8();
                shielded.push_str(&text[copied..next]);
                shielded.push(MARK);
                copied = next;
            }
        }
        if copied == 0 {
            return Cow::Borrowed(text);
        }
        shielded.push_str(&text[copied..]);
        Cow::Owned(shielded)
    }

    fn is_at(&self, text: &str) -> bool {
        let begins = |first: &u8| self.first_bytes.contains(first);
        text.as_bytes().first().is_some_and(begins)
            && self
                .lengths
                .iter()
                .filter_map(|length| text.get(..*length))
                .any(|start| self.texts.contains(start))
    }
}
