//! The table of tensors: types, shapes and places, checked against the file's length.

use super::reader::Fault;

/// The most dimensions that the format allows.
pub(super) const MAX_DIMENSIONS: u32 = 4;

/// How a tensor's elements are stored: in blocks that share scales, or one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GgufType {
    id: u32,
    name: &'static str,
    block: u32,
    bytes: u32,
}

impl GgufType {
    pub(super) fn from_id(id: u32) -> Option<Self> {
        TYPES.iter().copied().find(|known| known.id == id)
    }

    /// The type's number in files.
    pub fn id(self) -> u32 {
        self.id
    }

    /// The type's usual name, such as "Q4_K".
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Elements of one block.
    pub fn block_elements(self) -> usize {
        self.block as usize
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> usize {
        self.bytes as usize
    }
}

const fn kind(id: u32, name: &'static str, block: u32, bytes: u32) -> GgufType {
    GgufType {
        id,
        name,
        block,
        bytes,
    }
}

const TYPES: [GgufType; 33] = [
    kind(0, "F32", 1, 4),
    kind(1, "F16", 1, 2),
    kind(2, "Q4_0", 32, 18),
    kind(3, "Q4_1", 32, 20),
    kind(6, "Q5_0", 32, 22),
    kind(7, "Q5_1", 32, 24),
    kind(8, "Q8_0", 32, 34),
    kind(9, "Q8_1", 32, 36),
    kind(10, "Q2_K", 256, 84),
    kind(11, "Q3_K", 256, 110),
    kind(12, "Q4_K", 256, 144),
    kind(13, "Q5_K", 256, 176),
    kind(14, "Q6_K", 256, 210),
    kind(15, "Q8_K", 256, 292),
    kind(16, "IQ2_XXS", 256, 66),
    kind(17, "IQ2_XS", 256, 74),
    kind(18, "IQ3_XXS", 256, 98),
    kind(19, "IQ1_S", 256, 50),
    kind(20, "IQ4_NL", 32, 18),
    kind(21, "IQ3_S", 256, 110),
    kind(22, "IQ2_S", 256, 82),
    kind(23, "IQ4_XS", 256, 136),
    kind(24, "I8", 1, 1),
    kind(25, "I16", 1, 2),
    kind(26, "I32", 1, 4),
    kind(27, "I64", 1, 8),
    kind(28, "F64", 1, 8),
    kind(29, "IQ1_M", 256, 56),
    kind(30, "BF16", 1, 2),
    kind(34, "TQ1_0", 256, 54),
    kind(35, "TQ2_0", 256, 66),
    kind(39, "MXFP4", 32, 17),
    kind(40, "NVFP4", 64, 36),
];

/// One tensor of a GGUF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufTensor {
    pub(super) kind: GgufType,
    pub(super) shape: Vec<usize>,
    pub(super) begin: u64,
    pub(super) bytes: u64,
}

impl GgufTensor {
    /// Checks what the table says of one tensor. `dimensions` are in the file's order, the innermost
    /// first; `data` is where the tensors' part of the file begins and `length` the file's length.
    pub(super) fn new(
        dimensions: &[u64],
        kind: u32,
        offset: u64,
        alignment: u64,
        data: u64,
        length: u64,
    ) -> Result<Self, String> {
        let kind = GgufType::from_id(kind)
            .ok_or_else(|| format!("{kind} is not the number of an element type"))?;
        let columns = dimensions.first().copied().unwrap_or(1);
        if columns % u64::from(kind.block) != 0 {
            return Err(format!(
                "rows of {columns} elements do not divide into blocks of {}",
                kind.block
            ));
        }
        let elements = dimensions
            .iter()
            .try_fold(1_u64, |product, side| product.checked_mul(*side))
            .filter(|elements| *elements > 0)
            .ok_or_else(|| format!("a shape of {dimensions:?} is impossible"))?;
        let bytes = (elements / u64::from(kind.block))
            .checked_mul(kind.bytes.into())
            .ok_or_else(|| format!("a shape of {dimensions:?} is impossible"))?;
        if !offset.is_multiple_of(alignment) {
            return Err(format!("offset {offset} is not a multiple of {alignment}"));
        }
        let begin = data.checked_add(offset);
        let end = begin.and_then(|begin| begin.checked_add(bytes));
        let (Some(begin), Some(true)) = (begin, end.map(|end| end <= length)) else {
            return Err(format!(
                "{bytes} bytes at offset {offset} reach beyond the file's end"
            ));
        };
        let shape = dimensions
            .iter()
            .rev()
            .map(|side| usize::try_from(*side).map_err(|_| "its shape is too large".to_owned()))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            kind,
            shape,
            begin,
            bytes,
        })
    }

    /// How its elements are stored.
    pub fn kind(&self) -> GgufType {
        self.kind
    }

    /// Its shape, the innermost dimension last: a linear layer's weight is [outputs, inputs].
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Where it begins, in bytes from the file's beginning.
    pub fn offset(&self) -> u64 {
        self.begin
    }

    /// How many bytes it takes in the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Fails where two tensors share bytes.
pub(super) fn require_apart<'a>(
    tensors: impl Iterator<Item = (&'a String, &'a GgufTensor)>,
) -> Result<(), Fault> {
    let mut all: Vec<_> = tensors.collect();
    all.sort_by_key(|(_, tensor)| tensor.begin);
    let overlap = all
        .array_windows()
        .find(|[(_, first), (_, second)]| first.begin + first.bytes > second.begin);
    match overlap {
        Some([(first, _), (second, _)]) => Err(Fault::Content(format!(
            "the tensors {first} and {second} overlap"
        ))),
        None => Ok(()),
    }
}
