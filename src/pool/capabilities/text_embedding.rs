//! Text embedding: one vector for a text.

use serde::{Deserialize, Serialize};

use crate::model::CandleModel;
use crate::models::ModelError;
use crate::pool::core::StepContext;

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

/// Turns a text into tokens on the caller's side, so that worker threads only run the model.
pub trait TextPreparer: Send + Sync + 'static {
    /// Prepares one text.
    ///
    /// # Errors
    /// [`ModelError::Tokenize`] for a text that cannot be tokenised, [`ModelError::InvalidConfig`]
    /// for a task or a dimension that the model does not have.
    fn prepare(&self, text: String, options: &EmbedOptions) -> Result<EmbedInput, ModelError>;
}

/// A model that embeds texts.
pub trait TextEmbeddingCapable: CandleModel {
    /// How many tokens one step should take: enough to keep the processor busy, few enough that
    /// another request does not wait long. A longer text gets a step of its own.
    fn max_step_tokens(&self) -> usize {
        512
    }

    /// Embeds the texts of one step. The answer has one entry for each input, in order; an input
    /// that cannot be embedded gets an error of its own.
    ///
    /// # Errors
    /// An error for the step as a whole counts as a failure of the worker, which is then restarted.
    fn embed_step(
        &mut self,
        inputs: &[&EmbedInput],
        context: &StepContext,
    ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError>;
}
