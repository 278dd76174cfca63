//! Which layouts there are, and which one a file's type takes.

use crate::kernels::GgmlType;
use crate::kernels::piece::{Levels, PIECE};

use super::strip::STRIP;

/// How the codes of a block of 32 columns by eight rows are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codes {
    /// Four bits: the first four steps in the low halves of 128 bytes, the others in the high.
    Four,
    /// [`Codes::Four`], and 32 bytes whose bit `s` is the fifth bit in step `s`.
    Five,
    /// [`Codes::Four`], and twice 32 bytes with two more bits for each of four steps.
    Six,
    /// A byte each.
    Eight,
}

impl Codes {
    /// Bytes of a block.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Four => 128,
            Self::Five => 160,
            Self::Six => 192,
            Self::Eight => 256,
        }
    }
}

/// How scales are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scales {
    /// A 16-bit scale a block.
    Plain,
    /// A 16-bit scale and a 16-bit minimum a block.
    Minimum,
    /// A byte a block, times a 16-bit scale for eight blocks.
    Steps,
    /// A byte for each half of a block, times a 16-bit scale for eight blocks.
    HalfSteps,
    /// As [`Scales::Steps`], for scales and minimums.
    MinimumSteps,
    /// As [`Scales::HalfSteps`], for scales and minimums.
    MinimumHalfSteps,
}

impl Scales {
    /// Blocks that share a 16-bit scale.
    pub(crate) const fn shared_by(self) -> usize {
        match self {
            Self::Plain | Self::Minimum => 1,
            _ => 8,
        }
    }

    /// How many parts of a block have a scale of their own.
    pub(crate) const fn parts(self) -> usize {
        match self {
            Self::HalfSteps | Self::MinimumHalfSteps => 2,
            _ => 1,
        }
    }

    /// Whether there are minimums.
    pub(crate) const fn minimums(self) -> bool {
        matches!(
            self,
            Self::Minimum | Self::MinimumSteps | Self::MinimumHalfSteps
        )
    }

    /// Bytes of the steps of one block, for eight rows: scales by parts, then minimums by parts.
    pub(crate) const fn step_bytes(self) -> usize {
        match self.shared_by() {
            1 => 0,
            _ => self.columns() * STRIP,
        }
    }

    /// Bytes of the 16-bit scales that are shared, for eight rows: scales, then minimums.
    pub(crate) const fn shared_bytes(self) -> usize {
        let kinds = if self.minimums() { 2 } else { 1 };
        kinds * 2 * STRIP
    }

    /// Scales and minimums of a row's block.
    const fn columns(self) -> usize {
        let kinds = if self.minimums() { 2 } else { 1 };
        kinds * self.parts()
    }
}

/// The layout of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) codes: Codes,
    pub(crate) scales: Scales,
    pub(crate) levels: Levels,
}

impl Form {
    /// The layout for tensors of `kind`; `None` if there is none.
    pub(crate) fn of(kind: GgmlType) -> Option<Self> {
        let (codes, scales) = match kind {
            GgmlType::Q4_0 | GgmlType::Iq4Nl => (Codes::Four, Scales::Plain),
            GgmlType::Q4_1 => (Codes::Four, Scales::Minimum),
            GgmlType::Q5_0 => (Codes::Five, Scales::Plain),
            GgmlType::Q5_1 => (Codes::Five, Scales::Minimum),
            GgmlType::Q8_0 => (Codes::Eight, Scales::Plain),
            // Two and three bits are widened to four: more memory, the same values.
            GgmlType::Q2K => (Codes::Four, Scales::MinimumHalfSteps),
            GgmlType::Q3K => (Codes::Four, Scales::HalfSteps),
            GgmlType::Q4K => (Codes::Four, Scales::MinimumSteps),
            GgmlType::Q5K => (Codes::Five, Scales::MinimumSteps),
            GgmlType::Q6K => (Codes::Six, Scales::HalfSteps),
            GgmlType::Iq4Xs => (Codes::Four, Scales::Steps),
            _ => return None,
        };
        let levels = Levels::of(kind)?;
        Some(Self {
            codes,
            scales,
            levels,
        })
    }

    /// Bytes of a strip of rows of `blocks` times 32 columns, in whole registers.
    pub(crate) fn strip_bytes(self, blocks: usize) -> usize {
        let shared = blocks.div_ceil(self.scales.shared_by()) * self.scales.shared_bytes();
        let block = self.codes.bytes() + self.scales.step_bytes();
        (blocks * block + shared).next_multiple_of(32)
    }

    /// Bytes of a matrix; `None` if the number would not fit.
    pub(crate) fn matrix_bytes(self, rows: usize, columns: usize) -> Option<usize> {
        // No layout takes more than 64 bytes for a row's 32 columns.
        columns.checked_mul(2 * STRIP)?;
        let strip = self.strip_bytes(columns / PIECE);
        strip.checked_mul(rows.div_ceil(STRIP))
    }
}
