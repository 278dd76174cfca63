//! Text embedding: one vector for a text.

mod caller_side;
mod engine;
mod input;
mod prepared;

pub use caller_side::TextSide;
pub use engine::TextEmbeddingEngine;
pub use input::{EmbedInput, EmbedOptions, EmbedTask, Embedding, TextPreparer};

use std::sync::OnceLock;
use std::time::Instant;

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::model::CandleModel;
use crate::models::ModelError;
use crate::pool::core::{Capability, ModelHandle, PoolError, Priority, StepContext};

/// How many texts of a batch are prepared together, away from the async threads.
const PREPARED_TOGETHER: usize = 64;

/// The capability of models that turn a text into a vector.
#[derive(Debug, Clone, Copy)]
pub struct TextEmbedding;

impl Capability for TextEmbedding {
    const NAME: &'static str = "text_embedding";
    type Model = dyn TextEmbeddingCapable;
    type Request = EmbedInput;
    type Item = Embedding;
    type CallerSide = TextSide;
    type Engine = TextEmbeddingEngine;

    fn probe_request(side: &TextSide) -> Result<Option<EmbedInput>, ModelError> {
        side.probe().map(Some)
    }

    fn engine(model: Box<dyn TextEmbeddingCapable>) -> TextEmbeddingEngine {
        TextEmbeddingEngine::new(model)
    }
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

impl ModelHandle<TextEmbedding> {
    /// Embeds one text.
    ///
    /// # Errors
    /// [`PoolError::InvalidRequest`] for an empty text, [`PoolError::InputTooLarge`] for one
    /// above the model's `max_input_bytes`, and whatever a request can end with.
    pub async fn embed(&self, text: impl Into<String>) -> Result<Embedding, PoolError> {
        self.embed_with(text, EmbedOptions::default()).await
    }

    /// Embeds one text for a task, or to fewer dimensions.
    ///
    /// # Errors
    /// As [`embed`](Self::embed); [`PoolError::Model`] for a task or dimension that the model
    /// does not have.
    pub async fn embed_with(
        &self,
        text: impl Into<String>,
        options: EmbedOptions,
    ) -> Result<Embedding, PoolError> {
        let text = text.into();
        self.caller_side().check(&text)?;
        let admission = self.admit()?;
        let side = admission.caller_side();
        if !side.is_loaded() {
            admission.start_workers();
        }
        let input = side.prepare(&admission, text, options);
        let input = admission.prepare(input).await?;
        admission.ask(input).await
    }

    /// Embeds many texts, in order, spread over the model's workers. They wait in the batch lane
    /// unless the handle's options name another, a quarter of the queue at most at any time, so
    /// that other requests get through. The first error ends the batch.
    ///
    /// # Errors
    /// [`PoolError::InvalidRequest`] for an empty batch; else as [`embed`](Self::embed).
    pub async fn embed_batch<T: Into<String>>(
        &self,
        texts: impl IntoIterator<Item = T>,
    ) -> Result<Vec<Embedding>, PoolError> {
        self.embed_batch_with(texts, EmbedOptions::default()).await
    }

    /// Embeds many texts for a task, or to fewer dimensions.
    ///
    /// # Errors
    /// As [`embed_batch`](Self::embed_batch) and [`embed_with`](Self::embed_with).
    pub async fn embed_batch_with<T: Into<String>>(
        &self,
        texts: impl IntoIterator<Item = T>,
        options: EmbedOptions,
    ) -> Result<Vec<Embedding>, PoolError> {
        let texts: Vec<String> = texts.into_iter().map(Into::into).collect();
        let side = self.caller_side();
        side.check_batch(&texts)?;
        let handle = self.or_priority(Priority::Batch);
        // A full queue refuses the batch as a whole, at once; once begun, it waits for places.
        let admission = handle.admit()?;
        if !side.is_loaded() {
            admission.start_workers();
        }
        drop(admission);
        let call_deadline = self
            .options()
            .get_deadline()
            .and_then(|allowed| Instant::now().checked_add(allowed));

        let window = (handle.queue_capacity() / 4).clamp(1, 256);
        let mut texts = texts.into_iter();
        let chunks = std::iter::from_fn(|| {
            let chunk: Vec<String> = texts.by_ref().take(PREPARED_TOGETHER).collect();
            (!chunk.is_empty()).then_some(chunk)
        });
        let name = &self.info().name;
        let kept = OnceLock::new();
        let prepare_all = |chunk: Vec<String>| async {
            let inputs = side.prepare_batch(name, chunk.clone(), options.clone());
            let (inputs, preparer) = inputs.await?;
            // For as long as the batch takes: no other request has to load it again meanwhile.
            kept.get_or_init(|| preparer);
            Ok::<_, PoolError>(stream::iter(chunk.into_iter().zip(inputs).map(Ok)))
        };
        stream::iter(chunks)
            .map(prepare_all)
            .buffered(2)
            .try_flatten()
            .map_ok(|(text, input)| {
                let mut handle = handle.clone();
                let (side, options) = (&side, &options);
                async move {
                    if let Some(deadline) = call_deadline {
                        let left = deadline.saturating_duration_since(Instant::now());
                        handle = handle.with(handle.options().deadline(left));
                    }
                    let admission = handle.admit_patiently().await?;
                    if admission.is_of(side) {
                        return admission.ask(input).await;
                    }
                    // The model was replaced meanwhile: its tokens are other ones.
                    let side = admission.caller_side();
                    let input = side.prepare(&admission, text, options.clone());
                    let input = admission.prepare(input).await?;
                    admission.ask(input).await
                }
            })
            .try_buffered(window)
            .try_collect()
            .await
    }
}
