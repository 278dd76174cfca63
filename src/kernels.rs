//! The models' kernels: safe Rust over run-time chosen vector instructions.
//!
//! Most kernels are written once against [`pulp::Simd`] and compiled for each instruction set that the crate knows; [`Cpu`]
//! picks the best one that this machine has. The build needs no `target-cpu` flag. What [`pulp`] does not have is `unsafe`
//! here, with its reason beside it: the calls of functions for AVX-512's products of bytes and of bf16, and the
//! instructions of tile units.

mod attention;
mod bytes;
mod convolution;
mod cores;
mod dense;
mod depthwise;
mod elementwise;
mod floats;
mod fused;
mod gemm;
mod ggml;
mod group_norm;
mod halves;
mod heads;
mod linear;
mod matrix;
mod pages;
mod piece;
mod quantised;
mod rows;
mod team;
mod terms;
mod tiles;
#[cfg(target_arch = "x86_64")]
mod vnni;

pub(crate) use attention::{
    Factors, Product, Rescale, multiply, narrow, rescale, widen, widen_one,
};
pub(crate) use bytes::{ByteMatrix, ByteRows};
pub(crate) use convolution::Convolution;
pub(crate) use cores::{Core, allowed as allowed_cores};
pub(crate) use dense::Dense;
pub(crate) use depthwise::{Depthwise, depthwise};
pub(crate) use elementwise::{
    Activation, activate, add, add_scaled, error_function, gate, norm, rope, softmax,
};
pub(crate) use fused::{gate_by, rms_norm, soft_cap};
pub(crate) use gemm::{
    Packed, gemm, gemm_onto, pack_columns, pack_row, pack_transposed, packed_len, panel_width,
};
pub(crate) use ggml::GgmlType;
pub(crate) use group_norm::GroupNorm;
pub(crate) use heads::Heads;
pub(crate) use linear::{LinearScratch, linear};
pub(crate) use matrix::{Matrix, MatrixError};
pub(crate) use pages::prefer_large_pages;
pub(crate) use team::Team;
pub(crate) use terms::{TermMatrix, TermRows, Terms};

use pulp::{Arch, Simd, WithSimd};
use tiles::Tiles;

/// The instruction set in use and the number of `f32` that one of its registers holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cpu {
    arch: Arch,
    lanes: usize,
    tiles: Option<Tiles>,
}

impl Cpu {
    /// Looks at the processor.
    pub(crate) fn detect() -> Self {
        Self {
            tiles: Tiles::detect(),
            ..Self::of(Arch::new())
        }
    }

    /// Whether it multiplies 16-bit floats much faster than 32-bit ones.
    pub(crate) fn has_tiles(self) -> bool {
        self.tiles.is_some()
    }

    /// One for each instruction set of this machine for which kernels exist, with its name.
    #[cfg(feature = "testing")]
    pub(crate) fn all() -> Vec<(&'static str, Self)> {
        let mut sets = vec![("portable", Arch::Scalar)];
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = pulp::x86::V3::try_new() {
            sets.push(("avx2", Arch::V3(avx2)));
        }
        sets.push(("best", Arch::new()));
        let of = |(name, arch): (&'static str, Arch)| (name, Self::of(arch));
        let mut sets: Vec<_> = sets.into_iter().map(of).collect();
        if Tiles::detect().is_some() {
            sets.push(("tiles", Self::detect()));
        }
        sets
    }

    fn of(arch: Arch) -> Self {
        let lanes = arch.dispatch(Lanes);
        Self {
            arch,
            lanes,
            tiles: None,
        }
    }

    /// How many `f32` one register holds.
    pub(crate) fn lanes(self) -> usize {
        self.lanes
    }

    /// AVX2 and FMA, where the instruction set in use has them.
    #[cfg(target_arch = "x86_64")]
    fn avx2(self) -> Option<pulp::x86::V3> {
        match self.arch {
            Arch::V3(simd) => Some(simd),
            Arch::V4(simd) => Some(*simd),
            _ => None,
        }
    }

    fn run<Op: WithSimd>(self, op: Op) -> Op::Output {
        self.arch.dispatch(op)
    }
}

struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> usize {
        S::F32_LANES
    }
}
