//! Peers that live in Python: each a process of its own that is asked one thing after the other, so
//! that they take turns with modelpool within one run.

mod environment;
mod process;

pub use environment::{provide, run_script};
pub use process::{Peer, resident_mib};

use std::path::{Path, PathBuf};

/// The folder of the peers' scripts and requirements.
fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}
