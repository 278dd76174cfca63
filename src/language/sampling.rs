//! From a row of logits to a token.

mod candidates;
mod exponential;
mod params;
mod penalties;
mod random;
mod sampler;

pub use params::SamplingParams;
pub use sampler::{Sampled, Sampler};
