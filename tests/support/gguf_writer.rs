//! Writes small GGUF files, sound or not.

use std::sync::Arc;

use modelpool::ModelError;
use modelpool::models::Gguf;

/// A metadata value.
#[derive(Debug, Clone)]
#[allow(dead_code, reason = "each test binary uses some of them")]
pub enum Meta {
    U32(u32),
    I32(i32),
    U64(u64),
    F32(f32),
    Bool(bool),
    Text(String),
    U32s(Vec<u32>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
    Bools(Vec<bool>),
    Texts(Vec<String>),
    /// A type's number and the value's bytes, as they are.
    Raw(u32, Vec<u8>),
}

impl Meta {
    /// A text.
    #[allow(dead_code, reason = "each test binary uses some of them")]
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// An array of texts.
    #[allow(dead_code, reason = "each test binary uses some of them")]
    pub fn texts(texts: &[&str]) -> Self {
        Self::Texts(texts.iter().map(|text| (*text).to_owned()).collect())
    }

    fn write(&self, out: &mut Vec<u8>) {
        fn array<T>(out: &mut Vec<u8>, kind: u32, all: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
            out.extend(9_u32.to_le_bytes());
            out.extend(kind.to_le_bytes());
            out.extend((all.len() as u64).to_le_bytes());
            for one in all {
                write(out, one);
            }
        }
        let mut single = |kind: u32, bytes: &[u8]| {
            out.extend(kind.to_le_bytes());
            out.extend(bytes);
        };
        match self {
            Self::U32(value) => single(4, &value.to_le_bytes()),
            Self::I32(value) => single(5, &value.to_le_bytes()),
            Self::U64(value) => single(10, &value.to_le_bytes()),
            Self::F32(value) => single(6, &value.to_le_bytes()),
            Self::Bool(value) => single(7, &[u8::from(*value)]),
            Self::Raw(kind, bytes) => single(*kind, bytes),
            Self::Text(value) => {
                single(8, &[]);
                text(out, value);
            }
            Self::U32s(all) => array(out, 4, all, |out, one| out.extend(one.to_le_bytes())),
            Self::I32s(all) => array(out, 5, all, |out, one| out.extend(one.to_le_bytes())),
            Self::F32s(all) => array(out, 6, all, |out, one| out.extend(one.to_le_bytes())),
            Self::Bools(all) => array(out, 7, all, |out, one| out.push(u8::from(*one))),
            Self::Texts(all) => array(out, 8, all, |out, one| text(out, one)),
        }
    }
}

fn text(out: &mut Vec<u8>, value: &str) {
    out.extend((value.len() as u64).to_le_bytes());
    out.extend(value.as_bytes());
}

/// A tensor: its name, its dimensions in the file's order (innermost first), its type's number and
/// its bytes.
#[derive(Debug, Clone)]
pub struct Tensor {
    pub name: String,
    pub dimensions: Vec<u64>,
    pub kind: u32,
    pub bytes: Vec<u8>,
    /// Where it claims to begin, if not where it does.
    pub offset: Option<u64>,
}

/// A GGUF file in the making.
#[derive(Debug, Clone)]
pub struct GgufWriter {
    pub version: u32,
    pub metadata: Vec<(String, Meta)>,
    pub tensors: Vec<Tensor>,
    /// Claimed counts of tensors and entries, if not the true ones.
    pub counts: [Option<u64>; 2],
    pub alignment: usize,
}

#[allow(dead_code, reason = "each test binary uses some of them")]
impl GgufWriter {
    pub fn new() -> Self {
        Self {
            version: 3,
            metadata: Vec::new(),
            tensors: Vec::new(),
            counts: [None; 2],
            alignment: 32,
        }
    }

    #[must_use]
    pub fn meta(mut self, key: &str, value: Meta) -> Self {
        self.metadata.push((key.to_owned(), value));
        self
    }

    /// A tensor of `f32`; `shape` has the innermost dimension last.
    #[must_use]
    pub fn f32(mut self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        self.tensors.push(Tensor {
            name: name.to_owned(),
            dimensions: shape.iter().rev().map(|side| *side as u64).collect(),
            kind: 0,
            bytes: values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
            offset: None,
        });
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        let [tensors, entries] = self.counts;
        out.extend(tensors.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(entries.unwrap_or(self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            text(&mut out, key);
            value.write(&mut out);
        }
        let mut data: Vec<u8> = Vec::new();
        for tensor in &self.tensors {
            data.resize(data.len().next_multiple_of(self.alignment), 0);
            text(&mut out, &tensor.name);
            out.extend((tensor.dimensions.len() as u32).to_le_bytes());
            for side in &tensor.dimensions {
                out.extend(side.to_le_bytes());
            }
            out.extend(tensor.kind.to_le_bytes());
            let offset = tensor.offset.unwrap_or(data.len() as u64);
            out.extend(offset.to_le_bytes());
            data.extend(&tensor.bytes);
        }
        out.resize(out.len().next_multiple_of(self.alignment), 0);
        out.extend(data);
        out
    }

    pub fn read(&self) -> Result<Gguf, ModelError> {
        Gguf::from_bytes("test.gguf", Arc::from(self.bytes()))
    }
}
