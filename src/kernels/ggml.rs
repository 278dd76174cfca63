//! The number formats that tensors of GGUF files come in.

use std::fmt;

/// A ggml tensor type: the format of its values, by blocks of a row's neighbouring columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum GgmlType {
    F32,
    F16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q8_1,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Q8K,
    Iq2Xxs,
    Iq2Xs,
    Iq3Xxs,
    Iq1S,
    Iq4Nl,
    Iq3S,
    Iq2S,
    Iq4Xs,
    I8,
    I16,
    I32,
    I64,
    F64,
    Iq1M,
    Bf16,
    Tq1_0,
    Tq2_0,
    Mxfp4,
}

/// What is known of one type.
struct Entry {
    kind: GgmlType,
    name: &'static str,
    id: u32,
    block_columns: usize,
    block_bytes: usize,
}

const fn entry(
    kind: GgmlType,
    name: &'static str,
    id: u32,
    block_columns: usize,
    block_bytes: usize,
) -> Entry {
    Entry {
        kind,
        name,
        id,
        block_columns,
        block_bytes,
    }
}

/// Every type with its number in files, columns of a block and bytes of a block.
const TYPES: [Entry; 32] = [
    entry(GgmlType::F32, "F32", 0, 1, 4),
    entry(GgmlType::F16, "F16", 1, 1, 2),
    entry(GgmlType::Q4_0, "Q4_0", 2, 32, 18),
    entry(GgmlType::Q4_1, "Q4_1", 3, 32, 20),
    entry(GgmlType::Q5_0, "Q5_0", 6, 32, 22),
    entry(GgmlType::Q5_1, "Q5_1", 7, 32, 24),
    entry(GgmlType::Q8_0, "Q8_0", 8, 32, 34),
    entry(GgmlType::Q8_1, "Q8_1", 9, 32, 36),
    entry(GgmlType::Q2K, "Q2_K", 10, 256, 84),
    entry(GgmlType::Q3K, "Q3_K", 11, 256, 110),
    entry(GgmlType::Q4K, "Q4_K", 12, 256, 144),
    entry(GgmlType::Q5K, "Q5_K", 13, 256, 176),
    entry(GgmlType::Q6K, "Q6_K", 14, 256, 210),
    entry(GgmlType::Q8K, "Q8_K", 15, 256, 292),
    entry(GgmlType::Iq2Xxs, "IQ2_XXS", 16, 256, 66),
    entry(GgmlType::Iq2Xs, "IQ2_XS", 17, 256, 74),
    entry(GgmlType::Iq3Xxs, "IQ3_XXS", 18, 256, 98),
    entry(GgmlType::Iq1S, "IQ1_S", 19, 256, 50),
    entry(GgmlType::Iq4Nl, "IQ4_NL", 20, 32, 18),
    entry(GgmlType::Iq3S, "IQ3_S", 21, 256, 110),
    entry(GgmlType::Iq2S, "IQ2_S", 22, 256, 82),
    entry(GgmlType::Iq4Xs, "IQ4_XS", 23, 256, 136),
    entry(GgmlType::I8, "I8", 24, 1, 1),
    entry(GgmlType::I16, "I16", 25, 1, 2),
    entry(GgmlType::I32, "I32", 26, 1, 4),
    entry(GgmlType::I64, "I64", 27, 1, 8),
    entry(GgmlType::F64, "F64", 28, 1, 8),
    entry(GgmlType::Iq1M, "IQ1_M", 29, 256, 56),
    entry(GgmlType::Bf16, "BF16", 30, 1, 2),
    entry(GgmlType::Tq1_0, "TQ1_0", 34, 256, 54),
    entry(GgmlType::Tq2_0, "TQ2_0", 35, 256, 66),
    entry(GgmlType::Mxfp4, "MXFP4", 39, 32, 17),
];

impl GgmlType {
    /// The type with this number in a file's tensor table, if it is known.
    pub(crate) fn from_id(id: u32) -> Option<Self> {
        TYPES
            .iter()
            .find(|entry| entry.id == id)
            .map(|entry| entry.kind)
    }

    /// How many neighbouring columns of a row make one block.
    pub(crate) fn block_columns(self) -> usize {
        self.entry().block_columns
    }

    /// How many bytes one block takes.
    pub(crate) fn block_bytes(self) -> usize {
        self.entry().block_bytes
    }

    /// How many bytes a row of `columns` takes; `None` unless these are whole blocks, or if the
    /// number would not fit.
    pub(crate) fn row_bytes(self, columns: usize) -> Option<usize> {
        let whole = columns.is_multiple_of(self.block_columns());
        let blocks = whole.then_some(columns / self.block_columns())?;
        blocks.checked_mul(self.block_bytes())
    }

    fn entry(self) -> &'static Entry {
        let found = TYPES.iter().find(|entry| entry.kind == self);
        found.unwrap_or(&TYPES[0])
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.entry().name)
    }
}
