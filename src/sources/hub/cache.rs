//! One repository's part of the cache: `blobs/<etag>`, `snapshots/<commit>/<file>` (links to
//! blobs) and `refs/<revision>` (a commit).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hf_hub::{Cache, CacheRepo, Repo};

use super::files::is_plain_word;
use crate::models::ModelError;

pub(super) struct RepoCache {
    folder: PathBuf,
    revision: String,
    layout: CacheRepo,
}

/// Releases the repository when dropped.
pub(super) struct RepoLock {
    _file: File,
}

impl RepoCache {
    pub(super) fn new(cache_folder: PathBuf, repo: Repo) -> Self {
        Self {
            folder: cache_folder.join(repo.folder_name()),
            revision: repo.revision().to_owned(),
            layout: Cache::new(cache_folder).repo(repo),
        }
    }

    /// Waits until no other fetch, of this process or another, writes to the repository.
    pub(super) fn lock(&self) -> Result<RepoLock, ModelError> {
        let path = self.folder.join(".modelpool.lock");
        fs::create_dir_all(&self.folder).map_err(|error| unwritable(&self.folder, error))?;
        let file = File::create(&path).map_err(|error| unwritable(&path, error))?;
        file.lock().map_err(|error| unwritable(&path, error))?;
        Ok(RepoLock { _file: file })
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.layout.pointer_path(commit)
    }

    /// The folder of the commit that the revision last pointed to; the revision may be a commit itself.
    pub(super) fn snapshot_of_revision(&self) -> Option<PathBuf> {
        let commit = match fs::read_to_string(self.reference()) {
            Ok(content) => content.trim().to_owned(),
            Err(_) => self.revision.clone(),
        };
        let snapshot = is_plain_word(&commit).then(|| self.snapshot(&commit))?;
        snapshot.is_dir().then_some(snapshot)
    }

    /// Whether the commit's folder has the file, whole.
    pub(super) fn holds(&self, commit: &str, name: &str, size: Option<u64>) -> bool {
        // Follows the link: a link to a blob that is gone counts as no file.
        let Ok(metadata) = fs::metadata(self.snapshot(commit).join(name)) else {
            return false;
        };
        metadata.is_file() && size.is_none_or(|size| size == metadata.len())
    }

    /// Where the bytes of this etag lie, once they are whole.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.layout.blob_path(etag)
    }

    /// Where the bytes of this etag gather until they are whole: a name that no other tool uses.
    pub(super) fn partial(&self, etag: &str) -> PathBuf {
        self.layout.blob_path(&format!("{etag}.modelpool-part"))
    }

    /// Shows a blob under its name in the commit's folder.
    pub(super) fn link(&self, commit: &str, name: &str, blob: &Path) -> Result<(), ModelError> {
        let pointer = self.snapshot(commit).join(name);
        create_parent(&pointer)?;
        match fs::remove_file(&pointer) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(unwritable(&pointer, error));
            }
            _ => {}
        }
        place(blob, &pointer, name).map_err(|error| unwritable(&pointer, error))
    }

    /// Lets the revision point to the commit.
    pub(super) fn point_revision_to(&self, commit: &str) -> Result<(), ModelError> {
        if self.revision == commit {
            return Ok(());
        }
        let reference = self.reference();
        create_parent(&reference)?;
        // Written beside and renamed, so that no reader meets half a commit.
        let fresh = self.folder.join(".modelpool.ref");
        fs::write(&fresh, commit).map_err(|error| unwritable(&fresh, error))?;
        fs::rename(&fresh, &reference).map_err(|error| unwritable(&reference, error))
    }

    fn reference(&self) -> PathBuf {
        self.folder.join("refs").join(&self.revision)
    }
}

/// A relative link, so that the cache can be moved; where links can't be made, a copy.
fn place(blob: &Path, pointer: &Path, name: &str) -> io::Result<()> {
    let depth = name.split('/').count() + 1;
    let mut target: PathBuf = std::iter::repeat_n("..", depth).collect();
    target.push("blobs");
    target.push(blob.file_name().unwrap_or_default());
    #[cfg(unix)]
    let linked = std::os::unix::fs::symlink(&target, pointer);
    #[cfg(windows)]
    let linked = std::os::windows::fs::symlink_file(&target, pointer);
    #[cfg(not(any(unix, windows)))]
    let linked: io::Result<()> = Err(io::ErrorKind::Unsupported.into());
    match linked {
        Ok(()) => Ok(()),
        Err(_) => fs::copy(blob, pointer).map(|_| ()),
    }
}

pub(super) fn create_parent(path: &Path) -> Result<(), ModelError> {
    match path.parent() {
        Some(parent) => fs::create_dir_all(parent).map_err(|error| unwritable(parent, error)),
        None => Ok(()),
    }
}

pub(super) fn unwritable(path: &Path, error: io::Error) -> ModelError {
    ModelError::Unwritable {
        path: path.to_owned(),
        source: Arc::new(error),
    }
}
