//! How far a download is.

use std::sync::Arc;

/// How far the download of one file is. A file's first event has `bytes_done` at what an earlier,
/// broken-off download left (usually 0), its last has `bytes_done == bytes_total`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProgressEvent {
    /// The repository's id.
    pub repo: String,
    /// The file's name in the repository.
    pub file: String,
    /// How many of its bytes are here.
    pub bytes_done: u64,
    /// How many bytes it has.
    pub bytes_total: u64,
}

/// Is called on the downloading thread, often: it should return quickly.
pub type ProgressCallback = Arc<dyn Fn(ProgressEvent) + Send + Sync>;
