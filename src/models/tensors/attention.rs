//! Attention of many queries over many keys.

use candle_core::{D, Result, Tensor};

use super::ops;
use crate::kernels::{self, Cpu};

/// Attention scores that are held at once.
const SCORES: usize = 1 << 22;

/// What is as good as minus infinity to a score.
const HIDDEN: f32 = -1e30;

/// What is added to attention scores.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AttentionBias {
    None,
    /// A query sees its own place and those before.
    Causal,
}

/// `softmax(scale · q · kᵀ + bias) · v` for each head. Shapes: `q` is `[heads, queries, width]`, `k` and
/// `v` are `[heads, keys, width]`, and so is the result, with as many rows as `q`.
pub(crate) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    scale: f32,
    bias: AttentionBias,
) -> Result<Tensor> {
    let (heads, queries, _) = q.dims3()?;
    let (_, keys, _) = k.dims3()?;
    let at_once = (SCORES / keys.max(1)).clamp(1, queries.max(1));
    let mut results = Vec::with_capacity(heads);
    for head in 0..heads {
        let (q, k, v) = (q.get(head)?, k.get(head)?.t()?, v.get(head)?);
        let mut parts = Vec::with_capacity(queries.div_ceil(at_once));
        for first in (0..queries).step_by(at_once) {
            let count = at_once.min(queries - first);
            let scores = q.narrow(0, first, count)?.contiguous()?.matmul(&k)?;
            let bias = match bias {
                AttentionBias::None => None,
                AttentionBias::Causal => Some(causal(first, count, keys, q.device())?),
            };
            let shares = softmax(scores, scale, bias.as_ref())?;
            parts.push(shares.matmul(&v)?);
        }
        results.push(if parts.len() == 1 {
            parts.remove(0)
        } else {
            Tensor::cat(&parts, 0)?
        });
    }
    Tensor::stack(&results, 0)
}

fn causal(first: usize, count: usize, keys: usize, device: &candle_core::Device) -> Result<Tensor> {
    let hidden =
        |row: usize| (0..keys).map(move |key| if key > first + row { HIDDEN } else { 0.0 });
    let values: Vec<f32> = (0..count).flat_map(hidden).collect();
    Tensor::from_vec(values, (count, keys), device)
}

/// Of fresh scores, `[queries, keys]`.
fn softmax(scores: Tensor, scale: f32, bias: Option<&Tensor>) -> Result<Tensor> {
    if !scores.device().is_cpu() {
        let mut scores = (scores * f64::from(scale))?;
        if let Some(bias) = bias {
            scores = scores.broadcast_add(bias)?;
        }
        return candle_nn::ops::softmax(&scores, D::Minus1);
    }
    let keys = scores.dim(D::Minus1)?;
    let cpu = Cpu::detect();
    let rows = |bias: &[f32]| {
        ops::in_rows(scores, keys, |row, scores| {
            let bias = bias.get(row * keys..(row + 1) * keys).unwrap_or_default();
            kernels::softmax(cpu, scores, scale, bias);
        })
    };
    match bias {
        Some(bias) => ops::values(bias, rows),
        None => rows(&[]),
    }
}
