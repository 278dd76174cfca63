//! Image embedding: real weights beside onnxruntime, the capability's own rules, and bad files.

#[path = "image_embedding/bad_files.rs"]
mod bad_files;
#[path = "support/clothes.rs"]
mod clothes;
#[path = "image_embedding/fashion.rs"]
mod fashion;
#[path = "image_embedding/parity.rs"]
mod parity;
#[path = "support/real_models.rs"]
mod real_models;
#[path = "image_embedding/requests.rs"]
mod requests;
