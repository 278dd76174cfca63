//! Attention of many queries to many keys.

use candle_core::{D, Result, Tensor, bail};

use super::ops;
use crate::kernels::{Cpu, Heads};

/// What is as good as minus infinity to a score.
const HIDDEN: f32 = -1e30;

/// What is added to attention scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttentionBias {
    None,
    /// A query sees its own place and those before.
    Causal,
}

/// `softmax(scale · q · kᵀ + bias) · v` for each head. Shapes: `q` is `[heads, queries, width]`, `k` and
/// `v` are `[heads, keys, width]`, and so is the result, with as many rows as `q`. It is fresh.
pub(crate) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    scale: f32,
    bias: AttentionBias,
) -> Result<Tensor> {
    let (heads, queries, width) = q.dims3()?;
    let (_, keys, _) = k.dims3()?;
    if k.dims3()? != (heads, keys, width) || v.dims3()? != (heads, keys, width) {
        bail!(
            "{:?}, {:?} and {:?} do not fit",
            q.shape(),
            k.shape(),
            v.shape()
        );
    }
    if !q.device().is_cpu() {
        return elsewhere(q, k, v, scale, bias);
    }
    let task = Heads {
        queries,
        keys,
        width,
        scale,
        causal: bias == AttentionBias::Causal,
    };
    let mut made = vec![0.0; heads * queries * width];
    ops::values(q, |q| {
        ops::values(k, |k| {
            ops::values(v, |v| {
                task.attend(Cpu::detect(), q, k, v, &mut made);
                Ok(())
            })
        })
    })?;
    Tensor::from_vec(made, (heads, queries, width), q.device())
}

/// On another device, by candle.
fn elsewhere(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    scale: f32,
    bias: AttentionBias,
) -> Result<Tensor> {
    let mut scores = (q.matmul(&k.t()?)? * f64::from(scale))?;
    if bias == AttentionBias::Causal {
        let (queries, keys) = (q.dim(1)?, k.dim(1)?);
        let hidden = |row: usize| (0..keys).map(move |key| if key > row { HIDDEN } else { 0.0 });
        let hidden: Vec<f32> = (0..queries).flat_map(hidden).collect();
        scores = scores.broadcast_add(&Tensor::from_vec(hidden, (queries, keys), q.device())?)?;
    }
    candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(v)
}
