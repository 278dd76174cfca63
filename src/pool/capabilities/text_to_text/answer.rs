//! What is asked of a worker, and what comes back.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::params::GenerationParams;

/// A prompt made ready for the model on the caller's side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GenerationRequest {
    /// The prompt's token ids, special tokens included; at least one.
    pub prompt: Vec<u32>,
    /// How it goes on.
    pub params: GenerationParams,
}

/// The shortest beginning of a prompt by which a worker's cache is found again.
const SHORTEST_BEGINNING: usize = 16;

/// Marks of a prompt's first 16, 32, 64, … tokens.
pub(in crate::pool::capabilities) fn beginnings(prompt: &[u32]) -> Vec<u64> {
    let mut marks = Vec::new();
    let mut hasher = DefaultHasher::new();
    let mut mark_at = SHORTEST_BEGINNING;
    for (count, token) in (1..).zip(prompt) {
        token.hash(&mut hasher);
        if count == mark_at {
            marks.push(hasher.finish());
            mark_at *= 2;
        }
    }
    marks
}

/// A generated token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// The natural logarithm of its probability, if asked for.
    pub logprob: Option<f32>,
    /// The likeliest tokens at its place with their log-probabilities, as many as asked for.
    pub top: Vec<(u32, f32)>,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FinishReason {
    /// The model ended it.
    Stop,
    /// It came to this stop string, which is not part of it.
    StopString(String),
    /// It has `max_tokens` tokens, or the model's context is full.
    Length,
    /// What it was constrained to is complete.
    Constraint,
}

/// What was read and written for a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, as the model was given it.
    pub prompt_tokens: usize,
    /// How many of those the worker's cache held already.
    pub cached_tokens: usize,
    /// Tokens of all answers together.
    pub completion_tokens: usize,
}

/// Where a request's time went, counted from its acceptance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// Until a worker took it up: tokenising and waiting.
    pub queued: Duration,
    /// Until the first token was chosen.
    pub first_token: Duration,
    /// Until the last token was chosen.
    pub total: Duration,
}

/// The account of a request, with the last item of its stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// What was read and written.
    pub usage: Usage,
    /// Why each answer ended.
    pub finish: Vec<FinishReason>,
    /// Where the time went.
    pub timings: Timings,
}

impl Summary {
    /// Tokens a second from the first to the last, of all answers together; 0 for a single token.
    pub fn tokens_per_second(&self) -> f64 {
        let decoding = self.timings.total.saturating_sub(self.timings.first_token);
        let after_first = self.usage.completion_tokens.saturating_sub(1);
        if decoding.is_zero() {
            return 0.0;
        }
        after_first as f64 / decoding.as_secs_f64()
    }
}

/// A piece of an answer: the text of one token or a few, at least a whole character.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TextChunk {
    /// Which of the answers goes on, from 0; always 0 unless several were asked for.
    pub choice: usize,
    /// What it goes on with. May be empty in an answer's last piece.
    pub text: String,
    /// The tokens that were generated since the answer's last piece.
    pub tokens: Vec<Token>,
    /// In the last piece of an answer, why it ended.
    pub finish: Option<FinishReason>,
    /// In the last item of the stream, the account of the request.
    pub summary: Option<Summary>,
}

/// One whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Its text.
    pub text: String,
    /// Its tokens. One that ends the text is not among them.
    pub tokens: Vec<Token>,
    /// Why it ended.
    pub finish: FinishReason,
}

/// All answers to a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// The answers, as many as were asked for.
    pub answers: Vec<Answer>,
    /// The account of the request.
    pub summary: Summary,
}
