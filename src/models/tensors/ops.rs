//! Element-wise operations: by this crate's kernels on the CPU, by candle's elsewhere.

use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use crate::kernels::{self, Activation, Cpu};

/// Values that are worth a fork.
const WORTH_A_FORK: usize = 1 << 14;

/// Works on each row of a fresh tensor, in place.
struct Rows<F> {
    width: usize,
    work: F,
}

impl<F: Fn(usize, &mut [f32]) + Sync> InplaceOp1 for Rows<F> {
    fn name(&self) -> &'static str {
        "rows"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let values = values_mut(storage, layout)?;
        let width = self.width.max(1);
        values
            .par_chunks_mut(width)
            .with_min_len((WORTH_A_FORK / width).max(1))
            .enumerate()
            .for_each(|(row, values)| (self.work)(row, values));
        Ok(())
    }
}

/// Adds another tensor of the same shape.
struct Add;

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        storage: &mut CpuStorage,
        layout: &Layout,
        added: &CpuStorage,
        added_layout: &Layout,
    ) -> Result<()> {
        let values = values_mut(storage, layout)?;
        let added = slice(added, added_layout)?;
        let cpu = Cpu::detect();
        values
            .par_chunks_mut(WORTH_A_FORK)
            .zip(added.par_chunks(WORTH_A_FORK))
            .for_each(|(values, added)| kernels::add(cpu, values, added));
        Ok(())
    }
}

fn values_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((from, to))) => Ok(&mut values[from..to]),
        _ => bail!("contiguous f32 values are needed"),
    }
}

fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((from, to))) => Ok(&values[from..to]),
        _ => bail!("contiguous f32 values are needed"),
    }
}

/// Lets `work` see a CPU tensor's values; a tensor that is not contiguous is copied first.
pub(crate) fn values<R>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        candle_core::Storage::Cpu(storage) => work(slice(storage, layout)?),
        _ => bail!("the tensor is not in the CPU's memory"),
    }
}

/// Works on each row of `width` values of a fresh tensor in the CPU's memory. Nobody else may hold the
/// tensor's values.
pub(crate) fn in_rows(
    fresh: Tensor,
    width: usize,
    work: impl Fn(usize, &mut [f32]) + Sync,
) -> Result<Tensor> {
    fresh.inplace_op1(&Rows { width, work })?;
    Ok(fresh)
}

/// A copy whose values nobody else holds.
pub(crate) fn fresh_copy(tensor: &Tensor) -> Result<Tensor> {
    let tensor = tensor.contiguous()?;
    tensor.copy()
}

/// An activation of each value of a fresh tensor.
pub(crate) fn activate(fresh: Tensor, activation: Activation) -> Result<Tensor> {
    if fresh.device().is_cpu() {
        let cpu = Cpu::detect();
        return in_rows(fresh, WORTH_A_FORK, |_, values| {
            kernels::activate(cpu, activation, values);
        });
    }
    match activation {
        Activation::Identity => Ok(fresh),
        Activation::Gelu => fresh.gelu_erf(),
        Activation::GeluTanh => fresh.gelu(),
        Activation::QuickGelu => &fresh * candle_nn::ops::sigmoid(&(&fresh * 1.702)?)?,
        Activation::Relu => fresh.relu(),
        Activation::Relu6 => fresh.clamp(0.0, 6.0),
        Activation::Silu => fresh.silu(),
        Activation::Tanh => fresh.tanh(),
        Activation::Sigmoid => candle_nn::ops::sigmoid(&fresh),
    }
}

/// `fresh + other`, of the same shape.
pub(crate) fn add(fresh: Tensor, other: &Tensor) -> Result<Tensor> {
    if fresh.shape() != other.shape() {
        bail!("{:?} cannot be added to {:?}", other.shape(), fresh.shape());
    }
    if fresh.device().is_cpu() {
        fresh.inplace_op2(&other.contiguous()?, &Add)?;
        return Ok(fresh);
    }
    fresh + other
}

/// In a fresh tensor with rows of `2 · width`: `activation(gate) · value`, of which the gate is the first
/// half of a row, or with `gate_last` the second.
pub(crate) fn gate(
    fresh: Tensor,
    activation: Activation,
    width: usize,
    gate_last: bool,
) -> Result<Tensor> {
    let axis = fresh.dims().len().saturating_sub(1);
    let fresh = if fresh.device().is_cpu() {
        let cpu = Cpu::detect();
        in_rows(fresh, 2 * width, |_, row| {
            if gate_last {
                row.rotate_left(width);
            }
            kernels::gate(cpu, activation, row, width);
        })?
    } else {
        let (first, second) = (
            fresh.narrow(axis, 0, width)?,
            fresh.narrow(axis, width, width)?,
        );
        let (gate, value) = if gate_last {
            (second, first)
        } else {
            (first, second)
        };
        return activate(gate.contiguous()?, activation)? * value;
    };
    fresh.narrow(axis, 0, width)?.contiguous()
}
