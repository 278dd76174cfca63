//! Pictures: where they come from, how they are decoded, and what is refused.

#[path = "images/addresses.rs"]
mod addresses;
#[path = "images/decoding.rs"]
mod decoding;
#[path = "images/drawing.rs"]
mod drawing;
#[path = "images/preprocessing.rs"]
mod preprocessing;
#[path = "images/server.rs"]
mod server;
#[path = "images/sources.rs"]
mod sources;
