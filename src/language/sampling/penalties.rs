//! Makes tokens that were seen before less likely.

use std::collections::HashMap;

use super::SamplingParams;

/// Keeps count of the tokens seen, so that a step costs what is new and not the whole history.
#[derive(Debug, Clone, Default)]
pub(super) struct Penalties {
    counts: HashMap<u32, u32>,
    /// The part of the history that is counted.
    counted: std::ops::Range<usize>,
    /// The logits that were changed, as they were before.
    changed: Vec<(u32, f32)>,
}

impl Penalties {
    /// Whether these parameters penalise anything.
    pub(super) fn wanted(params: &SamplingParams) -> bool {
        params.repetition_penalty != 1.0
            || params.frequency_penalty != 0.0
            || params.presence_penalty != 0.0
    }

    /// Forgets what the previous step changed.
    pub(super) fn clear(&mut self) {
        self.changed.clear();
    }

    /// Changes the logits of the tokens in `history`, which is the previous step's with more tokens
    /// at its end.
    pub(super) fn apply(&mut self, params: &SamplingParams, logits: &mut [f32], history: &[u32]) {
        self.count(history, params.repetition_window.unwrap_or(usize::MAX));
        for (&token, &count) in &self.counts {
            let Some(logit) = logits.get_mut(token as usize) else {
                continue;
            };
            self.changed.push((token, *logit));
            let repeated = if *logit > 0.0 {
                *logit / params.repetition_penalty
            } else {
                *logit * params.repetition_penalty
            };
            *logit = repeated - params.presence_penalty - params.frequency_penalty * count as f32;
        }
    }

    /// A token's logit before this step's penalties.
    pub(super) fn before(&self, token: u32, logits: &[f32]) -> f32 {
        self.changed
            .iter()
            .find(|(changed, _)| *changed == token)
            .map(|(_, logit)| *logit)
            .or_else(|| logits.get(token as usize).copied())
            .unwrap_or(f32::NEG_INFINITY)
    }

    fn count(&mut self, history: &[u32], window: usize) {
        let start = history.len().saturating_sub(window);
        let continues = self.counted.start <= start
            && start <= self.counted.end
            && self.counted.end <= history.len();
        if !continues {
            self.counts.clear();
            self.counted = start..start;
        }
        for token in &history[self.counted.start..start] {
            if let Some(count) = self.counts.get_mut(token) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(token);
                }
            }
        }
        for token in &history[self.counted.end..] {
            *self.counts.entry(*token).or_insert(0) += 1;
        }
        self.counted = start..history.len();
    }
}
