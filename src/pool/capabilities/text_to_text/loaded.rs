//! A loaded decoder together with its language.

use std::fmt;
use std::sync::Arc;

use super::TextToTextCapable;
use crate::language::{
    ChatMessage, ChatTemplate, Constraint, ConstraintFactory, ConstraintState, LanguageError,
    TemplateOptions, TextTokenizer,
};
use crate::models::ModelError;

/// What stands between a model's tokens and text: its tokenizer, and the template that makes a
/// text of a conversation.
#[derive(Debug)]
pub struct Language {
    tokenizer: Arc<TextTokenizer>,
    template: Result<ChatTemplate, ModelError>,
    constraints: ConstraintFactory,
}

impl Language {
    /// A language of this tokenizer, without a template.
    pub fn new(tokenizer: TextTokenizer) -> Self {
        let tokenizer = Arc::new(tokenizer);
        Self {
            template: Err(LanguageError::MissingTemplate.into()),
            constraints: ConstraintFactory::new(Arc::clone(&tokenizer)),
            tokenizer,
        }
    }

    /// The same language with the chat template that `read` makes for its tokenizer. An error is
    /// what callers who want to chat are told; others are not concerned.
    #[must_use]
    pub fn template(
        mut self,
        read: impl FnOnce(&TextTokenizer) -> Result<ChatTemplate, ModelError>,
    ) -> Self {
        self.template = read(&self.tokenizer);
        self
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Arc<TextTokenizer> {
        &self.tokenizer
    }

    /// A conversation's tokens, as the model expects them.
    pub(super) fn conversation(
        &self,
        messages: &[ChatMessage],
        options: &TemplateOptions,
    ) -> Result<Vec<u32>, ModelError> {
        let template = self.template.as_ref().map_err(Clone::clone)?;
        let text = template.render(messages, options)?;
        Ok(self.tokenizer.encode(&text, false)?)
    }

    /// Where an answer begins that is to keep to a constraint.
    pub(super) fn begin(&self, constraint: &Constraint) -> Result<ConstraintState, LanguageError> {
        self.constraints.compile(constraint)
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

    pub(super) fn language(&self) -> Option<&Arc<Language>> {
        self.language.as_ref()
    }
}
