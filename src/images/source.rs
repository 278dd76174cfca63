//! Where a picture comes from.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ImageError, ImageLimits, RgbImage, base64_text, decode, fetch};

/// A picture as a caller has it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ImageSource {
    /// A file.
    Path(PathBuf),
    /// An http or https address.
    Url(String),
    /// Base64 of a file, or a data URL of it.
    Base64(String),
    /// A file's bytes.
    Bytes(Vec<u8>),
    /// Pixels, decoded already.
    Pixels(RgbImage),
}

impl fmt::Debug for ImageSource {
    /// Says how much there is of data, and of an address nothing that might be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "Path({})", path.display()),
            Self::Url(url) => write!(f, "Url({} bytes)", url.len()),
            Self::Base64(text) => write!(f, "Base64({} bytes)", text.len()),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Pixels(picture) => write!(f, "Pixels({picture:?})"),
        }
    }
}

impl ImageSource {
    /// A file.
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self::Path(path.into())
    }

    /// An http or https address. See [`ImageLimits`] for where it may lead.
    pub fn url(url: impl Into<String>) -> Self {
        Self::Url(url.into())
    }

    /// Base64 of a file, of either alphabet, padded or not; or a data URL of it.
    pub fn base64(text: impl Into<String>) -> Self {
        Self::Base64(text.into())
    }

    /// A file's bytes.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Bytes(bytes.into())
    }

    /// Pixels, decoded already.
    pub fn pixels(picture: RgbImage) -> Self {
        Self::Pixels(picture)
    }

    /// Checks what can be told at once, without reading, fetching or decoding anything.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn check(&self, limits: &ImageLimits) -> Result<(), ImageError> {
        match self {
            Self::Path(_) => Ok(()),
            Self::Url(url) => fetch::parse(url, limits).map(drop),
            Self::Base64(text) => base64_text::check(text, limits),
            Self::Bytes(bytes) => limits.check_bytes(bytes.len() as u64),
            Self::Pixels(picture) => {
                let bytes = picture.pixels().len() as u64;
                decode::check_size(picture.width(), picture.height(), bytes, limits)
            }
        }
    }

    /// Reads or fetches the picture, and decodes it: upright, opaque, 8-bit RGB. Blocks for as long as
    /// that takes.
    ///
    /// # Errors
    /// [`ImageError`]: it cannot be had, is none, is damaged, or exceeds the limits.
    pub fn load(&self, limits: &ImageLimits) -> Result<RgbImage, ImageError> {
        self.check(limits)?;
        match self {
            Self::Path(path) => decode::decode(&read(path, limits)?, limits),
            Self::Url(url) => decode::decode(&fetch::fetch(url, limits)?, limits),
            Self::Base64(text) => decode::decode(&base64_text::decode(text, limits)?, limits),
            Self::Bytes(bytes) => decode::decode(bytes, limits),
            Self::Pixels(picture) => Ok(picture.clone()),
        }
    }
}

fn read(path: &Path, limits: &ImageLimits) -> Result<Vec<u8>, ImageError> {
    let unreadable = |source| ImageError::Unreadable {
        path: path.to_owned(),
        source: Arc::new(source),
    };
    // Looked at before it is opened: to open a pipe may wait for ever.
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(ImageError::NoFile {
            path: path.to_owned(),
        });
    }
    limits.check_bytes(metadata.len())?;
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| {
            // It may grow meanwhile.
            file.take(limits.max_bytes.saturating_add(1))
                .read_to_end(&mut bytes)
        })
        .map_err(unreadable)?;
    limits.check_bytes(bytes.len() as u64)?;
    Ok(bytes)
}
