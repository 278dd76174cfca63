//! Opening a model's files, with the error that fits what is wrong.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path};
use std::sync::Arc;

use serde_json::Value;

use crate::models::ModelError;

/// No configuration file of a model comes near this; a tokenizer may.
const MAX_JSON_BYTES: u64 = 256 << 20;

pub(super) fn unreadable(path: &Path, source: std::io::Error) -> ModelError {
    ModelError::Unreadable {
        path: path.to_owned(),
        source: Arc::new(source),
    }
}

/// Opens a file and says how long it is.
pub(super) fn open(path: &Path) -> Result<(File, u64), ModelError> {
    let file = File::open(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => ModelError::MissingFile {
            path: path.to_owned(),
        },
        _ => unreadable(path, source),
    })?;
    let data = file.metadata().map_err(|error| unreadable(path, error))?;
    if !data.is_file() {
        return Err(ModelError::WrongFileKind {
            path: path.to_owned(),
            expected: "a file",
        });
    }
    Ok((file, data.len()))
}

/// Fails unless `path` is a directory.
pub(super) fn require_directory(path: &Path) -> Result<(), ModelError> {
    let data = std::fs::metadata(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => ModelError::MissingFile {
            path: path.to_owned(),
        },
        _ => unreadable(path, source),
    })?;
    if data.is_dir() {
        Ok(())
    } else {
        Err(ModelError::WrongFileKind {
            path: path.to_owned(),
            expected: "a directory",
        })
    }
}

/// Reads a whole file of JSON or text.
pub(crate) fn read(path: &Path, format: &'static str) -> Result<Vec<u8>, ModelError> {
    let (file, size) = open(path)?;
    if size > MAX_JSON_BYTES {
        return Err(ModelError::Corrupt {
            path: path.to_owned(),
            format,
            detail: format!("{size} bytes are too many"),
        });
    }
    let mut bytes = Vec::new();
    file.take(MAX_JSON_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|source| unreadable(path, source))?;
    Ok(bytes)
}

/// Reads a JSON file.
pub(crate) fn read_json(path: &Path, format: &'static str) -> Result<Value, ModelError> {
    let bytes = read(path, format)?;
    serde_json::from_slice(&bytes).map_err(|error| ModelError::Corrupt {
        path: path.to_owned(),
        format,
        detail: error.to_string(),
    })
}

/// Reads a JSON file that need not be there.
pub(crate) fn read_optional_json(
    path: &Path,
    format: &'static str,
) -> Result<Option<Value>, ModelError> {
    if path.exists() {
        read_json(path, format).map(Some)
    } else {
        Ok(None)
    }
}

/// Whether `name` names a file in the folder itself, so that no file leads outside it.
pub(super) fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(_)), None)
    )
}
