//! 32 neighbouring columns of a quantised row, taken out of the file's blocks.
//!
//! The block formats differ in how they pack bits, not in what they mean: each value is a small
//! whole number times a scale, less a minimum. A [`Piece`] holds just that, whatever the type.

use half::f16;

use super::GgmlType;

/// Columns of a piece.
pub(crate) const PIECE: usize = 32;
/// Words of four codes in a piece.
pub(crate) const WORDS: usize = PIECE / 4;

/// The values that the codes of the IQ4 types stand for.
pub(crate) const IQ4_VALUES: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// 32 columns of one row. Column `c` of half `h` has the value
/// `scale · scales[h] · levels[c] − minimum · minimums[h]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    /// The codes as the format stores them, before its offset or table, and signed ones raised by
    /// 128: a byte each, four to a word, the first in its lowest byte.
    pub(crate) codes: [u32; WORDS],
    /// The block's scale.
    pub(crate) scale: f16,
    /// What the block's minimums are multiples of.
    pub(crate) minimum: f16,
    /// The scale's factor for each half of the columns.
    pub(crate) scales: [i8; 2],
    /// The minimum's factor for each half of the columns.
    pub(crate) minimums: [i8; 2],
}

/// How a code becomes a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Levels {
    /// The code less this.
    Offset(u8),
    /// The code is a place in [`IQ4_VALUES`].
    Iq4,
}

impl Levels {
    /// How codes of `kind` are to be read; `None` if there are no pieces of it.
    pub(crate) fn of(kind: GgmlType) -> Option<Self> {
        Some(match kind {
            GgmlType::Q4_1 | GgmlType::Q5_1 | GgmlType::Q2K | GgmlType::Q4K | GgmlType::Q5K => {
                Self::Offset(0)
            }
            GgmlType::Q3K => Self::Offset(4),
            GgmlType::Q4_0 => Self::Offset(8),
            GgmlType::Q5_0 => Self::Offset(16),
            GgmlType::Q6K => Self::Offset(32),
            GgmlType::Q8_0 => Self::Offset(128),
            GgmlType::Iq4Nl | GgmlType::Iq4Xs => Self::Iq4,
            _ => return None,
        })
    }

    /// The level that `code` stands for.
    #[inline]
    pub(crate) fn level(self, code: u8) -> i32 {
        match self {
            Self::Offset(offset) => i32::from(code) - i32::from(offset),
            Self::Iq4 => i32::from(IQ4_VALUES[usize::from(code & 15)]),
        }
    }
}

impl Piece {
    /// The piece at columns `32 · index ..` of a row of whole blocks; `None` if the type has no
    /// pieces or the row ends before.
    #[inline(always)]
    pub(crate) fn read(kind: GgmlType, row: &[u8], index: usize) -> Option<Self> {
        let in_block = kind.block_columns() / PIECE;
        let block = index.checked_div(in_block)?;
        let part = index % in_block;
        let size = kind.block_bytes();
        let bytes = row.get(block * size..(block + 1) * size)?;
        Some(match kind {
            GgmlType::Q4_0 | GgmlType::Iq4Nl => Self::plain(bytes, nibbles(&bytes[2..])),
            GgmlType::Q8_0 => Self::plain(bytes, raised(words(&bytes[2..]))),
            GgmlType::Q5_0 => Self::plain(bytes, fives(&bytes[2..6], &bytes[6..])),
            GgmlType::Q4_1 => Self::with_minimum(bytes, nibbles(&bytes[4..])),
            GgmlType::Q5_1 => Self::with_minimum(bytes, fives(&bytes[4..8], &bytes[8..])),
            GgmlType::Q2K => q2_k(bytes, part),
            GgmlType::Q3K => q3_k(bytes, part),
            GgmlType::Q4K => q4_k(bytes, part),
            GgmlType::Q5K => q5_k(bytes, part),
            GgmlType::Q6K => q6_k(bytes, part),
            GgmlType::Iq4Xs => iq4_xs(bytes, part),
            _ => return None,
        })
    }

    /// A block that begins with its scale.
    #[inline(always)]
    fn plain(bytes: &[u8], codes: [u32; WORDS]) -> Self {
        Self {
            codes,
            scale: half_at(bytes, 0),
            minimum: f16::ZERO,
            scales: [1; 2],
            minimums: [0; 2],
        }
    }

    /// A block that begins with its scale and what is to be added.
    #[inline(always)]
    fn with_minimum(bytes: &[u8], codes: [u32; WORDS]) -> Self {
        Self {
            minimum: half_at(bytes, 2),
            minimums: [-1; 2],
            ..Self::plain(bytes, codes)
        }
    }
}

#[inline(always)]
fn half_at(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Bytes by fours.
#[inline(always)]
fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let (fours, _) = bytes.as_chunks::<4>();
    std::array::from_fn(|word| u32::from_le_bytes(fours[word]))
}

/// Signed bytes, as unsigned ones that are 128 higher.
#[inline(always)]
fn raised(codes: [u32; WORDS]) -> [u32; WORDS] {
    codes.map(|word| word ^ 0x8080_8080)
}

/// The lowest `count` bits of each byte of a word.
#[inline(always)]
fn low_bits(word: u32, count: u32) -> u32 {
    word & (0x0101_0101 * ((1 << count) - 1))
}

/// 16 bytes: the low halves are the first 16 codes, the high halves the last.
#[inline(always)]
fn nibbles(bytes: &[u8]) -> [u32; WORDS] {
    let bytes: [u32; WORDS / 2] = words(bytes);
    std::array::from_fn(|word| low_bits(bytes[word % 4] >> (word / 4 * 4), 4))
}

/// As [`nibbles`], with the codes' fifth bits in four bytes before.
#[inline(always)]
fn fives(high: &[u8], low: &[u8]) -> [u32; WORDS] {
    let [high] = words(high);
    let low = nibbles(low);
    std::array::from_fn(|word| {
        // Spreads four neighbouring bits over four bytes.
        let four = (high >> (4 * word)) & 15;
        low[word] | low_bits(four * 0x0020_4081, 1) << 4
    })
}

/// 16 bytes of 4-bit scales and minimums, 64 bytes of 2-bit codes, scale, minimum.
#[inline(always)]
fn q2_k(bytes: &[u8], part: usize) -> Piece {
    let codes: [u32; WORDS] = words(&bytes[16 + part / 4 * 32..]);
    let steps = [bytes[2 * part], bytes[2 * part + 1]];
    Piece {
        codes: codes.map(|word| low_bits(word >> (part % 4 * 2), 2)),
        scale: half_at(bytes, 80),
        minimum: half_at(bytes, 82),
        scales: steps.map(|step| (step & 15).cast_signed()),
        minimums: steps.map(|step| (step >> 4).cast_signed()),
    }
}

/// 32 bytes of the codes' third bits, 64 of their lower two, 12 of 6-bit scales, scale.
#[inline(always)]
fn q3_k(bytes: &[u8], part: usize) -> Piece {
    let high: [u32; WORDS] = words(bytes);
    let low: [u32; WORDS] = words(&bytes[32 + part / 4 * 32..]);
    let steps = &bytes[96..108];
    let step = |half: usize| {
        let index = 2 * part + half;
        let low = (steps[index % 8] >> (index / 8 * 4)) & 15;
        let high = (steps[8 + index % 4] >> (index / 4 * 2)) & 3;
        (low | high << 4).cast_signed() - 32
    };
    Piece {
        codes: std::array::from_fn(|word| {
            let low = low_bits(low[word] >> (part % 4 * 2), 2);
            low | low_bits(high[word] >> part, 1) << 2
        }),
        scale: half_at(bytes, 108),
        minimum: f16::ZERO,
        scales: [step(0), step(1)],
        minimums: [0; 2],
    }
}

/// Scale, minimum, 12 bytes of 6-bit scales and minimums, 128 bytes of 4-bit codes.
#[inline(always)]
fn q4_k(bytes: &[u8], part: usize) -> Piece {
    let codes: [u32; WORDS] = words(&bytes[16 + part / 2 * 32..]);
    let (scale, minimum) = six_bit_steps(&bytes[4..16], part);
    Piece {
        codes: codes.map(|word| low_bits(word >> (part % 2 * 4), 4)),
        scale: half_at(bytes, 0),
        minimum: half_at(bytes, 2),
        scales: [scale; 2],
        minimums: [minimum; 2],
    }
}

/// As [`q4_k`], with 32 bytes of the codes' fifth bits before the others.
#[inline(always)]
fn q5_k(bytes: &[u8], part: usize) -> Piece {
    let high: [u32; WORDS] = words(&bytes[16..]);
    let low: [u32; WORDS] = words(&bytes[48 + part / 2 * 32..]);
    let (scale, minimum) = six_bit_steps(&bytes[4..16], part);
    Piece {
        codes: std::array::from_fn(|word| {
            let low = low_bits(low[word] >> (part % 2 * 4), 4);
            low | low_bits(high[word] >> part, 1) << 4
        }),
        scale: half_at(bytes, 0),
        minimum: half_at(bytes, 2),
        scales: [scale; 2],
        minimums: [minimum; 2],
    }
}

/// The scale and the minimum of one of eight parts: four lie in six bits of their own, of the
/// others the high two bits fill up the first ones' bytes.
#[inline(always)]
fn six_bit_steps(steps: &[u8], part: usize) -> (i8, i8) {
    let (scale, minimum) = if part < 4 {
        (steps[part] & 63, steps[part + 4] & 63)
    } else {
        (
            steps[part + 4] & 15 | (steps[part - 4] >> 6) << 4,
            steps[part + 4] >> 4 | (steps[part] >> 6) << 4,
        )
    };
    (scale.cast_signed(), minimum.cast_signed())
}

/// 128 bytes of the codes' lower four bits, 64 of the upper two, 16 signed scales, scale.
#[inline(always)]
fn q6_k(bytes: &[u8], part: usize) -> Piece {
    let low: [u32; WORDS] = words(&bytes[part / 4 * 64 + part % 2 * 32..]);
    let high: [u32; WORDS] = words(&bytes[128 + part / 4 * 32..]);
    let steps = &bytes[192 + 2 * part..];
    Piece {
        codes: std::array::from_fn(|word| {
            let low = low_bits(low[word] >> (part % 4 / 2 * 4), 4);
            low | low_bits(high[word] >> (part % 4 * 2), 2) << 4
        }),
        scale: half_at(bytes, 208),
        minimum: f16::ZERO,
        scales: [steps[0].cast_signed(), steps[1].cast_signed()],
        minimums: [0; 2],
    }
}

/// Scale, two bytes of the 6-bit scales' high bits, four of their low bits, 128 of codes.
#[inline(always)]
fn iq4_xs(bytes: &[u8], part: usize) -> Piece {
    let high = u16::from_le_bytes([bytes[2], bytes[3]]) >> (2 * part) & 3;
    let low = (bytes[4 + part / 2] >> (part % 2 * 4)) & 15;
    let step = (low | (high as u8) << 4).cast_signed() - 32;
    Piece {
        scales: [step; 2],
        ..Piece::plain(bytes, nibbles(&bytes[8 + part * 16..]))
    }
}
