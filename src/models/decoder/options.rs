//! How much one worker of a decoder can hold and take.

use super::cache::{BLOCK_TOKENS, CacheFormat};
use crate::models::ModelError;

/// Where nothing else is said, and the model allows it.
const USUAL_CONTEXT: usize = 4096;

/// Tokens of one step where nothing else is said: enough that reading the weights is paid for, few
/// enough that running streams are not held up long by a long prompt.
const USUAL_STEP: usize = 128;

/// More positions than any cache holds.
const MOST_TOKENS: usize = 1 << 30;

/// A decoder worker's sizes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DecoderOptions {
    context_tokens: Option<usize>,
    cache_tokens: Option<usize>,
    cache_format: CacheFormat,
    step_tokens: Option<usize>,
}

/// Options, checked against a model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) context: usize,
    pub(super) blocks: usize,
    pub(super) format: CacheFormat,
    pub(super) step_tokens: usize,
}

impl DecoderOptions {
    /// The most tokens of one sequence, prompt and answer together; not more than the model was
    /// made for. If not set, 4096 or what the model allows. For models with two sets of position
    /// factors (LongRoPE) it decides which is used.
    #[must_use]
    pub fn context_tokens(mut self, tokens: usize) -> Self {
        self.context_tokens = Some(tokens);
        self
    }

    /// How many tokens of all sequences together the cache holds; at least the context. If not
    /// set, twice the context.
    #[must_use]
    pub fn cache_tokens(mut self, tokens: usize) -> Self {
        self.cache_tokens = Some(tokens);
        self
    }

    /// How the cache stores keys and values; half precision if not set.
    #[must_use]
    pub fn cache_format(mut self, format: CacheFormat) -> Self {
        self.cache_format = format;
        self
    }

    /// How many tokens one step takes in all, prompts and running sequences together. 128 if not
    /// set.
    #[must_use]
    pub fn step_tokens(mut self, tokens: usize) -> Self {
        self.step_tokens = Some(tokens);
        self
    }

    /// The most tokens of one sequence, for a model with contexts of up to `most` tokens.
    pub(crate) fn context(&self, most: usize) -> Result<usize, ModelError> {
        Ok(self.sizes(most)?.context)
    }

    /// How many tokens the cache holds, for a model with contexts of up to `most` tokens.
    pub(crate) fn cache(&self, most: usize) -> Result<usize, ModelError> {
        Ok(self.sizes(most)?.blocks * BLOCK_TOKENS)
    }

    /// How many tokens one step takes, for a model with contexts of up to `most` tokens.
    pub(crate) fn step(&self, most: usize) -> Result<usize, ModelError> {
        Ok(self.sizes(most)?.step_tokens)
    }

    /// The sizes for a model with contexts of up to `most` tokens.
    pub(super) fn sizes(&self, most: usize) -> Result<Sizes, ModelError> {
        let invalid = |field: &str, detail: String| {
            Err(ModelError::InvalidConfig {
                file: "the decoder's options".to_owned(),
                field: field.to_owned(),
                detail,
            })
        };
        let context = self.context_tokens.unwrap_or(USUAL_CONTEXT.min(most));
        if context == 0 || context > most {
            let detail = format!("{context} is not from 1 to the model's {most}");
            return invalid("context_tokens", detail);
        }
        let cache = self.cache_tokens.unwrap_or(2 * context);
        if cache < context || cache > MOST_TOKENS {
            let detail = format!("{cache} is not from the context's {context} to {MOST_TOKENS}");
            return invalid("cache_tokens", detail);
        }
        let step_tokens = self.step_tokens.unwrap_or(USUAL_STEP);
        if step_tokens == 0 || step_tokens > MOST_TOKENS {
            let detail = format!("{step_tokens} is not from 1 to {MOST_TOKENS}");
            return invalid("step_tokens", detail);
        }
        Ok(Sizes {
            context,
            blocks: cache.div_ceil(BLOCK_TOKENS),
            format: self.cache_format,
            step_tokens,
        })
    }
}
