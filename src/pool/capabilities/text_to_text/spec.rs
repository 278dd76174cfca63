//! How text generation models are brought to a pool.

use std::sync::Arc;

use super::caller_side::GenerationSide;
use super::loaded::{Language, LanguageModel};
use super::{TextToText, TextToTextCapable};
use crate::model::{ModelInfo, ModelSpec};
use crate::models::ModelError;
use crate::pool::core::Shared;

impl ModelSpec<TextToText> {
    /// A text generation model that is loaded by `loader`, on the thread of each worker. Without a
    /// [`language`](Self::language) it goes on from tokens and answers with tokens.
    pub fn text_to_text<M: TextToTextCapable>(
        info: ModelInfo,
        loader: impl Fn() -> Result<M, ModelError> + Send + Sync + 'static,
    ) -> Self {
        let side = GenerationSide::without_language();
        let loader = Arc::new(move || Ok(Box::new(LanguageModel::mute(Box::new(loader()?)))));
        Self::with_caller_side(info, side, loader)
    }

    /// The same for a model whose workers share their weights: `load_weights` runs when the first
    /// worker starts, the others are made from what it gave, and with the last worker it is freed.
    /// What of the estimate is weights is said with [`ModelInfo::from_bytes`].
    pub fn text_to_text_shared<W, M>(
        info: ModelInfo,
        load_weights: impl Fn() -> Result<W, ModelError> + Send + Sync + 'static,
        make_worker: impl Fn(Arc<W>) -> Result<M, ModelError> + Send + Sync + 'static,
    ) -> Self
    where
        W: Send + Sync + 'static,
        M: TextToTextCapable,
    {
        let side = GenerationSide::without_language();
        Self::sharing(info, side, load_weights, move |weights| {
            Ok(Box::new(LanguageModel::mute(Box::new(make_worker(
                weights,
            )?))))
        })
    }

    /// Gives callers and workers the tokenizer and the chat template that `load` gives. They are
    /// loaded when they are first needed and kept while a request or a worker uses them.
    #[must_use]
    pub fn language(
        mut self,
        load: impl Fn() -> Result<Language, ModelError> + Send + Sync + 'static,
    ) -> Self {
        let language = Arc::new(Shared::new(load));
        let (held, inner) = (Arc::clone(&language), self.loader);
        self.loader = Arc::new(move |context| {
            let (model, held) = held.get_beside(|| inner(context))?;
            Ok(Box::new(model.speaking(held)))
        });
        self.caller_side.language = Some(language);
        self
    }

    /// Refuses prompts of more bytes than this. Default 4 MiB.
    #[must_use]
    pub fn max_input_bytes(mut self, bytes: usize) -> Self {
        self.caller_side.max_input_bytes = bytes;
        self
    }

    /// Refuses prompts that do not fit into this many tokens before they are queued. Without it,
    /// the worker does.
    #[must_use]
    pub fn context_tokens(mut self, tokens: usize) -> Self {
        self.caller_side.context_tokens = Some(tokens);
        self
    }
}
