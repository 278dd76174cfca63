//! A loaded decoder together with its language.

use std::fmt;
use std::sync::Arc;

use super::TextToTextCapable;
use super::picture::PictureRows;
use crate::language::{
    ChatMessage, ChatTemplate, Constraint, ConstraintFactory, ConstraintState, LanguageError,
    TemplateOptions, TextTokenizer,
};
use crate::models::ModelError;
use crate::pool::capabilities::vision::{VisionInput, VisionLanguageCapable};
use crate::pool::core::StepContext;

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

    /// The tokens of a query about a picture. One of them is the token `placeholder`, which stands for the
    /// picture, however often the query spells it.
    pub(crate) fn about_picture(
        &self,
        query: &str,
        placeholder: u32,
    ) -> Result<Vec<u32>, ModelError> {
        let template = self.template.as_ref().map_err(Clone::clone)?;
        let text = template.render_about_picture(query, &TemplateOptions::default())?;
        let bos = self.tokenizer.special().bos;
        let bos = bos.and_then(|id| self.tokenizer.token_bytes(id));
        let begins = bos.is_some_and(|bos| text.as_bytes().starts_with(bos));
        let tokens = self.tokenizer.encode(&text, !begins)?;
        match tokens.iter().filter(|token| **token == placeholder).count() {
            1 => Ok(tokens),
            count => Err(ModelError::Tokenize {
                detail: format!("the chat template has {count} places for one picture"),
            }),
        }
    }

    /// Fails for a constraint that cannot be kept to.
    pub(crate) fn check(&self, constraint: &Constraint) -> Result<(), ModelError> {
        Ok(self.begin(constraint).map(|_| ())?)
    }

    /// Where an answer begins that is to keep to a constraint.
    pub(super) fn begin(&self, constraint: &Constraint) -> Result<ConstraintState, LanguageError> {
        self.constraints.compile(constraint)
    }
}

/// A decoder as a worker has it: with the language that its callers use, which is loaded for as
/// long as it is.
pub struct LanguageModel {
    decoder: Decoder,
    language: Option<Arc<Language>>,
}

enum Decoder {
    Text(Box<dyn TextToTextCapable>),
    Seeing(Box<dyn VisionLanguageCapable>),
}

impl fmt::Debug for LanguageModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LanguageModel")
            .field("name", &self.decoder().info().name)
            .field("language", &self.language)
            .finish()
    }
}

impl LanguageModel {
    /// One that knows tokens only.
    pub(super) fn mute(decoder: Box<dyn TextToTextCapable>) -> Self {
        Self {
            decoder: Decoder::Text(decoder),
            language: None,
        }
    }

    /// One that looks at pictures, too.
    pub(in crate::pool::capabilities) fn seeing(decoder: Box<dyn VisionLanguageCapable>) -> Self {
        Self {
            decoder: Decoder::Seeing(decoder),
            language: None,
        }
    }

    pub(super) fn decoder(&self) -> &dyn TextToTextCapable {
        match &self.decoder {
            Decoder::Text(decoder) => &**decoder,
            Decoder::Seeing(decoder) => &**decoder,
        }
    }

    pub(super) fn decoder_mut(&mut self) -> &mut dyn TextToTextCapable {
        match &mut self.decoder {
            Decoder::Text(decoder) => &mut **decoder,
            Decoder::Seeing(decoder) => &mut **decoder,
        }
    }

    /// What the decoder is given of a picture.
    pub(in crate::pool::capabilities) fn look(
        &mut self,
        input: &VisionInput,
        context: &StepContext,
    ) -> Result<PictureRows, ModelError> {
        match &mut self.decoder {
            Decoder::Seeing(decoder) => decoder.encode(input, context),
            Decoder::Text(_) => Err(ModelError::Other("the model sees nothing".to_owned())),
        }
    }

    /// The model's name.
    pub(in crate::pool::capabilities) fn name(&self) -> &str {
        &self.decoder().info().name
    }

    pub(in crate::pool::capabilities) fn speaking(self, language: Arc<Language>) -> Self {
        Self {
            language: Some(language),
            ..self
        }
    }

    pub(super) fn language(&self) -> Option<&Arc<Language>> {
        self.language.as_ref()
    }
}
