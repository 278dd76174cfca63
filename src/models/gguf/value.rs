//! A header's metadata, held in about the bytes that it takes in the file.

use std::io::Read;

use super::reader::{Fault, Reader};

/// Arrays of arrays deeper than this are nonsense.
const MAX_DEPTH: u32 = 4;

/// The longest text that stands alone, such as a chat template.
const MAX_TEXT_BYTES: u64 = 16 << 20;

/// The types of single values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    U64,
    I64,
    F64,
}

impl Scalar {
    fn from_id(id: u32) -> Option<Self> {
        Some(match id {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }

    pub(super) fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// The value in [`Scalar::bytes`] bytes.
    fn read(self, bytes: &[u8]) -> Number {
        // The upper bytes of a shorter value stay zero: little endian.
        let mut word = [0; 8];
        for (place, byte) in word.iter_mut().zip(bytes) {
            *place = *byte;
        }
        let bits = u64::from_le_bytes(word);
        match self {
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => Number::Whole(bits.into()),
            Self::I8 => Number::Whole((bits as i8).into()),
            Self::I16 => Number::Whole((bits as i16).into()),
            Self::I32 => Number::Whole((bits as i32).into()),
            Self::I64 => Number::Whole((bits as i64).into()),
            Self::F32 => Number::Real(f32::from_bits(bits as u32).into()),
            Self::F64 => Number::Real(f64::from_bits(bits)),
            Self::Bool => Number::Bool(bits != 0),
        }
    }
}

/// A single value, widened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Whole(i128),
    Real(f64),
    Bool(bool),
}

/// One entry's value.
#[derive(Debug)]
pub(super) enum Value {
    Number(Number),
    Text(String),
    Numbers(Numbers),
    Texts(GgufStrings),
    /// Arrays of arrays: checked, but of no use to anybody.
    Nested,
}

/// An array of single values, as its bytes.
#[derive(Debug)]
pub(super) struct Numbers {
    kind: Scalar,
    bytes: Vec<u8>,
}

impl Numbers {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() / self.kind.bytes()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Number> + '_ {
        self.bytes
            .chunks_exact(self.kind.bytes())
            .map(|bytes| self.kind.read(bytes))
    }
}

/// An array of texts in a GGUF header, such as a vocabulary.
#[derive(Debug, Default)]
pub struct GgufStrings {
    text: String,
    ends: Vec<usize>,
}

impl GgufStrings {
    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The text at `index`.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.text.get(start..end)
    }

    /// All texts, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }
}

impl Value {
    /// Reads a value of the type with the number `id`.
    pub(super) fn read<R: Read>(reader: &mut Reader<R>, id: u32) -> Result<Self, Fault> {
        match id {
            TEXT => reader.text(MAX_TEXT_BYTES).map(Self::Text),
            ARRAY => Self::array(reader, 0),
            _ => {
                let kind = scalar(id)?;
                let mut bytes = Vec::new();
                reader.bytes(kind.bytes() as u64, &mut bytes)?;
                Ok(Self::Number(kind.read(&bytes)))
            }
        }
    }

    fn array<R: Read>(reader: &mut Reader<R>, depth: u32) -> Result<Self, Fault> {
        let id = reader.u32()?;
        let count = reader.u64()?;
        match id {
            TEXT => texts(reader, count).map(Self::Texts),
            ARRAY => {
                if depth == MAX_DEPTH {
                    return Err(Fault::Content("arrays are nested too deeply".to_owned()));
                }
                // Each begins with its type and its length.
                reader.claim(count, 12, "arrays")?;
                for _ in 0..count {
                    Self::array(reader, depth + 1)?;
                }
                Ok(Self::Nested)
            }
            _ => {
                let kind = scalar(id)?;
                reader.claim(count, kind.bytes() as u64, "array elements")?;
                let mut bytes = Vec::new();
                reader.bytes(count * kind.bytes() as u64, &mut bytes)?;
                Ok(Self::Numbers(Numbers { kind, bytes }))
            }
        }
    }
}

const TEXT: u32 = 8;
const ARRAY: u32 = 9;

fn scalar(id: u32) -> Result<Scalar, Fault> {
    Scalar::from_id(id)
        .ok_or_else(|| Fault::Content(format!("{id} is not the number of a value's type")))
}

fn texts<R: Read>(reader: &mut Reader<R>, count: u64) -> Result<GgufStrings, Fault> {
    // Each begins with its length.
    let count = reader.claim(count, 8, "texts")?;
    let mut bytes = Vec::new();
    let mut ends = Vec::with_capacity(count);
    for index in 0..count {
        let start = bytes.len();
        let length = reader.u64()?;
        reader.bytes(length, &mut bytes)?;
        // Each by itself: two that are cut within a character could be whole together.
        if std::str::from_utf8(&bytes[start..]).is_err() {
            return Err(Fault::Content(format!("text {index} is not UTF-8")));
        }
        ends.push(bytes.len());
    }
    let text =
        String::from_utf8(bytes).map_err(|_| Fault::Content("a text is not UTF-8".to_owned()))?;
    Ok(GgufStrings { text, ends })
}
