//! What text embedding does before a worker sees the text.

use std::fmt;
use std::sync::Arc;

use super::input::PlainText;
use super::{EmbedInput, EmbedOptions, TextEmbedding, TextEmbeddingCapable, TextPreparer};
use crate::model::{ModelInfo, ModelSpec};
use crate::models::ModelError;
use crate::pool::capabilities::refusal::{failed, invalid};
use crate::pool::core::{Admission, PoolError, Shared, offload};

/// Texts above this are prepared away from the async threads: from here on it takes milliseconds.
const LONG_TEXT_BYTES: usize = 16 * 1024;

/// What a text may measure unless the model says otherwise.
const DEFAULT_MAX_INPUT_BYTES: usize = 4 * 1024 * 1024;

/// A preparer of whatever kind.
pub(crate) type AnyPreparer = Box<dyn TextPreparer>;

/// The caller's side of a text embedding model: its tokenizer, and what it refuses.
pub struct TextSide {
    preparer: Arc<Shared<AnyPreparer>>,
    max_input_bytes: usize,
}

impl fmt::Debug for TextSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextSide")
            .field("max_input_bytes", &self.max_input_bytes)
            .finish_non_exhaustive()
    }
}

impl TextSide {
    /// Gives the model the texts themselves.
    fn plain() -> Self {
        Self {
            preparer: Arc::new(Shared::ready(Box::new(PlainText))),
            max_input_bytes: DEFAULT_MAX_INPUT_BYTES,
        }
    }

    /// Refuses what can never be embedded.
    pub(super) fn check(&self, text: &str) -> Result<(), PoolError> {
        if text.is_empty() {
            return Err(invalid("text", "is empty"));
        }
        if text.len() > self.max_input_bytes {
            return Err(PoolError::InputTooLarge {
                bytes: text.len(),
                limit: self.max_input_bytes,
            });
        }
        Ok(())
    }

    pub(super) fn check_batch(&self, texts: &[String]) -> Result<(), PoolError> {
        if texts.is_empty() {
            return Err(invalid("batch", "is empty"));
        }
        for (index, text) in texts.iter().enumerate() {
            if text.is_empty() {
                return Err(invalid("batch", format!("has an empty text at {index}")));
            }
            self.check(text)?;
        }
        Ok(())
    }

    /// Whether a text can be prepared at once.
    pub(super) fn is_loaded(&self) -> bool {
        self.preparer.current().is_some()
    }

    pub(super) async fn prepare(
        &self,
        admission: &Admission<TextEmbedding>,
        text: String,
        options: EmbedOptions,
    ) -> Result<EmbedInput, PoolError> {
        let model = &admission.info().name;
        let preparer = admission.load(&self.preparer).await?;
        let prepared = if text.len() > LONG_TEXT_BYTES {
            offload(move || preparer.prepare(text, &options)).await?
        } else {
            preparer.prepare(text, &options)
        };
        prepared.map_err(|source| failed(model, source))
    }

    /// One word, prepared on this thread.
    pub(super) fn probe(&self) -> Result<EmbedInput, ModelError> {
        let options = EmbedOptions::default();
        let word = "probe".to_owned();
        self.preparer.get_blocking()?.prepare(word, &options)
    }

    pub(super) async fn prepare_batch(
        &self,
        model: &str,
        texts: Vec<String>,
        options: EmbedOptions,
    ) -> Result<(Vec<EmbedInput>, Arc<AnyPreparer>), PoolError> {
        let preparer = self.preparer.get().await;
        let preparer = preparer.map_err(|source| PoolError::LoadFailed {
            model: model.to_owned(),
            source,
        })?;
        let held = Arc::clone(&preparer);
        let prepare_all = move || {
            let prepare = |text| preparer.prepare(text, &options);
            texts.into_iter().map(prepare).collect()
        };
        let prepared: Result<Vec<EmbedInput>, ModelError> = offload(prepare_all).await?;
        let prepared = prepared.map_err(|source| failed(model, source))?;
        Ok((prepared, held))
    }
}

impl ModelSpec<TextEmbedding> {
    /// A text embedding model that is loaded by `loader`, on the thread of each worker. It is
    /// given the texts themselves, unless [`preparer`](Self::preparer) turns them into tokens.
    pub fn text_embedding<M: TextEmbeddingCapable>(
        info: ModelInfo,
        loader: impl Fn() -> Result<M, ModelError> + Send + Sync + 'static,
    ) -> Self {
        let loader = Arc::new(move || {
            let model: Box<dyn TextEmbeddingCapable> = Box::new(loader()?);
            Ok(model)
        });
        Self::with_caller_side(info, TextSide::plain(), loader)
    }

    /// A text embedding model whose workers share their weights: the first worker loads them with
    /// `load_weights`, and `make_worker` makes each worker's model over them. See
    /// [`sharing`](Self::sharing).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use modelpool::{CandleModel, EmbedInput, Embedding, ModelError, ModelInfo, ModelSpec};
    /// use modelpool::{StepContext, TextEmbeddingCapable};
    ///
    /// struct Letters {
    ///     info: ModelInfo,
    ///     vectors: Arc<Vec<Embedding>>, // shared, never changed
    /// }
    ///
    /// impl CandleModel for Letters {
    ///     fn info(&self) -> &ModelInfo {
    ///         &self.info
    ///     }
    /// }
    ///
    /// impl TextEmbeddingCapable for Letters {
    ///     fn embed_step(
    ///         &mut self,
    ///         inputs: &[&EmbedInput],
    ///         _context: &StepContext,
    ///     ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
    ///         let first_letter = |input: &&EmbedInput| usize::from(input.text.as_bytes()[0]);
    ///         let vectors = inputs.iter().map(|input| self.vectors[first_letter(input)].clone());
    ///         Ok(vectors.map(Ok).collect())
    ///     }
    /// }
    ///
    /// // 1 MiB of weights, counted once, and 1 MiB for each worker.
    /// let info = ModelInfo::from_bytes("letters", 1 << 20, 1 << 20);
    /// let spec = ModelSpec::text_embedding_shared(
    ///     info.clone(),
    ///     || Ok(vec![vec![0.5; 128]; 256]),
    ///     move |vectors| Ok(Letters { info: info.clone(), vectors }),
    /// );
    /// # drop(spec);
    /// ```
    pub fn text_embedding_shared<W, M>(
        info: ModelInfo,
        load_weights: impl Fn() -> Result<W, ModelError> + Send + Sync + 'static,
        make_worker: impl Fn(Arc<W>) -> Result<M, ModelError> + Send + Sync + 'static,
    ) -> Self
    where
        W: Send + Sync + 'static,
        M: TextEmbeddingCapable,
    {
        Self::sharing(info, TextSide::plain(), load_weights, move |weights| {
            let model: Box<dyn TextEmbeddingCapable> = Box::new(make_worker(weights)?);
            Ok(model)
        })
    }

    /// Prepares texts on the caller's side with what `load` gives. It is loaded when it is first
    /// needed and kept while a request or a worker uses it.
    #[must_use]
    pub fn preparer<P: TextPreparer>(
        mut self,
        load: impl Fn() -> Result<P, ModelError> + Send + Sync + 'static,
    ) -> Self {
        let preparer = Arc::new(Shared::new(move || Ok(Box::new(load()?) as AnyPreparer)));
        // Workers hold it for as long as they live: it comes and goes with the model.
        let (held, inner) = (Arc::clone(&preparer), self.loader);
        self.loader = Arc::new(move |context| {
            let (model, held) = held.get_beside(|| inner(context))?;
            Ok(Box::new(super::prepared::Prepared::new(model, held)))
        });
        self.caller_side.preparer = preparer;
        self
    }

    /// Refuses texts of more bytes than this. Default 4 MiB. Whatever is let through is truncated
    /// to what the model takes.
    #[must_use]
    pub fn max_input_bytes(mut self, bytes: usize) -> Self {
        self.caller_side.max_input_bytes = bytes;
        self
    }
}
