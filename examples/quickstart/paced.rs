//! A model as a user brings one, here made to be watched: the embedded model, slowed down to one
//! text a step, and crashing once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use modelpool::models::{StaticEmbedder, StaticPreparer, StaticWeights};
use modelpool::pool::capabilities::text_embedding::{EmbedInput, TextPreparer};
use modelpool::pool::core::{Shared, StepContext};
use modelpool::{
    CandleModel, EmbedOptions, Embedding, ModelError, ModelInfo, ModelSpec, TextEmbedding,
    TextEmbeddingCapable,
};

/// The model's name in the pool.
pub const NAME: &str = "paced";
/// The first step with this text in it panics.
pub const FATAL_TEXT: &str = "a text that crashes its worker";
/// How long every step sleeps.
const STEP: Duration = Duration::from_millis(20);
/// What one worker is counted with, in MiB: as much as one of the embedded model.
const WORKER_MB: u64 = 16;

/// A description, a loader that runs on each worker's thread, and what callers do with a text
/// beforehand. The table is loaded once and shared by the workers.
pub fn spec() -> ModelSpec<TextEmbedding> {
    let info = ModelInfo::new(NAME, WORKER_MB);
    let weights = Arc::new(Shared::new(StaticWeights::embedded));
    let has_crashed = Arc::new(AtomicBool::new(false));
    ModelSpec::text_embedding(info.clone(), move || {
        Ok(Paced {
            inner: StaticEmbedder::new(info.clone(), weights.get_blocking()?),
            has_crashed: Arc::clone(&has_crashed),
        })
    })
    .preparer(|| Ok(KeepText(StaticPreparer::embedded()?)))
}

struct Paced {
    inner: StaticEmbedder,
    has_crashed: Arc<AtomicBool>,
}

impl CandleModel for Paced {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }
}

impl TextEmbeddingCapable for Paced {
    /// So little that every text gets a step of its own.
    fn max_step_tokens(&self) -> usize {
        1
    }

    #[allow(clippy::panic, reason = "the story is about what happens then")]
    fn embed_step(
        &mut self,
        inputs: &[&EmbedInput],
        context: &StepContext,
    ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
        std::thread::sleep(STEP);
        let is_fatal = inputs.iter().any(|input| input.text == FATAL_TEXT);
        if is_fatal && !self.has_crashed.swap(true, Ordering::Relaxed) {
            panic!("provoked");
        }
        self.inner.embed_step(inputs, context)
    }
}

/// The embedded model's tokenizer drops the text, which this model wants to see.
struct KeepText(StaticPreparer);

impl TextPreparer for KeepText {
    fn prepare(&self, text: String, options: &EmbedOptions) -> Result<EmbedInput, ModelError> {
        let tokens = self.0.prepare(text.clone(), options)?;
        Ok(EmbedInput { text, ..tokens })
    }
}
