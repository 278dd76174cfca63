//! How failures are counted, and how long they are waited out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::pool::core::config::RestartConfig;

/// Drops the failures that no longer count.
pub(super) fn forget_old(failures: &mut VecDeque<Instant>, window: Duration, now: Instant) {
    while failures
        .front()
        .is_some_and(|&at| now.saturating_duration_since(at) >= window)
    {
        failures.pop_front();
    }
}

/// "Full jitter": evenly between nothing and the exponential bound, so that workers that failed
/// together do not come back together.
pub(super) fn jittered_backoff(
    rng: &mut fastrand::Rng,
    restart: &RestartConfig,
    failures: usize,
) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    let factor = 2u32.checked_pow(doublings).unwrap_or(u32::MAX);
    let bound = restart
        .initial_backoff
        .saturating_mul(factor)
        .min(restart.max_backoff);
    bound.mul_f64(rng.f64())
}
