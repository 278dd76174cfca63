//! The tokens that one may be drawn from.

use std::cmp::Ordering;

use super::SamplingParams;
use super::exponential::{exp, sum_exp};

/// How many tokens are looked at first for a nucleus whose size nobody knows.
const FIRST_GUESS: usize = 64;

#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) logit: f32,
    pub(super) token: u32,
}

/// Likelier first; of equals, the lower id.
fn likelier_first(one: &Candidate, other: &Candidate) -> Ordering {
    other
        .logit
        .total_cmp(&one.logit)
        .then(one.token.cmp(&other.token))
}

/// A step's candidates, in memory that is kept from step to step.
#[derive(Debug, Clone, Default)]
pub(super) struct Candidates {
    list: Vec<Candidate>,
    weights: Vec<f32>,
}

impl Candidates {
    /// What `params` leave of the tokens. `max` is the largest logit.
    pub(super) fn choose(&mut self, params: &SamplingParams, logits: &[f32], max: f32) {
        let sharpness = 1.0 / params.temperature;
        let has_top_k = params.top_k > 0 && params.top_k < logits.len();
        let least = if params.min_p > 0.0 {
            max + params.min_p.ln() * params.temperature
        } else {
            f32::NEG_INFINITY
        };
        if has_top_k || params.top_p < 1.0 {
            if has_top_k {
                self.take_most_likely(logits, params.top_k);
                self.keep_nucleus(params.top_p, max, sharpness);
            } else {
                self.take_nucleus(logits, params.top_p, max, sharpness);
            }
            let likely = self
                .list
                .partition_point(|candidate| candidate.logit >= least);
            self.list.truncate(likely);
        } else {
            self.list.clear();
            let all = (0_u32..).zip(logits);
            let likely = all.filter(|(_, logit)| **logit >= least && **logit > f32::NEG_INFINITY);
            self.list
                .extend(likely.map(|(token, &logit)| Candidate { logit, token }));
        }
        self.weights.clear();
        let weight = |candidate: &Candidate| exp((candidate.logit - max) * sharpness);
        self.weights.extend(self.list.iter().map(weight));
    }

    /// The candidate at `point` (0 to 1) of their summed probabilities.
    pub(super) fn at(&self, point: f64) -> Option<u32> {
        let total: f64 = self.weights.iter().map(|weight| f64::from(*weight)).sum();
        let mut left = point * total;
        for (candidate, weight) in self.list.iter().zip(&self.weights) {
            left -= f64::from(*weight);
            if left < 0.0 {
                return Some(candidate.token);
            }
        }
        // Rounding may leave a little of the very last one.
        self.list.last().map(|candidate| candidate.token)
    }

    /// The candidates with their probabilities.
    pub(super) fn probabilities(&self) -> impl Iterator<Item = (u32, f32)> {
        let total: f64 = self.weights.iter().map(|weight| f64::from(*weight)).sum();
        self.list
            .iter()
            .zip(&self.weights)
            .map(move |(candidate, weight)| (candidate.token, (f64::from(*weight) / total) as f32))
    }

    /// The `count` most likely tokens, most likely first. One pass: few logits of a vocabulary are
    /// above the least of the best so far, and only those are kept.
    pub(super) fn take_most_likely(&mut self, logits: &[f32], count: usize) -> &[Candidate] {
        self.list.clear();
        if count == 0 {
            return &self.list;
        }
        let full = count.saturating_mul(2).max(256);
        let mut least = f32::NEG_INFINITY;
        for (token, &logit) in (0_u32..).zip(logits) {
            // An equal one that comes later has the higher id, and is not wanted.
            if logit <= least {
                continue;
            }
            self.list.push(Candidate { logit, token });
            if self.list.len() >= full {
                let (_, last, _) = self.list.select_nth_unstable_by(count - 1, likelier_first);
                least = last.logit;
                self.list.truncate(count);
            }
        }
        if self.list.len() > count {
            self.list.select_nth_unstable_by(count - 1, likelier_first);
            self.list.truncate(count);
        }
        self.list.sort_unstable_by(likelier_first);
        &self.list
    }

    /// The nucleus of all tokens, without sorting more of them than it takes.
    fn take_nucleus(&mut self, logits: &[f32], top_p: f32, max: f32, sharpness: f32) {
        let wanted = f64::from(top_p) * sum_exp(logits, max, sharpness);
        let mut count = FIRST_GUESS;
        loop {
            self.take_most_likely(logits, count);
            if let Some(nucleus) = self.nucleus(wanted, max, sharpness) {
                self.list.truncate(nucleus);
                return;
            }
            if count >= logits.len() {
                return;
            }
            count = count.saturating_mul(8);
        }
    }

    /// The nucleus of the tokens in the sorted list.
    fn keep_nucleus(&mut self, top_p: f32, max: f32, sharpness: f32) {
        if top_p >= 1.0 {
            return;
        }
        let weight = |candidate: &Candidate| f64::from(exp((candidate.logit - max) * sharpness));
        let total: f64 = self.list.iter().map(weight).sum();
        if let Some(nucleus) = self.nucleus(f64::from(top_p) * total, max, sharpness) {
            self.list.truncate(nucleus);
        }
    }

    /// How many of the sorted list it takes to reach a summed weight, if it does.
    fn nucleus(&self, wanted: f64, max: f32, sharpness: f32) -> Option<usize> {
        let mut sum = 0.0;
        self.list
            .iter()
            .position(|candidate| {
                sum += f64::from(exp((candidate.logit - max) * sharpness));
                sum >= wanted
            })
            .map(|last| last + 1)
    }
}
