//! Numbers taken together.

use std::fmt;

use serde::Serialize;

/// The middle and the ends of what several rounds measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the rounds lie below.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
}

impl Spread {
    /// Takes the rounds' figures together; all zero if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.len() {
            0 => 0.0,
            even if even % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        };
        Self {
            median,
            min: sorted.first().copied().unwrap_or_default(),
            max: sorted.last().copied().unwrap_or_default(),
        }
    }

    /// As text, each figure written by `write`.
    pub fn written(self, write: impl Fn(f64) -> String) -> String {
        format!(
            "{} [{}–{}]",
            write(self.median),
            write(self.min),
            write(self.max)
        )
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written(|value| format!("{value:.2}")))
    }
}

/// The value that the share `quantile` of all values does not exceed; reorders `values`.
pub fn percentile(values: &mut [u32], quantile: f64) -> u32 {
    if values.is_empty() {
        return 0;
    }
    let rank = (values.len() as f64 * quantile).ceil() as usize;
    let index = rank.clamp(1, values.len()) - 1;
    *values.select_nth_unstable(index).1
}
