//! What text generation does before a worker sees the prompt.

use std::fmt;
use std::sync::Arc;

use super::TextToText;
use super::answer::GenerationRequest;
use super::loaded::Language;
use super::params::{GenerationParams, Overlong};
use crate::language::ChatMessage;
use crate::models::ModelError;
use crate::pool::capabilities::refusal::{failed, invalid};
use crate::pool::core::{Admission, PoolError, Shared, offload};

/// Prompts above this are prepared away from the async threads: from here on it takes milliseconds.
const LONG_PROMPT_BYTES: usize = 16 * 1024;

/// What a prompt may measure unless the model says otherwise.
const DEFAULT_MAX_INPUT_BYTES: usize = 4 * 1024 * 1024;

/// The caller's side of a text generation model: its tokenizer and chat template, and what it
/// refuses.
pub struct GenerationSide {
    pub(super) language: Option<Arc<Shared<Language>>>,
    pub(super) max_input_bytes: usize,
    pub(super) context_tokens: Option<usize>,
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
    /// Of a model that knows tokens only.
    pub(super) fn without_language() -> Self {
        Self {
            language: None,
            max_input_bytes: DEFAULT_MAX_INPUT_BYTES,
            context_tokens: None,
        }
    }

    /// Refuses a text that can never be a prompt.
    pub(super) fn check_text(&self, text: &str) -> Result<(), PoolError> {
        if text.is_empty() {
            return Err(invalid("prompt", "is empty"));
        }
        self.check_bytes(text.len())
    }

    /// Refuses what can never be a conversation.
    pub(super) fn check_messages(&self, messages: &[ChatMessage]) -> Result<(), PoolError> {
        if messages.is_empty() {
            return Err(invalid("messages", "are none"));
        }
        let lengths = messages
            .iter()
            .map(|message| message.role.len() + message.content.len());
        self.check_bytes(lengths.sum())
    }

    fn check_bytes(&self, bytes: usize) -> Result<(), PoolError> {
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

    /// Makes a request of a text of so many bytes, with what `tokens` makes of it.
    pub(super) async fn prepare(
        &self,
        admission: &Admission<TextToText>,
        bytes: usize,
        tokens: impl FnOnce(&Language) -> Result<Vec<u32>, ModelError> + Send + 'static,
        params: GenerationParams,
    ) -> Result<GenerationRequest, PoolError> {
        let model = &admission.info().name;
        let Some(shared) = &self.language else {
            return Err(invalid("prompt", "is text, and the model has no tokenizer"));
        };
        let language = admission.load(shared).await?;
        let constraint = params.constraint.clone();
        let takes_long = bytes > LONG_PROMPT_BYTES || constraint.is_some();
        let prepare = move || {
            if let Some(constraint) = &constraint {
                // What can't be kept to is told before it waits for a worker, which begins anew.
                language.begin(constraint)?;
            }
            tokens(&language)
        };
        let prompt = if takes_long {
            offload(prepare).await?
        } else {
            prepare()
        };
        let prompt = prompt.map_err(|source| failed(model, source))?;
        let request = GenerationRequest { prompt, params };
        self.check_tokens(model, &request)?;
        Ok(request)
    }
}
