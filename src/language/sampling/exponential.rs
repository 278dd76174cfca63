//! The exponential function over a whole vocabulary.
//!
//! Written in plain arithmetic without a library call, so that the compiler can vectorise it, for the
//! widest vectors that the machine has, and so that it rounds alike on all of them.

use pulp::Arch;

const LANES: usize = 16;

/// eˣ for x ≤ 0, to a relative error of 2e-7; 0 below −87.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding this number rounds to a whole one, which is then in the lowest bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let bounded = x.max(-87.0);
    let rounded = bounded * std::f32::consts::LOG2_E + ROUND;
    let power = rounded - ROUND;
    let rest = bounded - power * LN_2_HIGH - power * LN_2_LOW;
    // Taylor's series; rest is at most ln 2 / 2.
    let mut sum = 1.0 / 5040.0;
    for coefficient in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        sum = sum * rest + coefficient;
    }
    let scale = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { sum * scale }
}

/// Σ exp((logit − max) × `sharpness`).
pub(super) fn sum_exp(logits: &[f32], max: f32, sharpness: f32) -> f64 {
    Arch::new().dispatch(|| plain_sum_exp(logits, max, sharpness))
}

#[inline(always)]
fn plain_sum_exp(logits: &[f32], max: f32, sharpness: f32) -> f64 {
    let mut total = 0.0_f64;
    for block in logits.chunks(4096) {
        let mut lanes = [0.0_f32; LANES];
        let groups = block.chunks_exact(LANES);
        let rest = groups.remainder();
        for group in groups {
            for (lane, logit) in lanes.iter_mut().zip(group) {
                *lane += exp((logit - max) * sharpness);
            }
        }
        for (lane, logit) in lanes.iter_mut().zip(rest) {
            *lane += exp((logit - max) * sharpness);
        }
        total += lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>();
    }
    total
}

/// The largest logit, or `None` if one is NaN or plus infinity.
pub(super) fn checked_max(logits: &[f32]) -> Option<f32> {
    Arch::new().dispatch(|| plain_checked_max(logits))
}

#[inline(always)]
fn plain_checked_max(logits: &[f32]) -> Option<f32> {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut wrong = [0_u32; LANES];
    let groups = logits.chunks_exact(LANES);
    let rest = groups.remainder();
    for group in groups {
        for ((lane, wrong), logit) in lanes.iter_mut().zip(&mut wrong).zip(group) {
            *wrong |= u32::from(logit.is_nan() | (*logit == f32::INFINITY));
            *lane = if *logit > *lane { *logit } else { *lane };
        }
    }
    let is_wrong = |logit: &f32| logit.is_nan() || *logit == f32::INFINITY;
    if wrong.iter().any(|count| *count > 0) || rest.iter().any(is_wrong) {
        return None;
    }
    let all = lanes.iter().chain(rest).copied();
    Some(all.fold(f32::NEG_INFINITY, f32::max))
}
