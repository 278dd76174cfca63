//! Tiles: blocks of 16 rows of 64 bytes, and the units that multiply them (Intel AMX).
//!
//! A tile register holds one. Of a right side, pairs or fours of inputs lie side by side in it, as [`Tile`] tells. How matrices
//! are cut into tiles is the matter of [`super::terms`] and [`super::bytes`].

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod none;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) use amx::{Tiles, Units};
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(super) use none::{Tiles, Units};

/// Rows of a tile, and columns of a product of two.
pub(super) const SIDE: usize = 16;
/// Bytes of a tile's row.
pub(super) const ROW_BYTES: usize = 64;
/// 16-bit floats of a tile's row.
pub(super) const HALVES: usize = ROW_BYTES / 2;

/// A tile of 16-bit floats (bf16). Of a left side: 32 inputs of 16 rows. Of a right side: for 16 pairs of inputs, the pair of
/// each of 16 columns.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Tile(pub(super) [[u16; HALVES]; SIDE]);

impl Tile {
    pub(super) const ZERO: Self = Self([[0; HALVES]; SIDE]);
}

/// A product of two tiles: 16 rows of 16 columns.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Product<T>(pub(super) [[T; SIDE]; SIDE]);
