//! What lies between text and token ids.

#[path = "language/sampling.rs"]
mod sampling;
#[path = "language/stopping.rs"]
mod stopping;
