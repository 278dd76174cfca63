//! From a prompt to the tokens of both text encoders, on the caller's side.

use std::path::Path;

use crate::models::diffusion::ClipTokenizer;
use crate::models::{EncoderPreparer, ModelError};
use crate::pool::capabilities::text_to_image::{PromptPreparer, PromptTokens};

/// Makes the tokens of CLIP and of T5: truncated to what each takes, and filled up to that.
#[derive(Debug)]
pub struct FluxPreparer {
    clip: ClipTokenizer,
    t5: EncoderPreparer,
    t5_tokens: usize,
    padding: u32,
}

impl FluxPreparer {
    pub(super) fn read(
        root: &Path,
        clip_tokens: usize,
        t5_tokens: usize,
        padding: u32,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            clip: ClipTokenizer::read(&root.join("tokenizer"), clip_tokens)?,
            t5: EncoderPreparer::of_tokenizer(&root.join("tokenizer_2"), t5_tokens)?,
            t5_tokens,
            padding,
        })
    }
}

impl PromptPreparer for FluxPreparer {
    fn prepare(&self, prompt: &str) -> Result<PromptTokens, ModelError> {
        let clip = self.clip.tokens(prompt)?;
        let mut t5 = self.t5.tokenize(prompt)?;
        t5.resize(self.t5_tokens, self.padding);
        Ok(PromptTokens {
            encoders: vec![clip, t5],
            is_absent: false,
        })
    }
}
