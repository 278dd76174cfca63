//! Reading a header: version, metadata, table of tensors.

use std::collections::BTreeMap;
use std::io::Read;

use super::reader::{Fault, Reader};
use super::tensor::{GgufTensor, MAX_DIMENSIONS, require_apart};
use super::value::{Number, Value};

/// No real header comes near this; the vocabularies of a quarter million tokens take 15 MB.
const MAX_HEADER_BYTES: u64 = 256 << 20;
/// Real files have some fifty.
const MAX_ENTRIES: u64 = 1 << 14;
/// Real files have a few thousand.
const MAX_TENSORS: u64 = 1 << 17;
/// The longest name that the format allows for an entry.
const MAX_NAME_BYTES: u64 = 65_535;
const MAX_ALIGNMENT: u64 = 1 << 20;

/// What a file says before its tensors' bytes.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, Value>,
    pub(super) tensors: BTreeMap<String, GgufTensor>,
}

/// A tensor as its table says, before the place of the data is known.
struct Claim {
    name: String,
    dimensions: Vec<u64>,
    kind: u32,
    offset: u64,
}

impl Header {
    /// Reads the header of a file of `length` bytes.
    pub(super) fn read<R: Read>(source: R, length: u64) -> Result<Self, Fault> {
        let mut reader = Reader::new(source, length.min(MAX_HEADER_BYTES));
        let fail = |detail: String| Err(Fault::Content(detail));
        if reader.u32()?.to_le_bytes() != *b"GGUF" {
            return fail("it does not begin with GGUF".to_owned());
        }
        match reader.u32()? {
            2 | 3 => {}
            version if matches!(version.swap_bytes(), 1..=3) => {
                return fail("it is big endian, supported is little endian".to_owned());
            }
            version => return fail(format!("version {version}, supported are 2 and 3")),
        }
        let tensors = reader.u64()?;
        let entries = reader.u64()?;
        if tensors > MAX_TENSORS || entries > MAX_ENTRIES {
            return fail(format!(
                "{tensors} tensors and {entries} entries are claimed"
            ));
        }
        let metadata = metadata(&mut reader, entries)?;
        let alignment = alignment(&metadata)?;
        let claims = claims(&mut reader, tensors)?;
        let data = reader.position().next_multiple_of(alignment);
        let mut tensors = BTreeMap::new();
        for claim in claims {
            let tensor = GgufTensor::new(
                &claim.dimensions,
                claim.kind,
                claim.offset,
                alignment,
                data,
                length,
            )
            .map_err(|detail| format!("tensor {}: {detail}", claim.name))?;
            if tensors.contains_key(&claim.name) {
                return fail(format!("two tensors are called {}", claim.name));
            }
            tensors.insert(claim.name, tensor);
        }
        require_apart(tensors.iter())?;
        Ok(Self { metadata, tensors })
    }
}

fn metadata<R: Read>(reader: &mut Reader<R>, count: u64) -> Result<BTreeMap<String, Value>, Fault> {
    // A name's length, a type and one byte of value at the least.
    reader.claim(count, 13, "entries")?;
    let mut metadata = BTreeMap::new();
    for _ in 0..count {
        let name = reader.text(MAX_NAME_BYTES)?;
        let kind = reader.u32()?;
        let value = Value::read(reader, kind).map_err(|fault| match fault {
            Fault::Content(detail) => Fault::Content(format!("entry {name:?}: {detail}")),
            other => other,
        })?;
        if metadata.contains_key(&name) {
            return Err(Fault::Content(format!("two entries are called {name:?}")));
        }
        metadata.insert(name, value);
    }
    Ok(metadata)
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64, Fault> {
    match metadata.get("general.alignment") {
        None => Ok(32),
        Some(Value::Number(Number::Whole(value))) => u64::try_from(*value)
            .ok()
            .filter(|value| value.is_power_of_two() && (8..=MAX_ALIGNMENT).contains(value))
            .ok_or_else(|| Fault::Content(format!("an alignment of {value} is impossible"))),
        Some(_) => Err(Fault::Content(
            "general.alignment is not a whole number".to_owned(),
        )),
    }
}

fn claims<R: Read>(reader: &mut Reader<R>, count: u64) -> Result<Vec<Claim>, Fault> {
    // A name's length, the number of dimensions, the type and the offset at the least.
    let count = reader.claim(count, 24, "tensors")?;
    let mut claims = Vec::with_capacity(count);
    for _ in 0..count {
        let name = reader.text(MAX_NAME_BYTES)?;
        let dimensions = reader.u32()?;
        if dimensions > MAX_DIMENSIONS {
            return Err(Fault::Content(format!(
                "tensor {name}: {dimensions} dimensions are claimed, {MAX_DIMENSIONS} are allowed"
            )));
        }
        let dimensions = (0..dimensions)
            .map(|_| reader.u64())
            .collect::<Result<_, _>>()?;
        claims.push(Claim {
            name,
            dimensions,
            kind: reader.u32()?,
            offset: reader.u64()?,
        });
    }
    Ok(claims)
}
