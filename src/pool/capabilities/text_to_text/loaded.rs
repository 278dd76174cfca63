//! A loaded decoder together with its language.

use std::fmt;
use std::sync::Arc;

use super::TextToTextCapable;
use crate::language::TextTokenizer;

/// What stands between a model's tokens and text: its tokenizer.
#[derive(Debug, Clone)]
pub struct Language {
    tokenizer: Arc<TextTokenizer>,
}

impl Language {
    /// A language of this tokenizer.
    pub fn new(tokenizer: TextTokenizer) -> Self {
        Self {
            tokenizer: Arc::new(tokenizer),
        }
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Arc<TextTokenizer> {
        &self.tokenizer
    }
}

/// A decoder as a worker has it: with the language that its callers use, which is loaded for as
/// long as it is.
pub struct LanguageModel {
    pub(super) decoder: Box<dyn TextToTextCapable>,
    language: Option<Arc<Language>>,
}

impl fmt::Debug for LanguageModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LanguageModel")
            .field("name", &self.decoder.info().name)
            .field("language", &self.language)
            .finish()
    }
}

impl LanguageModel {
    /// One that knows tokens only.
    pub(super) fn mute(decoder: Box<dyn TextToTextCapable>) -> Self {
        Self {
            decoder,
            language: None,
        }
    }

    pub(super) fn speaking(self, language: Arc<Language>) -> Self {
        Self {
            language: Some(language),
            ..self
        }
    }

    pub(super) fn tokenizer(&self) -> Option<&Arc<TextTokenizer>> {
        self.language.as_ref().map(|language| language.tokenizer())
    }
}
