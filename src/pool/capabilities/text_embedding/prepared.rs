//! A model together with the tokenizer that its callers use.

use std::sync::Arc;

use super::caller_side::AnyPreparer;
use super::{EmbedInput, Embedding, TextEmbeddingCapable};
use crate::model::{CandleModel, ModelInfo};
use crate::models::ModelError;
use crate::pool::core::StepContext;

/// Keeps the callers' tokenizer loaded for as long as the model is.
pub(super) struct Prepared {
    model: Box<dyn TextEmbeddingCapable>,
    _preparer: Arc<AnyPreparer>,
}

impl Prepared {
    pub(super) fn new(model: Box<dyn TextEmbeddingCapable>, preparer: Arc<AnyPreparer>) -> Self {
        Self {
            model,
            _preparer: preparer,
        }
    }
}

impl CandleModel for Prepared {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }
}

impl TextEmbeddingCapable for Prepared {
    fn max_step_tokens(&self) -> usize {
        self.model.max_step_tokens()
    }

    fn embed_step(
        &mut self,
        inputs: &[&EmbedInput],
        context: &StepContext,
    ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
        self.model.embed_step(inputs, context)
    }
}
