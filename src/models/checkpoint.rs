//! Reading safetensors checkpoints: the headers first, each tensor when it is wanted.
//!
//! The format: eight bytes of header length (little endian), a JSON header that gives each
//! tensor's element type, shape and place, then the tensors' bytes. A header is checked against
//! the file's true size before anything is allocated for what it claims.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use pulp::bytemuck;
use rayon::prelude::*;
use serde_json::Value;

use super::files;
use crate::kernels::prefer_large_pages;
use crate::models::ModelError;

const FORMAT: &str = "safetensors file";

/// What the format's own reader accepts.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The element types that weights may have.
const SUPPORTED: &str = "F32, F16, BF16 and F64";

/// How many values are read before they are looked at: few enough to be in the cache still.
const CACHED_VALUES: usize = 1 << 16;

/// How many values of a large tensor each thread reads in turn.
const PARALLEL_VALUES: usize = 1 << 18;
/// Rows that layouts put side by side: to read fewer of them at a time would write to the same places again.
const ROWS_SIDE_BY_SIDE: usize = 48;

/// One tensor's entry in a header.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    file: usize,
    pub(super) dtype: String,
    pub(super) shape: Vec<usize>,
    begin: u64,
    bytes: u64,
}

/// The tensors of a checkpoint: of one file, or of the shards that an index lists.
#[derive(Debug, Clone)]
pub(super) struct Checkpoint {
    files: Vec<PathBuf>,
    entries: BTreeMap<String, Entry>,
}

impl Checkpoint {
    /// Reads the headers of `model.safetensors` in `folder`, or else of the shards named in
    /// `model.safetensors.index.json`.
    pub(super) fn open(folder: &Path) -> Result<Self, ModelError> {
        Self::open_named(folder, "model")
    }

    /// The same where the files are called `{stem}.safetensors` and
    /// `{stem}.safetensors.index.json`. Where there are neither, those of the variant `fp16` do.
    pub(super) fn open_variant(folder: &Path, stem: &str) -> Result<Self, ModelError> {
        let of = |name: String| folder.join(name).exists();
        let is_plain = of(format!("{stem}.safetensors"));
        let is_sharded = of(format!("{stem}.safetensors.index.json"));
        if !is_plain && !is_sharded {
            if of(format!("{stem}.fp16.safetensors")) {
                return Self::open_named(folder, &format!("{stem}.fp16"));
            }
            // The variant's place in an index's name is another one.
            let index = folder.join(format!("{stem}.safetensors.index.fp16.json"));
            if index.exists() {
                return Self::of_index(folder, &index);
            }
        }
        Self::open_named(folder, stem)
    }

    fn open_named(folder: &Path, stem: &str) -> Result<Self, ModelError> {
        let single = folder.join(format!("{stem}.safetensors"));
        let index = folder.join(format!("{stem}.safetensors.index.json"));
        if single.exists() || !index.exists() {
            return Self::of_file(&single);
        }
        Self::of_index(folder, &index)
    }

    fn of_index(folder: &Path, index: &Path) -> Result<Self, ModelError> {
        let mut checkpoint = Self {
            files: Vec::new(),
            entries: BTreeMap::new(),
        };
        for shard in shard_names(index)? {
            checkpoint.add_file(folder.join(shard))?;
        }
        Ok(checkpoint)
    }

    /// Reads the header of one file.
    pub(super) fn of_file(path: &Path) -> Result<Self, ModelError> {
        let mut checkpoint = Self {
            files: Vec::new(),
            entries: BTreeMap::new(),
        };
        checkpoint.add_file(path.to_owned())?;
        Ok(checkpoint)
    }

    fn add_file(&mut self, path: PathBuf) -> Result<(), ModelError> {
        let corrupt = |detail: String| ModelError::Corrupt {
            path: path.clone(),
            format: FORMAT,
            detail,
        };
        let (mut file, size) = files::open(&path)?;
        let unreadable = |source: std::io::Error| files::unreadable(&path, source);
        if size < 8 {
            return Err(corrupt(format!("{size} bytes, too few for a header")));
        }
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(unreadable)?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER_BYTES || length > size - 8 {
            return Err(corrupt(format!(
                "a header of {length} bytes is claimed, the file has {size}"
            )));
        }
        let mut header = Vec::new();
        file.take(length)
            .read_to_end(&mut header)
            .map_err(unreadable)?;
        let header: BTreeMap<String, Value> = serde_json::from_slice(&header)
            .map_err(|error| corrupt(format!("the header is not JSON: {error}")))?;
        let data = 8 + length;
        let number = self.files.len();
        for (name, value) in header {
            if name == "__metadata__" {
                continue;
            }
            let entry = entry(&value, number, data, size)
                .map_err(|detail| corrupt(format!("tensor {name}: {detail}")))?;
            self.entries.insert(name, entry);
        }
        self.files.push(path);
        Ok(())
    }

    /// The entry of the tensor `name`.
    pub(super) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// How many elements each tensor has, and how many bytes they take.
    pub(super) fn sizes(&self) -> impl Iterator<Item = (u64, u64)> {
        self.entries.values().map(|entry| {
            let sides = entry.shape.iter().map(|&side| side as u64);
            (sides.fold(1, u64::saturating_mul), entry.bytes)
        })
    }

    /// The names of all tensors.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Fails unless `name` has an element type that can become `f32`.
    pub(super) fn check_dtype(&self, name: &str, entry: &Entry) -> Result<(), ModelError> {
        match entry.dtype.as_str() {
            "F32" | "F16" | "BF16" | "F64" => Ok(()),
            _ => Err(ModelError::WrongDtype {
                tensor: name.to_owned(),
                found: entry.dtype.clone(),
                supported: SUPPORTED,
            }),
        }
    }

    /// Reads a tensor's bytes.
    pub(super) fn read_bytes(&self, entry: &Entry) -> Result<Vec<u8>, ModelError> {
        let mut bytes = vec![0; entry.bytes as usize];
        self.reader(entry, 0)?.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads a tensor as `f32`, all of them finite.
    pub(super) fn read(&self, name: &str, entry: &Entry) -> Result<Vec<f32>, ModelError> {
        self.check_dtype(name, entry)?;
        let mut values = vec![0.0; entry.values()];
        require_finite(name, self.read_values(entry, 0, &mut values)?)?;
        Ok(values)
    }

    /// The same of a large tensor: the threads that rayon has where this is called read it side by side.
    pub(super) fn read_in_parallel(
        &self,
        name: &str,
        entry: &Entry,
    ) -> Result<Vec<f32>, ModelError> {
        self.check_dtype(name, entry)?;
        let mut values = vec![0.0; entry.values()];
        prefer_large_pages(&mut values);
        let parts: Vec<Result<bool, ModelError>> = values
            .par_chunks_mut(PARALLEL_VALUES)
            .enumerate()
            .map(|(number, part)| self.read_values(entry, number * PARALLEL_VALUES, part))
            .collect();
        // Of several errors the first one is told, whichever thread was the first to find one.
        let are_finite: Vec<bool> = parts.into_iter().collect::<Result<_, _>>()?;
        require_finite(name, are_finite.into_iter().all(|finite| finite))?;
        Ok(values)
    }

    /// Reads a tensor's values from the `first` on, as many as there is room for. Whether all of them
    /// are finite.
    fn read_values(
        &self,
        entry: &Entry,
        first: usize,
        values: &mut [f32],
    ) -> Result<bool, ModelError> {
        let mut reader = self.reader(entry, first as u64 * entry.width())?;
        let mut finite = true;
        for part in values.chunks_mut(CACHED_VALUES) {
            finite &= reader.values(&entry.dtype, part)?;
        }
        Ok(finite)
    }

    /// Reads a tensor of rows, all of them finite, a few at a time: what is made of them is made while they are in the
    /// caches. `take` is given the number of the first and, in `buffer`, as many as were read.
    pub(super) fn read_rows(
        &self,
        name: &str,
        entry: &Entry,
        columns: usize,
        buffer: &mut Vec<f32>,
        mut take: impl FnMut(usize, &[f32]),
    ) -> Result<(), ModelError> {
        self.check_dtype(name, entry)?;
        let columns = columns.max(1);
        let rows = entry.values() / columns;
        let at_once = (CACHED_VALUES / columns).max(1);
        let at_once = at_once.next_multiple_of(ROWS_SIDE_BY_SIDE);
        let mut reader = self.reader(entry, 0)?;
        for first in (0..rows).step_by(at_once) {
            buffer.resize(at_once.min(rows - first) * columns, 0.0);
            require_finite(name, reader.values(&entry.dtype, buffer)?)?;
            take(first, buffer);
        }
        Ok(())
    }

    /// Reads a tensor's bytes from `offset` on.
    fn reader(&self, entry: &Entry, offset: u64) -> Result<Reader<'_>, ModelError> {
        let path = &self.files[entry.file];
        let (mut file, _) = files::open(path)?;
        file.seek(SeekFrom::Start(entry.begin + offset))
            .map_err(|source| files::unreadable(path, source))?;
        let bytes = Vec::new();
        Ok(Reader { file, path, bytes })
    }
}

impl Entry {
    /// Bytes of one value.
    fn width(&self) -> u64 {
        element_bytes(&self.dtype).unwrap_or(1)
    }

    fn values(&self) -> usize {
        (self.bytes / self.width()) as usize
    }
}

/// A file that is read on.
struct Reader<'a> {
    file: File,
    path: &'a Path,
    /// What was read that is not a 32-bit float.
    bytes: Vec<u8>,
}

impl Reader<'_> {
    /// The file may have shrunk since its header was read.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ModelError> {
        self.file.read_exact(bytes).map_err(|source| {
            if source.kind() == std::io::ErrorKind::UnexpectedEof {
                ModelError::Corrupt {
                    path: self.path.to_owned(),
                    format: FORMAT,
                    detail: "it ended before its tensors did".to_owned(),
                }
            } else {
                files::unreadable(self.path, source)
            }
        })
    }

    /// 32-bit floats: straight into their place.
    fn floats(&mut self, values: &mut [f32]) -> Result<(), ModelError> {
        self.fill(bytemuck::cast_slice_mut(values))?;
        if cfg!(target_endian = "big") {
            for value in values {
                *value = f32::from_bits(value.to_bits().swap_bytes());
            }
        }
        Ok(())
    }

    fn widened<const N: usize>(
        &mut self,
        values: &mut [f32],
        widen: impl Fn([u8; N]) -> f32,
    ) -> Result<(), ModelError> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.resize(N * values.len(), 0);
        self.fill(&mut bytes)?;
        for (value, word) in values.iter_mut().zip(words(&bytes)) {
            *value = widen(word);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Values of this element type. Whether all of them are finite.
    fn values(&mut self, dtype: &str, values: &mut [f32]) -> Result<bool, ModelError> {
        match dtype {
            "F32" => self.floats(values)?,
            "F16" => self.widened(values, |word| half::f16::from_le_bytes(word).to_f32())?,
            "BF16" => self.widened(values, |word| half::bf16::from_le_bytes(word).to_f32())?,
            // The caller has seen to it that there is no other.
            _ => self.widened(values, |word| f64::from_le_bytes(word) as f32)?,
        }
        Ok(are_finite(values))
    }
}

fn require_finite(name: &str, is_finite: bool) -> Result<(), ModelError> {
    if is_finite {
        return Ok(());
    }
    Err(ModelError::NotFiniteWeights {
        tensor: name.to_owned(),
    })
}

/// Whether there is no NaN and no infinity among them, several at a time: either of them times 0 is NaN.
fn are_finite(values: &[f32]) -> bool {
    const LANES: usize = 16;
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value * 0.0;
        }
    }
    sums.iter().all(|sum| !sum.is_nan()) && rest.iter().all(|value| value.is_finite())
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}

fn entry(value: &Value, file: usize, data: u64, size: u64) -> Result<Entry, String> {
    let dtype = value
        .get("dtype")
        .and_then(Value::as_str)
        .ok_or("no dtype")?;
    let shape = value
        .get("shape")
        .and_then(Value::as_array)
        .and_then(|shape| shape.iter().map(Value::as_u64).collect::<Option<Vec<_>>>())
        .ok_or("no shape")?;
    let offsets = value
        .get("data_offsets")
        .and_then(Value::as_array)
        .and_then(|ends| ends.iter().map(Value::as_u64).collect::<Option<Vec<_>>>())
        .filter(|ends| ends.len() == 2 && ends[0] <= ends[1])
        .ok_or("no data offsets")?;
    let begin = data.checked_add(offsets[0]).ok_or("offset out of range")?;
    let end = data.checked_add(offsets[1]).ok_or("offset out of range")?;
    if end > size {
        return Err(format!("ends at byte {end}, the file has {size}"));
    }
    let bytes = end - begin;
    if let Some(element) = element_bytes(dtype) {
        let needed = shape
            .iter()
            .try_fold(element, |product, side| product.checked_mul(*side));
        if needed != Some(bytes) {
            return Err(format!("{bytes} bytes do not make shape {shape:?}"));
        }
    }
    let shape = shape
        .iter()
        .map(|side| usize::try_from(*side).map_err(|_| "shape out of range"))
        .collect::<Result<_, _>>()?;
    Ok(Entry {
        file,
        dtype: dtype.to_owned(),
        shape,
        begin,
        bytes,
    })
}

fn element_bytes(dtype: &str) -> Option<u64> {
    match dtype {
        "F16" | "BF16" => Some(2),
        "F32" => Some(4),
        "F64" => Some(8),
        _ => None,
    }
}

/// The shards that an index names, each once.
fn shard_names(index: &Path) -> Result<Vec<String>, ModelError> {
    let value = files::read_json(index, "safetensors index")?;
    let corrupt = |detail: String| ModelError::Corrupt {
        path: index.to_owned(),
        format: "safetensors index",
        detail,
    };
    let map = value
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| corrupt("it has no weight_map".to_owned()))?;
    let mut names = Vec::new();
    for (tensor, shard) in map {
        let name = shard
            .as_str()
            .filter(|name| files::is_plain_name(name))
            .ok_or_else(|| corrupt(format!("tensor {tensor} lies in no file of this folder")))?;
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
