//! The servable model: shared weights, buffers of its own.

use std::fmt;
use std::sync::Arc;

use super::folder::EncoderWeights;
use super::forward::Scratch;
use super::head;
use super::source::Words;
use crate::kernels::Team;
use crate::model::{CandleModel, ModelInfo};
use crate::models::ModelError;
use crate::pool::capabilities::text_embedding::{EmbedInput, Embedding, TextEmbeddingCapable};
use crate::pool::core::StepContext;

/// Tokens of one step: enough that the weights' way through the caches is paid for, and no more, so
/// that the next request waits little.
pub(super) const MAX_STEP_TOKENS: usize = 256;

/// A text encoder that a worker serves. It shares its weights with other workers and owns the
/// buffers of a step, which it keeps.
pub struct TextEncoder {
    info: ModelInfo,
    weights: Arc<EncoderWeights>,
    scratch: Scratch,
}

impl fmt::Debug for TextEncoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TextEncoder")
            .field("info", &self.info)
            .field("weights", &self.weights)
            .finish_non_exhaustive()
    }
}

impl TextEncoder {
    /// A worker's encoder over weights that others may use too.
    pub fn new(info: ModelInfo, weights: Arc<EncoderWeights>) -> Self {
        Self {
            info,
            weights,
            scratch: Scratch::default(),
        }
    }

    /// The vectors of a text's tokens after the last layer: shape `[tokens, hidden]`.
    pub(crate) fn token_vectors(
        &mut self,
        tokens: &[u32],
        team: &Team,
    ) -> Result<Vec<f32>, ModelError> {
        self.check(tokens)?;
        let network = self.weights.network();
        let words = Words {
            network,
            texts: &[tokens],
        };
        network.run(&words, network.whole(), team, &mut self.scratch);
        let vectors = self.scratch.sequences().next();
        Ok(vectors.unwrap_or_default().to_vec())
    }

    /// Why a text cannot be run; the network itself takes any tokens of its vocabulary.
    fn check(&self, text: &[u32]) -> Result<(), ModelError> {
        let tokens = text.len();
        let most = self.weights.folder().max_tokens();
        let vocabulary = self.weights.network().description.vocabulary;
        let detail = if tokens == 0 {
            "it has no tokens".to_owned()
        } else if tokens > most {
            format!("{tokens} tokens, the model takes {most}")
        } else if let Some(token) = text.iter().find(|id| **id as usize >= vocabulary) {
            format!("token {token} is outside the vocabulary of {vocabulary}")
        } else {
            return Ok(());
        };
        Err(ModelError::Tokenize { detail })
    }
}

impl CandleModel for TextEncoder {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl TextEmbeddingCapable for TextEncoder {
    fn max_step_tokens(&self) -> usize {
        MAX_STEP_TOKENS
    }

    fn embed_step(
        &mut self,
        inputs: &[&EmbedInput],
        context: &StepContext,
    ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
        let checks: Vec<_> = inputs
            .iter()
            .map(|input| self.check(&input.tokens))
            .collect();
        let sound: Vec<&EmbedInput> = inputs
            .iter()
            .zip(&checks)
            .filter(|(_, check)| check.is_ok())
            .map(|(input, _)| *input)
            .collect();
        let texts: Vec<&[u32]> = sound.iter().map(|input| input.tokens.as_slice()).collect();
        let network = self.weights.network();
        if !texts.is_empty() {
            let words = Words {
                network,
                texts: &texts,
            };
            network.run(&words, network.whole(), context.team(), &mut self.scratch);
        }

        let width = network.description.hidden;
        let poolings = &self.weights.modules().poolings;
        let mut pooled = vec![0.0; texts.len() * poolings.len() * width];
        let mut places = pooled.chunks_exact_mut(width);
        for vectors in self.scratch.sequences().take(texts.len()) {
            for (pooling, place) in poolings.iter().zip(&mut places) {
                head::pool(*pooling, vectors, place);
            }
        }
        let vectors = head::finish(network, pooled, texts.len());
        let dimensions = self.weights.folder().dimensions();
        let mut embedded = vectors.chunks_exact(dimensions).zip(&sound);
        let answers = checks.into_iter().map(|check| {
            check?;
            // One vector was made for each sound input.
            match embedded.next() {
                Some((vector, input)) => head::cut(vector, input.dimensions),
                None => Err(ModelError::NotFiniteOutput),
            }
        });
        Ok(answers.collect())
    }
}
