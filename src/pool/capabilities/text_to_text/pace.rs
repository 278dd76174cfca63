//! How much of a prompt fits beside running streams without slowing them much.

use std::time::Duration;

/// While streams run, a step that also takes in a prompt takes at most about this many times as
/// long as one that does not.
const STRETCH: f64 = 2.0;

/// How much a new measurement counts against the earlier ones.
const WEIGHT: f64 = 0.3;

/// Measures what steps take, and says how many tokens of prompts the next one may have.
#[derive(Debug, Default)]
pub struct Pace {
    /// Seconds of a step of running streams alone.
    decoding: Option<f64>,
    /// Seconds that one token of a prompt adds.
    token: Option<f64>,
}

impl Pace {
    /// A step has run, of `decoding` streams and `prefilling` tokens of prompts.
    pub fn observe(&mut self, decoding: usize, prefilling: usize, took: Duration) {
        let seconds = took.as_secs_f64();
        if prefilling == 0 {
            average(&mut self.decoding, seconds);
            return;
        }
        let of_streams = match self.decoding {
            _ if decoding == 0 => 0.0,
            Some(seconds) => seconds,
            // What belongs to which cannot be told yet.
            None => return,
        };
        let of_prompts = (seconds - of_streams).max(0.0);
        average(&mut self.token, of_prompts / prefilling as f64);
    }

    /// How many tokens of prompts may go into a step of `step_tokens` in which `decoding` streams
    /// go on. All, if none does.
    pub fn prefill_tokens(&self, decoding: usize, step_tokens: usize) -> usize {
        let tokens = match (self.decoding, self.token) {
            _ if decoding == 0 => return step_tokens,
            (Some(decoding), Some(token)) if token > 0.0 => (STRETCH - 1.0) * decoding / token,
            _ => step_tokens as f64 / 8.0,
        };
        // A float that is too large for it becomes the largest number.
        (tokens as usize).clamp(1, step_tokens.max(1))
    }
}

fn average(value: &mut Option<f64>, new: f64) {
    *value = Some(match *value {
        Some(old) => old + WEIGHT * (new - old),
        None => new,
    });
}
