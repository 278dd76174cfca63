//! Strings at which a generation ends.

use super::LanguageError;

const MOST_STRINGS: usize = 64;
const MOST_BYTES: usize = 1024;

/// Looks for stop strings in a text that comes in pieces.
///
/// The generation ends where the first stop string is complete; of several that end there, the
/// longest counts. So the outcome does not depend on how the text is cut into pieces. What might be
/// the beginning of a stop string is held back until it is known not to be one.
#[derive(Debug, Clone, Default)]
pub struct StopStrings {
    strings: Vec<String>,
    held: String,
}

/// What a piece of text came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StopProgress {
    /// The text that is now certain not to be part of a stop string.
    pub text: String,
    /// The index of the stop string that was found. The text after it is dropped.
    pub stopped: Option<usize>,
}

impl StopStrings {
    /// Looks for these strings.
    ///
    /// # Errors
    /// [`LanguageError::InvalidParameter`] if one is empty or longer than 1024 bytes, or if there
    /// are more than 64.
    pub fn new(strings: Vec<String>) -> Result<Self, LanguageError> {
        if strings.len() > MOST_STRINGS {
            return Err(LanguageError::InvalidParameter {
                field: "stop",
                found: format!("{} strings", strings.len()),
                allowed: "at most 64 strings",
            });
        }
        let wrong = strings
            .iter()
            .find(|string| string.is_empty() || string.len() > MOST_BYTES);
        if let Some(string) = wrong {
            return Err(LanguageError::InvalidParameter {
                field: "stop",
                found: format!("a string of {} bytes", string.len()),
                allowed: "1 to 1024 bytes",
            });
        }
        Ok(Self {
            strings,
            held: String::new(),
        })
    }

    /// Takes the next piece of text.
    pub fn push(&mut self, text: &str) -> StopProgress {
        if self.strings.is_empty() {
            return StopProgress {
                text: text.to_owned(),
                stopped: None,
            };
        }
        self.held.push_str(text);
        if let Some((start, index)) = self.first_match() {
            self.held.truncate(start);
            return StopProgress {
                text: std::mem::take(&mut self.held),
                stopped: Some(index),
            };
        }
        let certain = self.held.len() - self.longest_beginning();
        let rest = self.held.split_off(certain);
        StopProgress {
            text: std::mem::replace(&mut self.held, rest),
            stopped: None,
        }
    }

    /// What is still held back, when no more text comes.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// The stop string that is complete first: its start and index.
    fn first_match(&self) -> Option<(usize, usize)> {
        self.strings
            .iter()
            .enumerate()
            .filter_map(|(index, string)| {
                let start = self.held.find(string.as_str())?;
                Some((start + string.len(), start, index))
            })
            .min()
            .map(|(_, start, index)| (start, index))
    }

    /// Bytes at the end of the held text that may yet become a stop string.
    fn longest_beginning(&self) -> usize {
        let held = self.held.as_bytes();
        let longest = |string: &String| {
            let most = held.len().min(string.len() - 1);
            (1..=most)
                .rev()
                .find(|&length| held.ends_with(&string.as_bytes()[..length]))
                .unwrap_or(0)
        };
        self.strings.iter().map(longest).max().unwrap_or(0)
    }
}
