//! The tokens that one may be drawn from.

use std::cmp::Ordering;

use super::SamplingParams;
use super::exponential::{exp, sum_exp};

/// How finely the search for a nucleus sums up: by ranges of the logit, over the temperature. The last
/// range takes all that is e³² times less likely than the most likely token.
const RANGES_PER_UNIT: f32 = 32.0;
const RANGES: usize = 1024;

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
    /// The summed weights of each range of logits, and the candidates in one of them.
    masses: Vec<f64>,
    near: Vec<Candidate>,
}

impl Candidates {
    /// What `params` leave of the tokens. `max` is the largest logit.
    /// Afterwards, [`Candidates::probabilities`] are theirs.
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
            self.list.retain(|candidate| candidate.logit >= least);
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

    /// The token at `point` (0 to 1) of the summed probabilities of what `params` leave.
    pub(super) fn draw(
        &mut self,
        params: &SamplingParams,
        logits: &[f32],
        max: f32,
        point: f64,
    ) -> Option<u32> {
        let leaves_all = (params.top_k == 0 || params.top_k >= logits.len())
            && params.top_p >= 1.0
            && params.min_p <= 0.0;
        if leaves_all {
            return self.draw_from_all(logits, max, 1.0 / params.temperature, point);
        }
        self.choose(params, logits, max);
        self.at(point)
    }

    /// First the block of tokens, then the token in it.
    fn draw_from_all(
        &mut self,
        logits: &[f32],
        max: f32,
        sharpness: f32,
        point: f64,
    ) -> Option<u32> {
        const BLOCK: usize = 1024;
        self.masses.clear();
        let blocks = logits.chunks(BLOCK);
        self.masses
            .extend(blocks.map(|block| sum_exp(block, max, sharpness)));
        let mut left = point * self.masses.iter().sum::<f64>();
        // Rounding may leave a little at the very end: then the last one that can be drawn is.
        let mut block = 0;
        for (number, mass) in self.masses.iter().enumerate() {
            if *mass > 0.0 {
                block = number;
                if left < *mass {
                    break;
                }
                left -= mass;
            }
        }
        let mut drawn = None;
        for (token, logit) in (0_u32..).zip(logits).skip(block * BLOCK).take(BLOCK) {
            let weight = exp((logit - max) * sharpness);
            if weight > 0.0 {
                drawn = Some(token);
                left -= f64::from(weight);
                if left < 0.0 {
                    break;
                }
            }
        }
        drawn
    }

    /// The candidate at `point` (0 to 1) of their summed probabilities.
    fn at(&self, point: f64) -> Option<u32> {
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

    /// The nucleus of all tokens. Only those near its border are sorted: summed up by ranges of
    /// logits, the others are seen to be well within or well without.
    fn take_nucleus(&mut self, logits: &[f32], top_p: f32, max: f32, sharpness: f32) {
        const GROUP: usize = 64;
        const LAST: f32 = (RANGES - 1) as f32;
        let scale = sharpness * RANGES_PER_UNIT;
        // The conversion cuts off at either end of its type; an infinite distance is the last range.
        let range = |logit: f32| ((max - logit) * scale).min(LAST) as i32 as usize;
        self.masses.clear();
        self.masses.resize(RANGES, 0.0);
        for group in logits.chunks(GROUP) {
            // First all the weights and then all the sums: the compiler vectorises the former.
            let mut weights = [0.0; GROUP];
            for (weight, logit) in weights.iter_mut().zip(group) {
                *weight = exp((logit - max) * sharpness);
            }
            for (weight, logit) in weights.iter().zip(group) {
                self.masses[range(*logit)] += f64::from(*weight);
            }
        }
        let wanted = f64::from(top_p) * self.masses.iter().sum::<f64>();
        let mut within = 0.0;
        let mut border = RANGES - 1;
        for (number, mass) in self.masses.iter().enumerate() {
            if within + mass >= wanted {
                border = number;
                break;
            }
            within += mass;
        }
        self.list.clear();
        self.near.clear();
        for (token, &logit) in (0_u32..).zip(logits) {
            let number = range(logit);
            if number < border {
                self.list.push(Candidate { logit, token });
            } else if number == border && logit > f32::NEG_INFINITY {
                self.near.push(Candidate { logit, token });
            }
        }
        self.near.sort_unstable_by(likelier_first);
        let nucleus = nucleus(&self.near, wanted - within, max, sharpness);
        let kept = nucleus.unwrap_or(self.near.len());
        self.list.extend_from_slice(&self.near[..kept]);
    }

    /// The nucleus of the tokens in the sorted list.
    fn keep_nucleus(&mut self, top_p: f32, max: f32, sharpness: f32) {
        if top_p >= 1.0 {
            return;
        }
        let weight = |candidate: &Candidate| f64::from(exp((candidate.logit - max) * sharpness));
        let total: f64 = self.list.iter().map(weight).sum();
        if let Some(kept) = nucleus(&self.list, f64::from(top_p) * total, max, sharpness) {
            self.list.truncate(kept);
        }
    }
}

/// How many of a sorted list it takes to reach a summed weight, if it does.
fn nucleus(sorted: &[Candidate], wanted: f64, max: f32, sharpness: f32) -> Option<usize> {
    let mut sum = 0.0;
    sorted
        .iter()
        .position(|candidate| {
            sum += f64::from(exp((candidate.logit - max) * sharpness));
            sum >= wanted
        })
        .map(|last| last + 1)
}
