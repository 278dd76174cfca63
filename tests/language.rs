//! What lies between text and token ids.

#[path = "language/constraints.rs"]
mod constraints;
#[path = "language/folders.rs"]
mod folders;
#[path = "support/gguf_writer.rs"]
mod gguf_writer;
#[path = "language/real_files.rs"]
mod real_files;
#[path = "support/real_models.rs"]
mod real_models;
#[path = "language/sampling.rs"]
mod sampling;
#[path = "language/stopping.rs"]
mod stopping;
#[path = "language/templates.rs"]
mod templates;
#[path = "language/tokenizers.rs"]
mod tokenizers;
#[path = "language/trained.rs"]
mod trained;

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

/// An empty folder, gone when dropped.
struct Scrap(PathBuf);

impl Scrap {
    fn new(name: &str) -> Self {
        let name = format!("language-{name}-{}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scrap {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
