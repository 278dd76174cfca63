//! The smallest of tokenizers, for tests: its tokens are the bytes.

use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use super::{SpecialTokens, TextTokenizer, Wrap, guarded};
use crate::language::LanguageError;

impl TextTokenizer {
    /// A tokenizer whose tokens are the 256 bytes, and one more that ends a text.
    ///
    /// # Errors
    /// None that is known; what the library says.
    pub fn of_bytes() -> Result<Self, LanguageError> {
        let vocabulary: Map<String, Value> = spellings()
            .zip(0..256)
            .map(|(spelling, id)| (spelling.to_string(), id.into()))
            .collect();
        let by_byte = json!({
            "type": "ByteLevel",
            "add_prefix_space": false,
            "trim_offsets": false,
            "use_regex": false,
        });
        let end = json!({
            "id": 256,
            "content": "<end>",
            "single_word": false,
            "lstrip": false,
            "rstrip": false,
            "normalized": false,
            "special": true,
        });
        let description = json!({
            "version": "1.0",
            "added_tokens": [end],
            "pre_tokenizer": by_byte,
            "decoder": by_byte,
            "model": { "type": "BPE", "vocab": vocabulary, "merges": [] },
        });
        let tokenizer = guarded(|| Tokenizer::from_bytes(description.to_string()));
        let tokenizer = tokenizer.map_err(|error| LanguageError::InvalidTokenizer {
            field: "description".to_owned(),
            detail: error.to_string(),
        })?;
        let special = SpecialTokens {
            eos: Some(256),
            ends: vec![256],
            ..SpecialTokens::default()
        };
        Self::assemble(tokenizer, special, Wrap::PostProcessor)
    }
}

/// How byte-level tokenizers write the bytes, from 0 to 255: those that print as themselves, the
/// others as the characters from U+0100 on, in order.
fn spellings() -> impl Iterator<Item = char> {
    let mut others = '\u{100}'..;
    (0..=255_u8).map(move |byte| match char::from(byte) {
        prints @ ('!'..='~' | '¡'..='¬' | '®'..='ÿ') => prints,
        _ => others.next().unwrap_or_default(),
    })
}
