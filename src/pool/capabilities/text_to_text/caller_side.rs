//! What text generation does before a worker sees the prompt.

use std::fmt;
use std::sync::Arc;

use super::answer::GenerationRequest;
use super::loaded::{Language, LanguageModel};
use super::params::{GenerationParams, Overlong, invalid};
use super::{TextToText, TextToTextCapable};
use crate::model::{ModelInfo, ModelSpec};
use crate::models::ModelError;
use crate::pool::core::{PoolError, Shared, offload};

/// Prompts above this are prepared away from the async threads: from here on it takes milliseconds.
const LONG_PROMPT_BYTES: usize = 16 * 1024;

/// What a prompt may measure unless the model says otherwise.
const DEFAULT_MAX_INPUT_BYTES: usize = 4 * 1024 * 1024;

/// The caller's side of a text generation model: its tokenizer and chat template, and what it
/// refuses.
pub struct GenerationSide {
    language: Option<Arc<Shared<Language>>>,
    max_input_bytes: usize,
    context_tokens: Option<usize>,
}

impl fmt::Debug for GenerationSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GenerationSide")
            .field("max_input_bytes", &self.max_input_bytes)
            .field("context_tokens", &self.context_tokens)
            .finish_non_exhaustive()
    }
}

impl GenerationSide {
    /// Refuses a text that can never be a prompt.
    pub(super) fn check_text(&self, text: &str) -> Result<(), PoolError> {
        if text.is_empty() {
            return Err(invalid("prompt", "is empty"));
        }
        self.check_bytes(text.len())
    }

    pub(super) fn check_bytes(&self, bytes: usize) -> Result<(), PoolError> {
        if bytes > self.max_input_bytes {
            return Err(PoolError::InputTooLarge {
                bytes,
                limit: self.max_input_bytes,
            });
        }
        Ok(())
    }

    /// Refuses tokens that can never be a prompt.
    pub(super) fn check_tokens(
        &self,
        model: &str,
        request: &GenerationRequest,
    ) -> Result<(), PoolError> {
        let tokens = request.prompt.len();
        if tokens == 0 {
            return Err(invalid("prompt", "has no tokens"));
        }
        let most = self
            .context_tokens
            .map_or(usize::MAX, |context| context.saturating_sub(1));
        if tokens > most && request.params.overlong == Overlong::Refuse {
            let too_long = ModelError::PromptTooLong { tokens, most };
            return Err(failed(model, too_long));
        }
        Ok(())
    }

    /// Makes a request of a text, with what `tokens` makes of it.
    pub(super) async fn prepare(
        &self,
        model: &str,
        bytes: usize,
        tokens: impl FnOnce(&Language) -> Result<Vec<u32>, ModelError> + Send + 'static,
        params: GenerationParams,
    ) -> Result<GenerationRequest, PoolError> {
        let Some(shared) = &self.language else {
            return Err(invalid("prompt", "is text, and the model has no tokenizer"));
        };
        let language = shared.get().await.map_err(|source| PoolError::LoadFailed {
            model: model.to_owned(),
            source,
        })?;
        let prompt = if bytes > LONG_PROMPT_BYTES {
            offload(move || tokens(&language)).await?
        } else {
            tokens(&language)
        };
        let prompt = prompt.map_err(|source| failed(model, source))?;
        let request = GenerationRequest { prompt, params };
        self.check_tokens(model, &request)?;
        Ok(request)
    }
}

fn failed(model: &str, source: ModelError) -> PoolError {
    PoolError::Model {
        model: model.to_owned(),
        source,
    }
}

impl ModelSpec<TextToText> {
    /// A text generation model that is loaded by `loader`, on the thread of each worker. Without a
    /// [`language`](Self::language) it goes on from tokens and answers with tokens.
    pub fn text_to_text<M: TextToTextCapable>(
        info: ModelInfo,
        loader: impl Fn() -> Result<M, ModelError> + Send + Sync + 'static,
    ) -> Self {
        let side = GenerationSide {
            language: None,
            max_input_bytes: DEFAULT_MAX_INPUT_BYTES,
            context_tokens: None,
        };
        let loader = Arc::new(move || Ok(Box::new(LanguageModel::new(Box::new(loader()?), None))));
        Self::with_caller_side(info, side, loader)
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
        self.loader = Arc::new(move || {
            let model = inner()?;
            Ok(Box::new(model.speaking(held.get_blocking()?)))
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
