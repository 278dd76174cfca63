//! The decoder and the files that it is read from.

#[path = "decoder/bad_files.rs"]
mod bad_files;
#[path = "decoder/families.rs"]
mod families;
#[path = "decoder/gguf.rs"]
mod gguf;
#[path = "support/gguf_writer.rs"]
mod gguf_writer;
#[path = "decoder/memory.rs"]
mod memory;
#[path = "decoder/real.rs"]
mod real;
#[path = "support/real_models.rs"]
mod real_models;
#[path = "decoder/runner.rs"]
mod runner;
#[path = "decoder/scrap.rs"]
mod scrap;
#[path = "decoder/stored.rs"]
mod stored;
