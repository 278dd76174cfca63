//! Quantised matrices, their products and the threads that compute them.

#[path = "kernels/blocks.rs"]
mod blocks;
#[path = "kernels/bytes.rs"]
mod bytes;
#[path = "kernels/fused.rs"]
mod fused;
#[path = "kernels/pages.rs"]
mod pages;
#[path = "kernels/pictures.rs"]
mod pictures;
#[path = "kernels/products.rs"]
mod products;
#[path = "kernels/tensors.rs"]
mod tensors;
#[path = "kernels/terms.rs"]
mod terms;
#[path = "kernels/threads.rs"]
mod threads;
