//! How the next token is chosen.

use serde::{Deserialize, Serialize};

use crate::language::LanguageError;

/// How the next token is chosen from the model's logits.
///
/// The steps, in this order, are those of `transformers`: the penalties, then the temperature, then
/// what `top_k`, `top_p` and `min_p` leave, from which one token is drawn. The default takes the
/// most likely token, always.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SamplingParams {
    /// What the logits are divided by: 0.0001 to 100, or 0 (the default) for the most likely token
    /// (of equals, that with the lowest id).
    pub temperature: f32,
    /// Draws from this many most likely tokens only; 0 (the default) is all of them. Of equals at
    /// the border, those with the lower ids stay.
    pub top_k: usize,
    /// Draws from the fewest most likely tokens that together have at least this probability; above
    /// 0, at most 1 (the default: all of them). Measured after `top_k`.
    pub top_p: f32,
    /// Draws from the tokens that are at least this many times as likely as the most likely one: 0
    /// (the default) to 1.
    pub min_p: f32,
    /// What the logit of a token seen before is divided by if positive and multiplied by if
    /// negative, once however often it was seen (as `transformers` and llama.cpp do): 0.01 to 100,
    /// 1 (the default) for none.
    pub repetition_penalty: f32,
    /// How many of the latest tokens, prompt included, count as seen for all three penalties; `None`
    /// (the default) for all of them.
    pub repetition_window: Option<usize>,
    /// Subtracted from a token's logit as often as it was seen: −100 to 100, 0 by default.
    pub frequency_penalty: f32,
    /// Subtracted once from the logit of a token that was seen: −100 to 100, 0 by default.
    pub presence_penalty: f32,
    /// Makes the draws repeatable: the same seed, prompt and model give the same text, whatever else
    /// runs beside it. `None` (the default) takes another seed each time.
    pub seed: Option<u64>,
    /// With each token, its log-probability and those of this many most likely tokens: at most 100;
    /// 0 for the drawn token's alone, `None` (the default) for none.
    ///
    /// They are of the model's logits as a constraint leaves them: before penalties and temperature.
    pub logprobs: Option<usize>,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            repetition_window: None,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            seed: None,
            logprobs: None,
        }
    }
}

impl SamplingParams {
    /// The most likely token, always: the default.
    pub fn greedy() -> Self {
        Self::default()
    }

    /// Draws with this temperature from all tokens.
    pub fn with_temperature(temperature: f32) -> Self {
        Self {
            temperature,
            ..Self::default()
        }
    }

    /// Draws from this many most likely tokens only.
    #[must_use]
    pub fn top_k(mut self, tokens: usize) -> Self {
        self.top_k = tokens;
        self
    }

    /// Draws from the most likely tokens that together have this probability.
    #[must_use]
    pub fn top_p(mut self, probability: f32) -> Self {
        self.top_p = probability;
        self
    }

    /// Draws from tokens at least this many times as likely as the most likely one.
    #[must_use]
    pub fn min_p(mut self, ratio: f32) -> Self {
        self.min_p = ratio;
        self
    }

    /// Makes tokens that were seen less likely.
    #[must_use]
    pub fn repetition_penalty(mut self, penalty: f32) -> Self {
        self.repetition_penalty = penalty;
        self
    }

    /// Counts only this many of the latest tokens as seen.
    #[must_use]
    pub fn repetition_window(mut self, tokens: usize) -> Self {
        self.repetition_window = Some(tokens);
        self
    }

    /// Makes tokens less likely with each time that they were seen.
    #[must_use]
    pub fn frequency_penalty(mut self, penalty: f32) -> Self {
        self.frequency_penalty = penalty;
        self
    }

    /// Makes tokens that were seen less likely, however often.
    #[must_use]
    pub fn presence_penalty(mut self, penalty: f32) -> Self {
        self.presence_penalty = penalty;
        self
    }

    /// Makes the draws repeatable.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Asks for log-probabilities: of the drawn token and of this many most likely ones.
    #[must_use]
    pub fn logprobs(mut self, tokens: usize) -> Self {
        self.logprobs = Some(tokens);
        self
    }

    /// Looks whether every value makes sense.
    ///
    /// # Errors
    /// [`LanguageError::InvalidParameter`] that names the first field that does not.
    pub fn validate(&self) -> Result<(), LanguageError> {
        let is_greedy = self.temperature == 0.0;
        let penalty = -100.0..=100.0;
        let checks = [
            (
                "temperature",
                self.temperature,
                is_greedy || (1e-4..=100.0).contains(&self.temperature),
                "0, or 0.0001 to 100",
            ),
            (
                "top_p",
                self.top_p,
                self.top_p > 0.0 && self.top_p <= 1.0,
                "above 0, at most 1",
            ),
            (
                "min_p",
                self.min_p,
                (0.0..=1.0).contains(&self.min_p),
                "0 to 1",
            ),
            (
                "repetition_penalty",
                self.repetition_penalty,
                (0.01..=100.0).contains(&self.repetition_penalty),
                "0.01 to 100",
            ),
            (
                "frequency_penalty",
                self.frequency_penalty,
                penalty.contains(&self.frequency_penalty),
                "-100 to 100",
            ),
            (
                "presence_penalty",
                self.presence_penalty,
                penalty.contains(&self.presence_penalty),
                "-100 to 100",
            ),
        ];
        for (field, found, is_right, allowed) in checks {
            if !is_right {
                return Err(LanguageError::InvalidParameter {
                    field,
                    found: found.to_string(),
                    allowed,
                });
            }
        }
        if self.logprobs.is_some_and(|tokens| tokens > 100) {
            return Err(LanguageError::InvalidParameter {
                field: "logprobs",
                found: self.logprobs.unwrap_or_default().to_string(),
                allowed: "at most 100",
            });
        }
        Ok(())
    }
}
