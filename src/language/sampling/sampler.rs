//! Draws one sequence's tokens.

use super::SamplingParams;
use super::candidates::Candidates;
use super::exponential::{checked_max, sum_exp};
use super::penalties::Penalties;
use super::random::SplitMix64;
use crate::language::LanguageError;

/// Draws the tokens of one sequence. What it needs is kept from step to step: once its buffers have
/// grown, a step allocates only the log-probabilities that were asked for.
#[derive(Debug, Clone)]
pub struct Sampler {
    params: SamplingParams,
    random: SplitMix64,
    penalties: Penalties,
    candidates: Candidates,
}

/// A drawn token.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// The token's id.
    pub token: u32,
    /// The natural logarithm of its probability, if log-probabilities were asked for.
    pub logprob: Option<f32>,
    /// The most likely tokens with their log-probabilities, as many as were asked for, most likely
    /// first.
    pub top: Vec<(u32, f32)>,
}

impl Sampler {
    /// A sampler for one sequence. `seed` alone decides what is drawn: the seed in `params` is for
    /// the caller to heed.
    ///
    /// # Errors
    /// As [`SamplingParams::validate`].
    pub fn new(params: &SamplingParams, seed: u64) -> Result<Self, LanguageError> {
        params.validate()?;
        Ok(Self {
            params: params.clone(),
            random: SplitMix64::new(seed),
            penalties: Penalties::default(),
            candidates: Candidates::default(),
        })
    }

    /// Draws a token. `logits` are the model's, with minus infinity for what is not allowed; the
    /// penalties are written into them. `history` is the sequence so far, prompt included: from call
    /// to call it grows at its end. An id beyond the logits is not counted.
    ///
    /// # Errors
    /// [`LanguageError::NotFiniteLogits`] if one is NaN or plus infinity and
    /// [`LanguageError::NoTokenAllowed`] if none is finite.
    pub fn sample(
        &mut self,
        logits: &mut [f32],
        history: &[u32],
    ) -> Result<Sampled, LanguageError> {
        let raw_max = usable_max(logits)?;
        let mut normaliser = 0.0;
        let mut top = Vec::new();
        if let Some(count) = self.params.logprobs {
            normaliser = f64::from(raw_max) + sum_exp(logits, raw_max, 1.0).ln();
            top = self
                .candidates
                .take_most_likely(logits, count)
                .iter()
                .map(|likely| (likely.token, logprob(likely.logit, normaliser)))
                .collect();
        }
        let max = self.penalise(logits, history, raw_max)?;
        // One number for each token, needed or not: what is drawn later does not depend on whether
        // this token was a matter of chance.
        let point = self.random.uniform();
        let token = if self.params.temperature == 0.0 {
            first_equal(logits, max)
        } else {
            self.candidates.draw(&self.params, logits, max, point)
        };
        let token = token.ok_or(LanguageError::NoTokenAllowed)?;
        let of_token = || logprob(self.penalties.before(token, logits), normaliser);
        Ok(Sampled {
            token,
            logprob: self.params.logprobs.map(|_| of_token()),
            top,
        })
    }

    /// The tokens that [`Sampler::sample`] would draw from, with their probabilities. Draws nothing.
    ///
    /// # Errors
    /// As [`Sampler::sample`].
    pub fn distribution(
        &mut self,
        logits: &mut [f32],
        history: &[u32],
    ) -> Result<Vec<(u32, f32)>, LanguageError> {
        let raw_max = usable_max(logits)?;
        let max = self.penalise(logits, history, raw_max)?;
        if self.params.temperature == 0.0 {
            return Ok(first_equal(logits, max)
                .map(|token| (token, 1.0))
                .into_iter()
                .collect());
        }
        self.candidates.choose(&self.params, logits, max);
        Ok(self.candidates.probabilities().collect())
    }

    /// Writes the penalties into the logits; gives the largest of them then.
    fn penalise(
        &mut self,
        logits: &mut [f32],
        history: &[u32],
        raw_max: f32,
    ) -> Result<f32, LanguageError> {
        self.penalties.clear();
        if !Penalties::wanted(&self.params) {
            return Ok(raw_max);
        }
        self.penalties.apply(&self.params, logits, history);
        usable_max(logits)
    }
}

fn usable_max(logits: &[f32]) -> Result<f32, LanguageError> {
    let max = checked_max(logits).ok_or(LanguageError::NotFiniteLogits)?;
    if max == f32::NEG_INFINITY {
        return Err(LanguageError::NoTokenAllowed);
    }
    Ok(max)
}

fn first_equal(logits: &[f32], max: f32) -> Option<u32> {
    (0_u32..)
        .zip(logits)
        .find(|(_, logit)| **logit == max)
        .map(|(token, _)| token)
}

fn logprob(logit: f32, normaliser: f64) -> f32 {
    (f64::from(logit) - normaliser) as f32
}
