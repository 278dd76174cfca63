//! What lies between text and token ids.

#[path = "language/real_files.rs"]
mod real_files;
#[path = "support/real_models.rs"]
mod real_models;
#[path = "language/sampling.rs"]
mod sampling;
#[path = "language/stopping.rs"]
mod stopping;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// A file of reference values.
fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/language")
        .join(name)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> T {
    let bytes = std::fs::read(path).expect("a file of the repository");
    serde_json::from_slice(&bytes).expect("sound reference values")
}
