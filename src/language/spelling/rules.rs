//! What a tokenizer's decoder does to each token's text.

use serde_json::Value;
use tokenizers::DecoderWrapper;

use super::byte_level::byte_of;
use crate::language::LanguageError;

const KNOWN: [&str; 8] = [
    "ByteLevel",
    "Metaspace",
    "WordPiece",
    "Sequence",
    "Replace",
    "ByteFallback",
    "Fuse",
    "Strip",
];

/// What is taken off the beginning of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::language) enum Beginning {
    /// Nothing.
    AsIs,
    /// Up to this many spaces.
    Spaces(usize),
    /// Every space of the first token.
    SpacesOfFirstToken,
}

impl Beginning {
    /// Appends a token's bytes to a text's; gives what is still to be taken off.
    pub(in crate::language) fn append(self, token: &[u8], text: &mut Vec<u8>) -> Self {
        match self {
            Self::AsIs => text.extend_from_slice(token),
            Self::Spaces(most) => {
                let leading = token.iter().take(most).take_while(|byte| **byte == b' ');
                let spaces = leading.count();
                text.extend(token.iter().skip(spaces));
                if spaces == token.len() && spaces < most {
                    return Self::Spaces(most - spaces);
                }
            }
            Self::SpacesOfFirstToken => {
                text.extend(token.iter().filter(|byte| **byte != b' '));
            }
        }
        Self::AsIs
    }
}

/// How words are joined.
#[derive(Debug, Clone, PartialEq)]
enum Joint {
    /// Tokens carry their own spaces.
    None,
    /// A space stands before each token but those with this prefix, which is taken off.
    Spaces {
        continuing: Option<String>,
        cleanup: bool,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Rules {
    byte_level: bool,
    /// Tokens such as `<0x0A>` are bytes.
    byte_fallback: bool,
    replacements: Vec<(String, String)>,
    joint: Joint,
    pub(super) beginning: Beginning,
}

impl Rules {
    pub(super) fn of(decoder: Option<&DecoderWrapper>) -> Result<Self, LanguageError> {
        let mut rules = Self {
            byte_level: false,
            byte_fallback: false,
            replacements: Vec::new(),
            joint: Joint::None,
            beginning: Beginning::AsIs,
        };
        match decoder {
            None => {
                rules.beginning = Beginning::Spaces(1);
                rules.joint = Joint::Spaces {
                    continuing: None,
                    cleanup: false,
                };
            }
            Some(decoder) => {
                // The library keeps some of the fields to itself, but writes them all out.
                let written = serde_json::to_value(decoder)
                    .map_err(|error| invalid(format!("it cannot be written out: {error}")))?;
                let mut fused = false;
                rules.add(&written, &mut fused, 0)?;
            }
        }
        Ok(rules)
    }

    fn add(&mut self, step: &Value, fused: &mut bool, depth: usize) -> Result<(), LanguageError> {
        let text = |field: &str| step.get(field).and_then(Value::as_str);
        let kind = text("type").unwrap_or_default();
        match kind {
            "Sequence" if depth < 8 => {
                for inner in step
                    .get("decoders")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                {
                    self.add(inner, fused, depth + 1)?;
                }
            }
            "ByteLevel" => self.byte_level = true,
            "ByteFallback" => self.byte_fallback = true,
            "Fuse" => *fused = true,
            "Metaspace" => {
                let mark = text("replacement").unwrap_or("\u{2581}");
                self.replacements.push((mark.to_owned(), " ".to_owned()));
                if text("prepend_scheme") != Some("never") {
                    self.beginning = Beginning::SpacesOfFirstToken;
                }
            }
            "WordPiece" => {
                self.beginning = Beginning::Spaces(1);
                self.joint = Joint::Spaces {
                    continuing: text("prefix").map(str::to_owned),
                    cleanup: step.get("cleanup").and_then(Value::as_bool) == Some(true),
                };
            }
            "Replace" => {
                let pattern = step
                    .get("pattern")
                    .and_then(|pattern| pattern.get("String"))
                    .and_then(Value::as_str)
                    .filter(|pattern| !pattern.is_empty())
                    .ok_or_else(|| invalid("it replaces a regular expression"))?;
                let content = text("content").unwrap_or_default();
                self.replacements
                    .push((pattern.to_owned(), content.to_owned()));
            }
            "Strip" => {
                let count = |field: &str| step.get(field).and_then(Value::as_u64).unwrap_or(0);
                let start = count("start");
                if count("stop") > 0 || (start > 0 && !(*fused && text("content") == Some(" "))) {
                    return Err(invalid(
                        "it strips more than spaces from the text's beginning",
                    ));
                }
                self.beginning = match usize::try_from(start) {
                    Ok(0) | Err(_) => self.beginning,
                    Ok(start) => Beginning::Spaces(start),
                };
            }
            other => {
                return Err(LanguageError::UnsupportedTokenizer {
                    field: "decoder",
                    found: other.to_owned(),
                    known: KNOWN.to_vec(),
                });
            }
        }
        Ok(())
    }

    /// Appends the bytes of a token.
    pub(super) fn spell(&self, token: &str, bytes: &mut Vec<u8>) {
        if self.byte_level {
            let start = bytes.len();
            for character in token.chars() {
                match byte_of(character) {
                    Some(byte) => bytes.push(byte),
                    None => {
                        // Not of the alphabet: a token that was added as plain text.
                        bytes.truncate(start);
                        bytes.extend_from_slice(token.as_bytes());
                        return;
                    }
                }
            }
            return;
        }
        if self.byte_fallback
            && let Some(byte) = fallback_byte(token)
        {
            bytes.push(byte);
            return;
        }
        let mut text = token.to_owned();
        for (pattern, content) in &self.replacements {
            if text.contains(pattern.as_str()) {
                text = text.replace(pattern.as_str(), content);
            }
        }
        if let Joint::Spaces {
            continuing,
            cleanup,
        } = &self.joint
        {
            let continued = continuing
                .as_ref()
                .and_then(|prefix| text.strip_prefix(prefix.as_str()));
            text = match continued {
                Some(rest) => rest.to_owned(),
                None => format!(" {text}"),
            };
            if *cleanup {
                text = tokenizers::decoders::wordpiece::cleanup(&text);
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    }
}

/// The byte that a token such as `<0x0A>` is.
fn fallback_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2)
        .then(|| u8::from_str_radix(digits, 16).ok())
        .flatten()
}

fn invalid(detail: impl Into<String>) -> LanguageError {
    LanguageError::InvalidTokenizer {
        field: "decoder".to_owned(),
        detail: detail.into(),
    }
}
