//! Quantised matrices, their products and the threads that compute them.

#[path = "kernels/blocks.rs"]
mod blocks;
