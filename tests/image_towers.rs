//! Image towers: each stage beside transformers, the capability as a service sees it, and bad files.

#[path = "image_towers/bad_files.rs"]
mod bad_files;
#[path = "support/checkpoints.rs"]
mod checkpoints;
#[path = "image_towers/parity.rs"]
mod parity;
#[path = "image_towers/reference.rs"]
mod reference;
#[path = "image_towers/serving.rs"]
mod serving;
