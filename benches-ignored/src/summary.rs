//! Numbers taken together.

use std::fmt;

use serde::Serialize;

/// The middle, the quartiles and the ends of what several rounds measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the rounds lie below.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// A quarter of the rounds lies below.
    pub lower_quartile: f64,
    /// A quarter of the rounds lies above.
    pub upper_quartile: f64,
    /// The highest.
    pub max: f64,
}

impl Spread {
    /// Takes the rounds' figures together; all zero if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Self {
            median: quantile(&sorted, 0.5),
            min: quantile(&sorted, 0.0),
            lower_quartile: quantile(&sorted, 0.25),
            upper_quartile: quantile(&sorted, 0.75),
            max: quantile(&sorted, 1.0),
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

/// The value at the share `share` of the way through sorted values, between two if need be.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let place = share * last as f64;
    let (low, high) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    low + (high - low) * place.fract()
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
