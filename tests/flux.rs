//! FLUX against diffusers, from folders and GGUF files, and against broken files.

#[path = "flux/bad_files.rs"]
mod bad_files;
#[path = "flux/folders.rs"]
mod folders;
#[path = "flux/gguf.rs"]
mod gguf;
#[path = "support/gguf_writer.rs"]
mod gguf_writer;
#[path = "flux/parity.rs"]
mod parity;
#[path = "flux/serving.rs"]
mod serving;
