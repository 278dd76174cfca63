//! The right to use AVX-512's instructions for bytes (VNNI), which [`pulp`] does not have.

use super::Cpu;

/// `f32` of a register.
const LANES: usize = 16;

/// Shows that this machine has AVX-512 with VNNI, bytes, double words and shorter registers: nothing else makes one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vnni(());

impl Vnni {
    /// `None` where the machine has it not, or `cpu` is of a narrower instruction set.
    pub(super) fn of(cpu: Cpu) -> Option<Self> {
        let wide = cpu.lanes() == LANES;
        let has = wide
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        has.then_some(Self(()))
    }
}
