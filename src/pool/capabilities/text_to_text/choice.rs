//! One answer as it is written.

use std::sync::Arc;

use super::answer::{FinishReason, TextChunk, Token};
use super::loaded::Language;
use super::params::GenerationParams;
use super::step::SequenceId;
use crate::language::{
    ConstraintState, Detokenizer, LanguageError, Sampled, Sampler, StopStrings, TextTokenizer,
};
use crate::models::ModelError;

/// What an answer's tokens are chosen with, and the text that they have come to. It outlives the
/// sequence's place in the cache, so a sequence that is computed anew goes on as it would have.
pub(super) struct Choice {
    pub(super) sequence: SequenceId,
    sampler: Sampler,
    tokenizer: Option<Arc<TextTokenizer>>,
    detokenizer: Option<Detokenizer>,
    stops: StopStrings,
    stop_strings: Vec<String>,
    constraint: Option<ConstraintState>,
    ignore_end: bool,
    tokens_left: usize,
    /// What has not been sent yet.
    chunk: TextChunk,
    finished: bool,
}

impl Choice {
    /// The answer number `number` to a prompt.
    pub(super) fn new(
        number: usize,
        sequence: SequenceId,
        prompt: &[u32],
        params: &GenerationParams,
        seed: u64,
        language: Option<&Arc<Language>>,
    ) -> Result<Self, LanguageError> {
        let tokenizer = language.map(|language| language.tokenizer());
        let constraint = match (&params.constraint, language) {
            (Some(constraint), Some(language)) => Some(language.begin(constraint)?),
            (Some(_), None) => return Err(constrained_to_text()),
            (None, _) => None,
        };
        let detokenizer =
            tokenizer.map(|tokenizer| Detokenizer::after_prompt(Arc::clone(tokenizer), prompt));
        Ok(Self {
            sequence,
            sampler: Sampler::new(&params.sampling, seed.wrapping_add(number as u64))?,
            tokenizer: tokenizer.cloned(),
            detokenizer,
            stops: StopStrings::new(params.stop.clone())?,
            stop_strings: params.stop.clone(),
            constraint,
            ignore_end: params.ignore_eos,
            tokens_left: params.max_tokens,
            chunk: TextChunk {
                choice: number,
                ..TextChunk::default()
            },
            finished: false,
        })
    }

    /// Chooses the next token from a row of logits. `None` if the answer has ended with it or
    /// before it.
    pub(super) fn go_on(
        &mut self,
        logits: &mut [f32],
        history: &[u32],
    ) -> Result<Option<u32>, ModelError> {
        // A model may have more columns than its tokenizer has tokens; those mean nothing.
        let known = self
            .tokenizer
            .as_ref()
            .map(|tokenizer| tokenizer.vocabulary());
        let columns = known.unwrap_or(logits.len()).min(logits.len());
        let logits = &mut logits[..columns];
        if self.ignore_end {
            self.forbid_ends(logits);
        }
        if let Some(constraint) = &mut self.constraint {
            constraint.mask(logits)?;
        }
        let sampled = self.sampler.sample(logits, history)?;
        let token = sampled.token;
        if self.is_end(token) {
            self.finish(FinishReason::Stop);
            return Ok(None);
        }
        self.write(sampled)?;
        Ok((!self.finished).then_some(token))
    }

    fn is_end(&self, token: u32) -> bool {
        self.tokenizer
            .as_ref()
            .is_some_and(|tokenizer| tokenizer.is_end(token))
    }

    fn forbid_ends(&self, logits: &mut [f32]) {
        let ends = self.tokenizer.iter().flat_map(|t| &t.special().ends);
        for &end in ends {
            if let Some(logit) = logits.get_mut(end as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    fn write(&mut self, sampled: Sampled) -> Result<(), LanguageError> {
        let token = sampled.token;
        self.chunk.tokens.push(Token {
            id: token,
            logprob: sampled.logprob,
            top: sampled.top,
        });
        self.tokens_left = self.tokens_left.saturating_sub(1);
        let text = self
            .detokenizer
            .as_mut()
            .map_or_else(String::new, |detokenizer| detokenizer.push(token));
        if !self.write_text(&text) {
            return Ok(());
        }
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(token)?;
            if constraint.is_finished() {
                self.finish(FinishReason::Constraint);
            }
        }
        if self.tokens_left == 0 {
            self.finish(FinishReason::Length);
        }
        Ok(())
    }

    /// `false` if the text came to a stop string.
    fn write_text(&mut self, text: &str) -> bool {
        let progress = self.stops.push(text);
        self.chunk.text.push_str(&progress.text);
        if let Some(index) = progress.stopped {
            let string = self.stop_strings.get(index).cloned().unwrap_or_default();
            self.chunk.finish = Some(FinishReason::StopString(string));
            self.finished = true;
        }
        !self.finished
    }

    /// Ends the answer, unless what is still held back of its text does so with a stop string.
    pub(super) fn finish(&mut self, reason: FinishReason) {
        let rest = self.detokenizer.as_mut().map(Detokenizer::finish);
        if !self.finished && self.write_text(&rest.unwrap_or_default()) {
            self.chunk.text.push_str(&self.stops.finish());
            self.chunk.finish = Some(reason);
            self.finished = true;
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether there is something to send: text, the end, or a token that has none in a model
    /// without a tokenizer.
    pub(super) fn has_news(&self) -> bool {
        let wordless = self.detokenizer.is_none() && !self.chunk.tokens.is_empty();
        !self.chunk.text.is_empty() || self.chunk.finish.is_some() || wordless
    }

    /// Takes what has not been sent yet.
    pub(super) fn take_chunk(&mut self) -> TextChunk {
        let empty = TextChunk {
            choice: self.chunk.choice,
            ..TextChunk::default()
        };
        std::mem::replace(&mut self.chunk, empty)
    }
}

/// There is no text to constrain.
fn constrained_to_text() -> LanguageError {
    LanguageError::InvalidConstraint {
        detail: "the model has no tokenizer".to_owned(),
    }
}
