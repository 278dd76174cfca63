//! How a text goes on: what the caller may ask for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::language::{Constraint, LanguageError, SamplingParams, StopStrings};
use crate::pool::capabilities::refusal::invalid;
use crate::pool::core::PoolError;

/// The most answers to one prompt.
pub const MAX_CHOICES: usize = 64;

/// What is done with a prompt that is longer than the model's context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Overlong {
    /// It is refused with [`ModelError::PromptTooLong`](crate::ModelError::PromptTooLong).
    #[default]
    Refuse,
    /// Its beginning is cut off, until it and `max_tokens` fit; but half of the context is kept
    /// for it. A token that begins every text stays where it is.
    TruncateStart,
}

/// How a text goes on. The default takes the likeliest token, up to 512 times.
///
/// ```
/// use modelpool::GenerationParams;
///
/// let params = GenerationParams::default().max_tokens(64).temperature(0.7).seed(1).stop("\n\n");
/// assert_eq!(params.max_tokens, 64);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct GenerationParams {
    /// The most tokens of one answer, at least 1. It also ends where the model's context is full.
    pub max_tokens: usize,
    /// How tokens are chosen.
    #[serde(flatten)]
    pub sampling: SamplingParams,
    /// An answer ends where it contains one of these; that is not part of it.
    pub stop: Vec<String>,
    /// How many answers to give, from 1 to [`MAX_CHOICES`]. The prompt is read once for all. With
    /// a seed, the answer number `i` is what the seed plus `i` gives by itself.
    pub n: usize,
    /// What an answer must be, from its first character to its last: JSON of a schema, a text that
    /// a regular expression matches, or one of a grammar.
    pub constraint: Option<Constraint>,
    /// Does not let the model end the text: only `max_tokens`, a stop string or a full context do.
    pub ignore_eos: bool,
    /// What is done with a prompt that is longer than the model's context.
    pub overlong: Overlong,
    /// The first piece of text must come within this time, counted from the call.
    pub time_to_first_token: Option<Duration>,
}

impl Default for GenerationParams {
    fn default() -> Self {
        Self {
            max_tokens: 512,
            sampling: SamplingParams::default(),
            stop: Vec::new(),
            n: 1,
            constraint: None,
            ignore_eos: false,
            overlong: Overlong::default(),
            time_to_first_token: None,
        }
    }
}

impl GenerationParams {
    /// Ends an answer after this many tokens.
    #[must_use]
    pub fn max_tokens(mut self, tokens: usize) -> Self {
        self.max_tokens = tokens;
        self
    }

    /// Chooses tokens this way.
    #[must_use]
    pub fn sampling(mut self, sampling: SamplingParams) -> Self {
        self.sampling = sampling;
        self
    }

    /// Draws tokens with this temperature; 0 takes the likeliest.
    #[must_use]
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.sampling.temperature = temperature;
        self
    }

    /// Makes the draws repeatable.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.sampling.seed = Some(seed);
        self
    }

    /// Ends an answer before this string, too.
    #[must_use]
    pub fn stop(mut self, string: impl Into<String>) -> Self {
        self.stop.push(string.into());
        self
    }

    /// Gives this many answers.
    #[must_use]
    pub fn n(mut self, answers: usize) -> Self {
        self.n = answers;
        self
    }

    /// Keeps every answer to this.
    #[must_use]
    pub fn constraint(mut self, constraint: Constraint) -> Self {
        self.constraint = Some(constraint);
        self
    }

    /// Does not let the model end the text.
    #[must_use]
    pub fn ignore_eos(mut self, ignore: bool) -> Self {
        self.ignore_eos = ignore;
        self
    }

    /// Does this with a prompt that is longer than the context.
    #[must_use]
    pub fn overlong(mut self, overlong: Overlong) -> Self {
        self.overlong = overlong;
        self
    }

    /// Gives up if the first piece of text does not come within this time.
    #[must_use]
    pub fn time_to_first_token(mut self, allowed: Duration) -> Self {
        self.time_to_first_token = Some(allowed);
        self
    }

    /// Looks whether every value makes sense.
    ///
    /// # Errors
    /// [`PoolError::InvalidRequest`] that names the first field that does not.
    pub fn validate(&self) -> Result<(), PoolError> {
        if self.max_tokens == 0 {
            return Err(invalid("max_tokens", "must be at least 1"));
        }
        if !(1..=MAX_CHOICES).contains(&self.n) {
            let reason = format!("is {}, allowed is 1 to {MAX_CHOICES}", self.n);
            return Err(invalid("n", reason));
        }
        self.sampling.validate().map_err(invalid_parameter)?;
        StopStrings::new(self.stop.clone()).map_err(invalid_parameter)?;
        Ok(())
    }
}

fn invalid_parameter(error: LanguageError) -> PoolError {
    match error {
        LanguageError::InvalidParameter {
            field,
            found,
            allowed,
        } => invalid(field, format!("is {found}, allowed is {allowed}")),
        other => invalid("sampling", other.to_string()),
    }
}
