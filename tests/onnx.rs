//! ONNX files: real ones beside onnxruntime, and bad ones.

#[path = "onnx/bad_files.rs"]
mod bad_files;
#[path = "onnx/parity.rs"]
mod parity;
#[path = "support/real_models.rs"]
mod real_models;
