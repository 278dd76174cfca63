//! Static embeddings: a text's vector is the weighted mean of its tokens' vectors.
//!
//! No transformer runs, so a text costs microseconds and a worker a few megabytes. The price is
//! word order: "dog bites man" and "man bites dog" get the same vector. One such model, distilled
//! from all-MiniLM-L6-v2, is compiled into this crate ([`StaticWeights::embedded`],
//! [`StaticPreparer::embedded`]): English, 128 components, cut short to any smaller number without
//! much loss. [`StaticFolder`] opens others, as `model2vec` saves them.

mod folder;
mod preparer;
mod weights;

use std::sync::Arc;

use crate::model::{CandleModel, ModelInfo};
use crate::models::ModelError;
use crate::pool::capabilities::text_embedding::{EmbedInput, Embedding, TextEmbeddingCapable};
use crate::pool::core::StepContext;

pub use folder::StaticFolder;
pub use preparer::StaticPreparer;
pub use weights::StaticWeights;

/// How many tokens one step takes: a step of this size still ends within a few milliseconds.
const MAX_STEP_TOKENS: usize = 16_384;

/// A static embedding model. It owns nothing that changes, so its workers share the weights.
#[derive(Debug, Clone)]
pub struct StaticEmbedder {
    info: ModelInfo,
    weights: Arc<StaticWeights>,
}

impl StaticEmbedder {
    /// A model of these weights.
    pub fn new(info: ModelInfo, weights: Arc<StaticWeights>) -> Self {
        Self { info, weights }
    }

    fn embed_one(&self, input: &EmbedInput) -> Result<Embedding, ModelError> {
        let dimensions = checked_dimensions(input.dimensions, self.weights.dimensions())?;
        let mut sum = self.weights.sum_rows(&input.tokens, dimensions)?;
        let length = sum.iter().map(|value| value * value).sum::<f32>().sqrt();
        if !length.is_finite() {
            return Err(ModelError::NotFiniteOutput);
        }
        // Only a text without tokens, or one whose rows cancel out exactly, points nowhere.
        if length <= f32::MIN_POSITIVE {
            return Err(no_known_token());
        }
        sum.iter_mut().for_each(|value| *value /= length);
        Ok(sum)
    }
}

impl CandleModel for StaticEmbedder {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl TextEmbeddingCapable for StaticEmbedder {
    fn max_step_tokens(&self) -> usize {
        MAX_STEP_TOKENS
    }

    fn embed_step(
        &mut self,
        inputs: &[&EmbedInput],
        _context: &StepContext,
    ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
        Ok(inputs.iter().map(|input| self.embed_one(input)).collect())
    }
}

/// How many components are wanted, if the model has that many.
fn checked_dimensions(wanted: Option<usize>, available: usize) -> Result<usize, ModelError> {
    let dimensions = wanted.unwrap_or(available);
    if dimensions == 0 || dimensions > available {
        return Err(ModelError::InvalidConfig {
            file: "the request".to_owned(),
            field: "dimensions".to_owned(),
            detail: format!("{dimensions} is not between 1 and the model's {available}"),
        });
    }
    Ok(dimensions)
}

fn no_known_token() -> ModelError {
    ModelError::Tokenize {
        detail: "it holds no token that the model knows".to_owned(),
    }
}
