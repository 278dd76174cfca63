//! What a decoder does between its matrix products, in one pass each.

use pulp::{Simd, WithSimd};

use super::Cpu;
use super::elementwise::{Activation, tanh};

/// Root-mean-square norm (Zhang and Sennrich 2019) of every row of `x` into `out`, rows as long as
/// `weight`.
pub(crate) fn rms_norm(cpu: Cpu, x: &[f32], out: &mut [f32], weight: &[f32], epsilon: f32) {
    cpu.run(RmsNorm {
        x,
        out,
        weight,
        epsilon,
    });
}

struct RmsNorm<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
    weight: &'a [f32],
    epsilon: f32,
}

impl WithSimd for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = self.weight.len();
        if width == 0 {
            return;
        }
        let (weight, weight_tail) = S::as_simd_f32s(self.weight);
        let rows = self.x.chunks_exact(width);
        for (row, out) in rows.zip(self.out.chunks_exact_mut(width)) {
            let (x, x_tail) = S::as_simd_f32s(row);
            let (out, out_tail) = S::as_mut_simd_f32s(out);
            let mut squares = simd.splat_f32s(0.0);
            for value in x {
                squares = simd.mul_add_e_f32s(*value, *value, squares);
            }
            let last = simd.partial_load_f32s(x_tail);
            squares = simd.mul_add_e_f32s(last, last, squares);
            let mean = simd.reduce_sum_f32s(squares) / width as f32;
            let scale = simd.splat_f32s(1.0 / (mean + self.epsilon).sqrt());
            for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                let unit = simd.mul_f32s(*x, scale);
                *out = simd.mul_f32s(unit, *weight);
            }
            let weight = simd.partial_load_f32s(weight_tail);
            let unit = simd.mul_f32s(last, scale);
            simd.partial_store_f32s(out_tail, simd.mul_f32s(unit, weight));
        }
    }
}

/// `gate = activation(gate) · up`, the middle of SwiGLU and GeGLU.
pub(crate) fn gate_by(cpu: Cpu, activation: Activation, gate: &mut [f32], up: &[f32]) {
    cpu.run(GateBy {
        activation,
        gate,
        up,
    });
}

struct GateBy<'a> {
    activation: Activation,
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl WithSimd for GateBy<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (gate, gate_tail) = S::as_mut_simd_f32s(self.gate);
        let (up, up_tail) = S::as_simd_f32s(self.up);
        for (gate, up) in gate.iter_mut().zip(up) {
            *gate = simd.mul_f32s(self.activation.apply(simd, *gate), *up);
        }
        let last = self
            .activation
            .apply(simd, simd.partial_load_f32s(gate_tail));
        let last = simd.mul_f32s(last, simd.partial_load_f32s(up_tail));
        simd.partial_store_f32s(gate_tail, last);
    }
}

/// `x = cap · tanh(scale · x / cap)`: what keeps Gemma 2's scores and logits in bounds.
pub(crate) fn soft_cap(cpu: Cpu, x: &mut [f32], scale: f32, cap: f32) {
    cpu.run(SoftCap { x, scale, cap });
}

struct SoftCap<'a> {
    x: &'a mut [f32],
    scale: f32,
    cap: f32,
}

impl WithSimd for SoftCap<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let scale = simd.splat_f32s(self.scale / self.cap);
        let cap = simd.splat_f32s(self.cap);
        let bound = |x| simd.mul_f32s(cap, tanh(simd, simd.mul_f32s(x, scale)));
        let (x, tail) = S::as_mut_simd_f32s(self.x);
        for value in x {
            *value = bound(*value);
        }
        let last = bound(simd.partial_load_f32s(tail));
        simd.partial_store_f32s(tail, last);
    }
}
