//! What an engine tells of its work.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Tokens counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TokenCounts {
    /// Tokens of prompts that were begun.
    pub prompt: u64,
    /// How many of those did not have to be computed: an earlier request had the same beginning,
    /// and the cache still held it.
    pub reused: u64,
    /// Tokens generated.
    pub generated: u64,
    /// Times that a sequence lost its place in the cache to others, and was computed anew later.
    pub put_off: u64,
}

impl TokenCounts {
    /// The part of the prompts' tokens that was found in the cache, from 0 to 1.
    pub fn hit_rate(&self) -> f64 {
        if self.prompt == 0 {
            return 0.0;
        }
        self.reused as f64 / self.prompt as f64
    }
}

impl AddAssign for TokenCounts {
    fn add_assign(&mut self, other: Self) {
        self.prompt += other.prompt;
        self.reused += other.reused;
        self.generated += other.generated;
        self.put_off += other.put_off;
    }
}

/// A worker's key-value cache at one moment, in blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CacheStatus {
    /// How many there are.
    pub blocks: u64,
    /// How many sequences use.
    pub used: u64,
    /// How many are unused, but kept for requests that begin with what they hold.
    pub kept: u64,
}

/// What an engine tells of itself between steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineReport {
    /// What it has counted since its last report.
    pub tokens: TokenCounts,
    /// Its cache now, if it has one.
    pub cache: Option<CacheStatus>,
}
