//! GGUF files: the header first, each tensor when it is wanted.
//!
//! The format, versions 2 and 3: a head of counts, metadata entries (name, type, value), a table of
//! tensors, and, from the next multiple of the alignment on, the tensors' bytes. Every count, length
//! and offset is checked against what the file holds before anything is allocated for it, so that a
//! header that lies costs neither memory nor time.

mod header;
mod reader;
mod tensor;
mod value;

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::header::Header;
use self::reader::Fault;
use self::value::{Number, Numbers, Value};
use super::files;
use crate::models::ModelError;

pub use tensor::{GgufTensor, GgufType};
pub use value::GgufStrings;

const FORMAT: &str = "GGUF file";

/// A GGUF file whose header was read and checked.
///
/// Getters give `None` for an entry that is not there and [`ModelError::InvalidConfig`] for one of
/// another type than asked for. All types of whole numbers are as good as each other where the
/// value fits.
pub struct Gguf {
    path: PathBuf,
    source: Source,
    header: Header,
}

/// Where the tensors' bytes are.
enum Source {
    File,
    Memory(Arc<[u8]>),
}

impl fmt::Debug for Gguf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Gguf")
            .field("path", &self.path)
            .field("entries", &self.header.metadata.len())
            .field("tensors", &self.header.tensors.len())
            .finish_non_exhaustive()
    }
}

impl Gguf {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// A file that is [missing](ModelError::MissingFile), [no file](ModelError::WrongFileKind),
    /// [unreadable](ModelError::Unreadable), or [not a sound GGUF file](ModelError::Corrupt).
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ModelError> {
        let path = path.into();
        let (file, length) = files::open(&path)?;
        Self::read(path, Source::File, BufReader::new(file), length)
    }

    /// Reads the header of a file that lies in memory; `name` stands for its path in errors.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] where it is not a sound GGUF file.
    pub fn from_bytes(name: impl Into<PathBuf>, bytes: Arc<[u8]>) -> Result<Self, ModelError> {
        let length = bytes.len() as u64;
        let source = Source::Memory(Arc::clone(&bytes));
        Self::read(name.into(), source, Cursor::new(bytes), length)
    }

    fn read(
        path: PathBuf,
        source: Source,
        reader: impl Read,
        length: u64,
    ) -> Result<Self, ModelError> {
        match Header::read(reader, length) {
            Ok(header) => Ok(Self {
                path,
                source,
                header,
            }),
            Err(Fault::Io(error)) => Err(files::unreadable(&path, error)),
            Err(Fault::Content(detail)) => Err(ModelError::Corrupt {
                path,
                format: FORMAT,
                detail,
            }),
        }
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is an entry of this name.
    pub fn contains(&self, key: &str) -> bool {
        self.header.metadata.contains_key(key)
    }

    /// About what the header takes in memory, in bytes.
    pub(crate) fn header_bytes(&self) -> u64 {
        let texts = |value: &Value| match value {
            Value::Texts(texts) => size_of::<usize>() * texts.len(),
            _ => 0,
        };
        let ends: usize = self.header.metadata.values().map(texts).sum();
        let tensors = self.header.tensors.values();
        let first = tensors.map(GgufTensor::offset).min().unwrap_or(0);
        first.saturating_add(ends as u64)
    }

    /// The names of all entries, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.header.metadata.keys().map(String::as_str)
    }

    /// A whole number from 0 to 2³² − 1.
    ///
    /// # Errors
    /// [`ModelError::InvalidConfig`] where it is something else; the same for the other getters.
    pub fn u32(&self, key: &str) -> Result<Option<u32>, ModelError> {
        self.number(key, "a whole number of 32 bits", whole)
    }

    /// A finite number, whole or not.
    ///
    /// # Errors
    /// As [`Gguf::u32`].
    pub fn f32(&self, key: &str) -> Result<Option<f32>, ModelError> {
        self.number(key, "a finite number", real)
    }

    /// A truth value.
    ///
    /// # Errors
    /// As [`Gguf::u32`].
    pub fn bool(&self, key: &str) -> Result<Option<bool>, ModelError> {
        self.number(key, "a truth value", truth)
    }

    /// A text.
    ///
    /// # Errors
    /// As [`Gguf::u32`].
    pub fn str(&self, key: &str) -> Result<Option<&str>, ModelError> {
        match self.header.metadata.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.invalid(key, "it is not a text")),
        }
    }

    /// An array of whole numbers from 0 to 2³² − 1.
    ///
    /// # Errors
    /// As [`Gguf::u32`].
    pub fn u32s(&self, key: &str) -> Result<Option<Vec<u32>>, ModelError> {
        self.numbers(key, "an array of whole numbers of 32 bits", whole)
    }

    /// An array of whole numbers from −2³¹ to 2³¹ − 1.
    ///
    /// # Errors
    /// As [`Gguf::u32`].
    pub fn i32s(&self, key: &str) -> Result<Option<Vec<i32>>, ModelError> {
        self.numbers(key, "an array of whole numbers of 32 bits", whole)
    }

    /// An array of finite numbers.
    ///
    /// # Errors
    /// As [`Gguf::u32`].
    pub fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>, ModelError> {
        self.numbers(key, "an array of finite numbers", real)
    }

    /// An array of truth values.
    ///
    /// # Errors
    /// As [`Gguf::u32`].
    pub fn bools(&self, key: &str) -> Result<Option<Vec<bool>>, ModelError> {
        self.numbers(key, "an array of truth values", truth)
    }

    /// An array of texts.
    ///
    /// # Errors
    /// As [`Gguf::u32`].
    pub fn strs(&self, key: &str) -> Result<Option<&GgufStrings>, ModelError> {
        match self.header.metadata.get(key) {
            None => Ok(None),
            Some(Value::Texts(texts)) => Ok(Some(texts)),
            Some(_) => Err(self.invalid(key, "it is not an array of texts")),
        }
    }

    /// How many elements an array has, whatever they are; `None` also for what is no array.
    pub fn array_len(&self, key: &str) -> Option<usize> {
        match self.header.metadata.get(key)? {
            Value::Numbers(numbers) => Some(numbers.len()),
            Value::Texts(texts) => Some(texts.len()),
            _ => None,
        }
    }

    fn number<T>(
        &self,
        key: &str,
        wanted: &str,
        convert: impl Fn(Number) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        let value = match self.header.metadata.get(key) {
            None => return Ok(None),
            Some(Value::Number(number)) => convert(*number),
            Some(_) => None,
        };
        match value {
            Some(value) => Ok(Some(value)),
            None => Err(self.invalid(key, format!("it is not {wanted}"))),
        }
    }

    fn numbers<T>(
        &self,
        key: &str,
        wanted: &str,
        convert: impl Fn(Number) -> Option<T>,
    ) -> Result<Option<Vec<T>>, ModelError> {
        let values = match self.header.metadata.get(key) {
            None => return Ok(None),
            Some(Value::Numbers(numbers)) => Numbers::iter(numbers).map(convert).collect(),
            Some(_) => None,
        };
        match values {
            Some(values) => Ok(Some(values)),
            None => Err(self.invalid(key, format!("it is not {wanted}"))),
        }
    }

    /// The error for an entry that makes no sense.
    pub(crate) fn invalid(&self, key: &str, detail: impl Into<String>) -> ModelError {
        let name = self.path.file_name().map_or_else(
            || self.path.display().to_string(),
            |name| name.to_string_lossy().into_owned(),
        );
        ModelError::InvalidConfig {
            file: name,
            field: key.to_owned(),
            detail: detail.into(),
        }
    }

    /// The tensor `name`.
    pub fn tensor(&self, name: &str) -> Option<&GgufTensor> {
        self.header.tensors.get(name)
    }

    /// All tensors with their names, sorted.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = (&str, &GgufTensor)> {
        self.header
            .tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Reads a tensor's bytes.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`], [`ModelError::Unreadable`], and [`ModelError::Corrupt`] for a
    /// file that was cut since it was opened.
    pub fn read_tensor(&self, name: &str) -> Result<Vec<u8>, ModelError> {
        let tensor = self.tensor(name).ok_or_else(|| ModelError::MissingTensor {
            tensor: name.to_owned(),
        })?;
        let cut = || ModelError::Corrupt {
            path: self.path.clone(),
            format: FORMAT,
            detail: "it ended before its tensors did".to_owned(),
        };
        match &self.source {
            Source::File => {
                let (mut file, length) = files::open(&self.path)?;
                if tensor.begin + tensor.bytes > length {
                    return Err(cut());
                }
                read_at(&mut file, tensor).map_err(|error| {
                    if error.kind() == std::io::ErrorKind::UnexpectedEof {
                        cut()
                    } else {
                        files::unreadable(&self.path, error)
                    }
                })
            }
            Source::Memory(bytes) => {
                let begin = tensor.begin as usize;
                bytes
                    .get(begin..begin + tensor.bytes as usize)
                    .map(<[u8]>::to_vec)
                    .ok_or_else(cut)
            }
        }
    }
}

fn read_at(file: &mut File, tensor: &GgufTensor) -> std::io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(tensor.begin))?;
    let mut bytes = vec![0; tensor.bytes as usize];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn whole<T: TryFrom<i128>>(number: Number) -> Option<T> {
    match number {
        Number::Whole(value) => T::try_from(value).ok(),
        _ => None,
    }
}

fn real(number: Number) -> Option<f32> {
    let value = match number {
        Number::Real(value) => value as f32,
        Number::Whole(value) => value as f32,
        Number::Bool(_) => return None,
    };
    value.is_finite().then_some(value)
}

fn truth(number: Number) -> Option<bool> {
    match number {
        Number::Bool(value) => Some(value),
        _ => None,
    }
}
