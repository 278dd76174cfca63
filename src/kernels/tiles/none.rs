//! Where there are no tile units.

use super::{Product, Tile};

/// There is none to be had.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernels) enum Tiles {}

/// There is none either.
pub(in crate::kernels) enum Units {}

impl Tiles {
    pub(in crate::kernels) fn detect() -> Option<Self> {
        None
    }

    pub(in crate::kernels) fn with<R>(self, _: impl FnOnce(&mut Units) -> R) -> R {
        match self {}
    }
}

impl Units {
    pub(in crate::kernels) fn multiply(
        &mut self,
        _: [&[Tile]; 2],
        _: &[Tile],
        _: &[Tile],
    ) -> &[Product<f32>; 4] {
        match *self {}
    }

    pub(in crate::kernels) fn multiply_split(
        &mut self,
        _: [&[Tile]; 2],
        _: &[Tile],
        _: &[Tile],
    ) -> &[Product<f32>; 4] {
        match *self {}
    }

    pub(in crate::kernels) fn multiply_bytes(
        &mut self,
        _: usize,
        _: [&[u8]; 2],
        _: usize,
        _: &[i8],
    ) -> &[Product<i32>; 6] {
        match *self {}
    }
}
