//! From prompts to the tokens of a pipeline's text encoders.

use std::path::PathBuf;

use super::clip_tokens::ClipTokenizer;
use crate::models::ModelError;
use crate::pool::capabilities::text_to_image::{PromptPreparer, PromptTokens};

/// The tokenizers of a pipeline: prompts become as many tokens as the text encoders take, cut off or
/// filled up.
#[derive(Debug)]
pub struct DiffusionPreparer {
    tokenizers: Vec<ClipTokenizer>,
}

impl DiffusionPreparer {
    /// Reads the tokenizer of each folder, with the number of tokens that its encoder takes.
    pub(super) fn read(
        folders: impl Iterator<Item = (PathBuf, usize)>,
    ) -> Result<Self, ModelError> {
        let read = |(folder, positions): (PathBuf, usize)| ClipTokenizer::read(&folder, positions);
        Ok(Self {
            tokenizers: folders.map(read).collect::<Result<_, _>>()?,
        })
    }
}

impl PromptPreparer for DiffusionPreparer {
    fn prepare(&self, prompt: &str) -> Result<PromptTokens, ModelError> {
        let encoders = self.tokenizers.iter();
        Ok(PromptTokens {
            encoders: encoders
                .map(|tokenizer| tokenizer.tokens(prompt))
                .collect::<Result<_, _>>()?,
            is_absent: false,
        })
    }
}
