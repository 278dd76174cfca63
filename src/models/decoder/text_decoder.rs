//! The servable model: shared weights, a cache and buffers of its own.

use std::fmt;
use std::sync::Arc;

use super::cache::{BLOCK_TOKENS, Cache};
use super::description::Description;
use super::files::DecoderWeights;
use super::forward::{Network, Scratch};
use super::options::{DecoderOptions, Sizes};
use super::rope::Rope;
use crate::model::{CandleModel, ModelInfo};
use crate::models::ModelError;
use crate::pool::capabilities::text_to_text::{
    DecoderLimits, LogitRows, SequenceChunk, TextToTextCapable, is_mark,
};
use crate::pool::core::StepContext;

/// A decoder that a worker serves. It shares its weights with other workers and owns its cache and
/// the buffers of a step, which it keeps.
///
/// A sequence's logits are the same, bit for bit, whatever other sequences are in the step, however
/// its prompt was cut into chunks, and with any number of threads.
pub struct TextDecoder {
    info: ModelInfo,
    weights: Arc<DecoderWeights>,
    sizes: Sizes,
    ropes: Vec<Rope>,
    cache: Cache,
    scratch: Scratch,
}

impl fmt::Debug for TextDecoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TextDecoder")
            .field("info", &self.info)
            .field("weights", &self.weights)
            .field("sizes", &self.sizes)
            .finish_non_exhaustive()
    }
}

impl TextDecoder {
    /// A worker's decoder over weights that others may use too.
    ///
    /// # Errors
    /// [`ModelError::InvalidConfig`] for options that do not fit the model.
    pub fn new(
        info: ModelInfo,
        weights: Arc<DecoderWeights>,
        options: &DecoderOptions,
    ) -> Result<Self, ModelError> {
        let description = weights.description();
        let sizes = options.sizes(description.context)?;
        let rotaries = description.rotaries.iter();
        let ropes = rotaries.map(|rotary| rotary.rope(sizes.context)).collect();
        let cache = Cache::new(
            sizes.format,
            description.layers.len(),
            description.kv_heads,
            description.head_width,
            sizes.blocks,
        );
        Ok(Self {
            info,
            weights,
            sizes,
            ropes,
            cache,
            scratch: Scratch::default(),
        })
    }

    /// Writes to all of the cache's memory, which else is taken from the system as it is used.
    #[cfg(feature = "testing")]
    pub fn touch_cache(&mut self) {
        self.cache.touch();
    }

    /// Why a step cannot be run.
    fn check(&self, chunks: &[SequenceChunk<'_>]) -> Result<(), ModelError> {
        let Description {
            vocabulary, hidden, ..
        } = *self.weights.description();
        for chunk in chunks {
            let end = chunk.position.saturating_add(chunk.tokens.len());
            let needed = end.div_ceil(BLOCK_TOKENS);
            let blocks = self.sizes.blocks;
            let foreign = chunk.blocks.iter().find(|block| block.index() >= blocks);
            let is_row = |place: usize| {
                let row = chunk
                    .picture
                    .as_ref()
                    .and_then(|picture| picture.row_at(place));
                row.is_some_and(|row| row.len() == hidden)
            };
            // Where positions end, there is neither a row nor room.
            let places = (0..).map(|number| chunk.position.saturating_add(number));
            let mut tokens = places.zip(chunk.tokens);
            let unknown = tokens.find(|(place, id)| match is_mark(**id) {
                true => !is_row(*place),
                false => **id as usize >= vocabulary,
            });
            let detail = if chunk.tokens.is_empty() {
                "it has no tokens".to_owned()
            } else if end > self.sizes.context {
                format!("{end} tokens are more than {}", self.sizes.context)
            } else if chunk.blocks.len() < needed {
                format!(
                    "{end} tokens take {needed} blocks, it has {}",
                    chunk.blocks.len()
                )
            } else if let Some(block) = foreign {
                format!("block {} is not one of {blocks}", block.0)
            } else if let Some((place, token)) = unknown {
                if is_mark(*token) {
                    format!("at {place}, it has no row of a picture")
                } else {
                    format!("token {token} is outside the vocabulary of {vocabulary}")
                }
            } else {
                continue;
            };
            return Err(ModelError::InvalidStep {
                sequence: chunk.sequence.0,
                detail,
            });
        }
        Ok(())
    }
}

impl CandleModel for TextDecoder {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl TextToTextCapable for TextDecoder {
    fn limits(&self) -> DecoderLimits {
        DecoderLimits {
            context_tokens: self.sizes.context,
            vocabulary: self.weights.description().vocabulary,
            block_tokens: BLOCK_TOKENS,
            blocks: self.sizes.blocks,
            step_tokens: self.sizes.step_tokens,
        }
    }

    fn forward(
        &mut self,
        chunks: &[SequenceChunk<'_>],
        logits: &mut LogitRows,
        context: &StepContext,
    ) -> Result<(), ModelError> {
        self.check(chunks)?;
        if logits.vocabulary() != self.weights.description().vocabulary {
            return Err(ModelError::InvalidStep {
                sequence: chunks.first().map_or(0, |chunk| chunk.sequence.0),
                detail: format!("rows of {} logits are asked for", logits.vocabulary()),
            });
        }
        if chunks.is_empty() {
            logits.rows_mut(0);
            return Ok(());
        }
        let network = Network {
            cpu: self.weights.cpu(),
            description: self.weights.description(),
            tensors: self.weights.tensors(),
            ropes: &self.ropes,
        };
        network.run(
            context.team(),
            chunks,
            &mut self.cache,
            &mut self.scratch,
            logits,
        );
        Ok(())
    }
}
