//! Weights that PyTorch saved, in the format that it had before version 1.6.
//!
//! Such a file is a row of pickles: a magic number, the protocol's version, facts on the machine, the object,
//! the storages' keys; then each storage's length and bytes. Of the pickles' machine only what such files use is
//! here: nothing in a file can name code that is run.

mod pickle;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::ModelError;
use super::files;
use pickle::{Node, Pickle};

const FORMAT: &str = "legacy PyTorch file";

/// The number that such files begin with, as a pickled integer's bytes.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const PROTOCOL: i64 = 1001;

/// Sides of a tensor.
const MAX_SIDES: usize = 8;

/// The tensors of a file that `torch.save` made of a state dict before PyTorch 1.6. Newer files are ZIP archives, and
/// refused by name: convert them to safetensors.
pub struct Pth {
    path: PathBuf,
    tensors: BTreeMap<String, View>,
}

/// A tensor's place in its storage.
#[derive(Debug, Clone)]
struct View {
    kind: Kind,
    /// Where the storage's values begin in the file.
    begin: u64,
    /// Values of the storage.
    stored: u64,
    /// The first value's number in the storage.
    first: u64,
    shape: Vec<usize>,
    strides: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    F64,
    F32,
    F16,
    Bf16,
    /// Something that is no float, of so many bytes.
    Other(u64),
}

impl Kind {
    fn of(storage: &str) -> Option<Self> {
        Some(match storage {
            "torch DoubleStorage" => Self::F64,
            "torch FloatStorage" => Self::F32,
            "torch HalfStorage" => Self::F16,
            "torch BFloat16Storage" => Self::Bf16,
            "torch LongStorage" => Self::Other(8),
            "torch IntStorage" => Self::Other(4),
            "torch ShortStorage" => Self::Other(2),
            "torch CharStorage" | "torch ByteStorage" | "torch BoolStorage" => Self::Other(1),
            _ => return None,
        })
    }

    fn bytes(self) -> u64 {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Other(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Pth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pth")
            .field("path", &self.path)
            .field("tensors", &self.tensors.len())
            .finish()
    }
}

impl Pth {
    /// Reads what a file holds, and checks that it is all there. No values are read.
    ///
    /// # Errors
    /// [`ModelError::MissingFile`], [`ModelError::WrongFileKind`], [`ModelError::Unreadable`]; and
    /// [`ModelError::Corrupt`] for a file that is damaged, of the newer format, or holds something else than a
    /// dictionary of tensors.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let (file, size) = files::open(path)?;
        let tensors = read_all(file, size).map_err(|why| match why {
            Why::Unreadable(source) => files::unreadable(path, source),
            Why::Damaged(detail) => ModelError::Corrupt {
                path: path.to_owned(),
                format: FORMAT,
                detail,
            },
        })?;
        Ok(Self {
            path: path.to_owned(),
            tensors,
        })
    }

    /// The names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor's shape.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|view| view.shape.as_slice())
    }

    /// Reads a tensor, row-major, as `f32`.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`]; [`ModelError::WrongDtype`] for one that is no float;
    /// [`ModelError::NotFiniteWeights`]; [`ModelError::Unreadable`] or [`ModelError::Corrupt`] where the file has changed.
    pub fn read(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        let view = self.tensors.get(name);
        let view = view.ok_or_else(|| ModelError::MissingTensor {
            tensor: name.to_owned(),
        })?;
        let (mut file, size) = files::open(&self.path)?;
        let bytes = view.stored * view.kind.bytes();
        if view.begin.saturating_add(bytes) > size {
            return Err(ModelError::Corrupt {
                path: self.path.clone(),
                format: FORMAT,
                detail: "it has become shorter".to_owned(),
            });
        }
        let mut storage = Vec::new();
        file.seek(SeekFrom::Start(view.begin))
            .and_then(|_| file.take(bytes).read_to_end(&mut storage))
            .map_err(|source| files::unreadable(&self.path, source))?;
        let stored: Vec<f32> = match view.kind {
            Kind::F64 => words(&storage)
                .map(|word| f64::from_le_bytes(word) as f32)
                .collect(),
            Kind::F32 => words(&storage).map(f32::from_le_bytes).collect(),
            Kind::F16 => words(&storage)
                .map(|word| half::f16::from_le_bytes(word).to_f32())
                .collect(),
            Kind::Bf16 => words(&storage)
                .map(|word| half::bf16::from_le_bytes(word).to_f32())
                .collect(),
            Kind::Other(bytes) => {
                return Err(ModelError::WrongDtype {
                    tensor: name.to_owned(),
                    found: format!("{bytes} bytes that are no float"),
                    supported: "double, float, half and bfloat16",
                });
            }
        };
        let values = view.gather(&stored);
        match values {
            Some(values) if values.iter().all(|value| value.is_finite()) => Ok(values),
            Some(_) => Err(ModelError::NotFiniteWeights {
                tensor: name.to_owned(),
            }),
            None => Err(ModelError::Corrupt {
                path: self.path.clone(),
                format: FORMAT,
                detail: format!("tensor {name} lies outside of its storage"),
            }),
        }
    }
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}

impl View {
    /// Whether all of it lies in the storage, and it has no more values than that: a stride of 0 would let a small
    /// file hold a tensor of any size.
    fn fits(&self) -> bool {
        let mut elements = 1_u64;
        let mut last = self.first;
        for (&side, &stride) in self.shape.iter().zip(&self.strides) {
            let Some(count) = elements.checked_mul(side as u64) else {
                return false;
            };
            let reach = (side as u64).saturating_sub(1).checked_mul(stride);
            let Some(end) = reach.and_then(|reach| last.checked_add(reach)) else {
                return false;
            };
            (elements, last) = (count, end);
        }
        elements == 0 || (elements <= self.stored && last < self.stored)
    }

    /// The tensor's values, one row after the other.
    fn gather(&self, stored: &[f32]) -> Option<Vec<f32>> {
        let count = self.shape.iter().product();
        let mut values = Vec::with_capacity(count);
        let mut index = vec![0_usize; self.shape.len()];
        for _ in 0..count {
            let steps = index.iter().zip(&self.strides);
            let place = self.first
                + steps
                    .map(|(&step, stride)| step as u64 * stride)
                    .sum::<u64>();
            values.push(*stored.get(usize::try_from(place).ok()?)?);
            for (step, &side) in index.iter_mut().zip(&self.shape).rev() {
                *step += 1;
                if *step < side {
                    break;
                }
                *step = 0;
            }
        }
        Some(values)
    }
}

/// Why a file is not read.
enum Why {
    Unreadable(std::io::Error),
    Damaged(String),
}

impl From<std::io::Error> for Why {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Self::Damaged("it ends too early".to_owned()),
            _ => Self::Unreadable(error),
        }
    }
}

fn damaged<T>(detail: impl Into<String>) -> Result<T, Why> {
    Err(Why::Damaged(detail.into()))
}

fn read_all(file: File, size: u64) -> Result<BTreeMap<String, View>, Why> {
    let mut file = BufReader::new(file);
    let mut start = [0; 4];
    file.read_exact(&mut start)?;
    if start == *b"PK\x03\x04" {
        return damaged("it is a ZIP archive, as newer versions save: convert it to safetensors");
    }
    file.rewind()?;
    let magic = Pickle::read(&mut file)?;
    if !matches!(magic.root(), Node::Long(bytes) if *bytes == MAGIC) {
        return damaged("it does not begin with the format's number");
    }
    let version = Pickle::read(&mut file)?;
    if !matches!(version.root(), Node::Int(PROTOCOL)) {
        return damaged("it is of another version");
    }
    Pickle::read(&mut file)?;
    let object = Pickle::read(&mut file)?;
    let keys = Pickle::read(&mut file)?;
    let mut found = tensors(&object)?;
    let mut places = BTreeMap::new();
    let Node::List(keys_in_order) = keys.root() else {
        return damaged("it has no list of storages");
    };
    let mut place = file.stream_position()?;
    for &key in keys_in_order {
        let Node::Text(key) = keys.node(key) else {
            return damaged("a storage's key is no text");
        };
        let Some((kind, stored)) = found.storages.get(key) else {
            return damaged(format!("nothing is known of storage {key}"));
        };
        let mut length = [0; 8];
        file.seek(SeekFrom::Start(place))?;
        file.read_exact(&mut length)?;
        if u64::from_le_bytes(length) != *stored {
            return damaged(format!("storage {key} is not of {stored} values"));
        }
        let begin = place + 8;
        let end = stored
            .checked_mul(kind.bytes())
            .and_then(|bytes| begin.checked_add(bytes));
        match end {
            Some(end) if end <= size => place = end,
            _ => return damaged(format!("storage {key} ends after the file")),
        }
        places.insert(key.clone(), begin);
    }
    for (name, key) in &found.storage_of {
        let (Some(view), Some(begin)) = (found.views.get_mut(name), places.get(key)) else {
            return damaged(format!("the storage of tensor {name} is not there"));
        };
        view.begin = *begin;
    }
    Ok(found.views)
}

/// What a state dict says.
#[derive(Default)]
struct Found {
    views: BTreeMap<String, View>,
    /// The key of each tensor's storage.
    storage_of: BTreeMap<String, String>,
    /// Each storage's type, and how many values it has.
    storages: BTreeMap<String, (Kind, u64)>,
}

fn tensors(object: &Pickle) -> Result<Found, Why> {
    let items = match object.root() {
        Node::Dict(items) | Node::Made { items, .. } => items,
        _ => return damaged("it is no dictionary of tensors"),
    };
    let mut found = Found::default();
    for &(name, value) in items {
        let Node::Text(name) = object.node(name) else {
            return damaged("a tensor's name is no text");
        };
        let Some((key, view)) = view(object, object.node(value)) else {
            return damaged(format!("{name} is no tensor that can be read"));
        };
        if !view.fits() {
            return damaged(format!("tensor {name} lies outside of its storage"));
        }
        let said = (view.kind, view.stored);
        if *found.storages.entry(key.clone()).or_insert(said) != said {
            return damaged(format!("storage {key} is described in two ways"));
        }
        found.storage_of.insert(name.clone(), key);
        found.views.insert(name.clone(), view);
    }
    Ok(found)
}

/// A tensor as `_rebuild_tensor_v2(storage, first, shape, strides, …)`, with its storage's key.
fn view(object: &Pickle, node: &Node) -> Option<(String, View)> {
    let Node::Made {
        function,
        arguments,
        ..
    } = node
    else {
        return None;
    };
    let arguments = object.tuple(*arguments)?;
    match object.node(*function) {
        Node::Global(name) if name == "torch._utils _rebuild_tensor_v2" => {}
        // A parameter is a tensor and a few words on it.
        Node::Global(name) if name == "torch._utils _rebuild_parameter" => {
            return match object.node(*arguments.first()?) {
                inner @ Node::Made { function, .. } if matches!(object.node(*function), Node::Global(name) if name == "torch._utils _rebuild_tensor_v2") => {
                    view(object, inner)
                }
                _ => None,
            };
        }
        _ => return None,
    }
    let Node::Persistent(storage) = object.node(*arguments.first()?) else {
        return None;
    };
    let storage = object.tuple(*storage)?;
    let Node::Global(kind) = object.node(*storage.get(1)?) else {
        return None;
    };
    let Node::Text(key) = object.node(*storage.get(2)?) else {
        return None;
    };
    let shape = object.numbers(*arguments.get(2)?)?;
    let strides = object.numbers(*arguments.get(3)?)?;
    if shape.len() != strides.len() || shape.len() > MAX_SIDES {
        return None;
    }
    let shape = shape.into_iter().map(|side| usize::try_from(side).ok());
    let view = View {
        kind: Kind::of(kind)?,
        begin: 0,
        stored: object.number(*storage.get(4)?)?,
        first: object.number(*arguments.get(1)?)?,
        shape: shape.collect::<Option<_>>()?,
        strides,
    };
    Some((key.clone(), view))
}
