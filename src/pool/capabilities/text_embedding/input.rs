//! What goes into a text embedding, and what comes out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::models::ModelError;

/// A text's vector. Its length is the model's dimension, or what [`EmbedOptions::dimensions`] asked for.
pub type Embedding = Vec<f32>;

/// What a text is embedded for. Models trained with prompts prefix the text accordingly.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum EmbedTask {
    /// The model's own default prompt, if it has one.
    #[default]
    Default,
    /// The text is a search query.
    Query,
    /// The text is a passage to be found.
    Passage,
    /// The prompt of this name in the model's `config_sentence_transformers.json`.
    Named(String),
}

/// How a text is embedded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct EmbedOptions {
    /// What the embedding is for.
    pub task: EmbedTask,
    /// Keep only the first `n` components and normalise again (Matryoshka embeddings). `None`
    /// keeps all. At least 1, at most the model's dimension.
    pub dimensions: Option<usize>,
}

/// A text made ready for the model on the caller's side.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EmbedInput {
    /// The text, as the caller gave it. Empty where `tokens` is all that the model reads.
    pub text: String,
    /// The token ids, prompt and special tokens included, truncated to what the model takes.
    pub tokens: Vec<u32>,
    /// How many components the caller wants; `None` for all.
    pub dimensions: Option<usize>,
}

impl EmbedInput {
    /// How many tokens the text counts for in a step. Without a tokenizer, four bytes make one.
    pub fn cost(&self) -> usize {
        if self.tokens.is_empty() {
            self.text.len().div_ceil(4).max(1)
        } else {
            self.tokens.len()
        }
    }
}

/// Turns a text into tokens on the caller's side, so that worker threads only run the model.
pub trait TextPreparer: Send + Sync + 'static {
    /// Prepares one text.
    ///
    /// # Errors
    /// [`ModelError::Tokenize`] for a text that cannot be tokenised, [`ModelError::InvalidConfig`]
    /// for a task or a dimension that the model does not have.
    fn prepare(&self, text: String, options: &EmbedOptions) -> Result<EmbedInput, ModelError>;
}

impl<P: TextPreparer + ?Sized> TextPreparer for Arc<P> {
    fn prepare(&self, text: String, options: &EmbedOptions) -> Result<EmbedInput, ModelError> {
        (**self).prepare(text, options)
    }
}

/// For models that read the text itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PlainText;

impl TextPreparer for PlainText {
    fn prepare(&self, text: String, options: &EmbedOptions) -> Result<EmbedInput, ModelError> {
        Ok(EmbedInput {
            text,
            tokens: Vec::new(),
            dimensions: options.dimensions,
        })
    }
}
