//! Norms whose scale and shift come from the conditions, and sums behind a gate.

use candle_core::{D, Result, Tensor};

use crate::kernels::{self, Activation, Cpu};
use crate::models::ModelError;
use crate::models::tensors::{Linear, Weights, add, fresh_copy, in_rows, values};

/// What the norms add to the variance.
const EPSILON: f32 = 1e-6;

/// A linear layer from the conditions to several vectors of the stream's width.
#[derive(Debug)]
pub(super) struct Modulation<const N: usize> {
    linear: Linear,
    width: usize,
}

impl<const N: usize> Modulation<N> {
    pub(super) fn new(
        weights: &Weights<'_>,
        width: usize,
    ) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            linear: Linear::new(&weights.under("linear"), width, N * width, true)?,
            width,
        })
    }

    /// The vectors, `[width]` each, of conditions `[1, width]`.
    pub(super) fn forward(&self, conditions: &Tensor) -> Result<[Tensor; N]> {
        let all = self.linear.forward(conditions)?.flatten_all()?;
        let mut parts = Vec::with_capacity(N);
        for number in 0..N {
            parts.push(all.narrow(0, number * self.width, self.width)?);
        }
        parts
            .try_into()
            .map_err(|_| candle_core::Error::Msg("other parts than asked for".to_owned()))
    }
}

/// `norm(x) · (1 + scale) + shift` for each row of `x`, without weights of the norm's own. The result is
/// fresh.
pub(super) fn normalise(x: &Tensor, shift: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let weight = (scale + 1.0)?;
    if !x.device().is_cpu() {
        return candle_nn::ops::layer_norm(
            &x.contiguous()?,
            &weight,
            &shift.contiguous()?,
            EPSILON,
        );
    }
    let width = x.dim(D::Minus1)?;
    let fresh = fresh_copy(x)?;
    let cpu = Cpu::detect();
    values(&weight, |weight| {
        values(shift, |shift| {
            in_rows(fresh, width, |_, row| {
                kernels::norm(cpu, row, weight, shift, EPSILON, false);
            })
        })
    })
}

/// `sum + gate · branch` for each row; both tensors are fresh, and so is the result.
pub(super) fn add_gated(sum: Tensor, gate: &Tensor, branch: Tensor) -> Result<Tensor> {
    if !sum.device().is_cpu() {
        return sum + branch.broadcast_mul(gate)?;
    }
    let width = branch.dim(D::Minus1)?;
    let cpu = Cpu::detect();
    let branch = values(gate, |gate| {
        in_rows(branch, width, |_, row| {
            kernels::gate_by(cpu, Activation::Identity, row, gate);
        })
    })?;
    add(sum, &branch)
}
