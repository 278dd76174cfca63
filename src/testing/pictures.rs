//! The kernels of networks of pictures by themselves.

use std::error::Error;

use crate::kernels::{self, Activation, Cpu, Dense, Heads};

type Failure = Box<dyn Error + Send + Sync>;

/// A convolution of one picture, `[channels, height, width]`, with square windows.
#[derive(Debug, Clone, Copy)]
pub struct Convolution {
    /// Channels, height and width of the picture.
    pub picture: [usize; 3],
    /// Of a window.
    pub side: usize,
    /// From window to window.
    pub stride: usize,
    /// Zeros around the picture.
    pub padding: usize,
}

impl Convolution {
    /// Convolves with `weight`, `[outputs, channels, side, side]`, on threads of its own.
    ///
    /// # Errors
    /// Windows that do not fit, lengths that do not agree, or threads that are refused.
    pub fn run(
        &self,
        threads: usize,
        picture: &[f32],
        weight: &[f32],
        bias: &[f32],
    ) -> Result<Vec<f32>, Failure> {
        let [channels, height, width] = self.picture;
        let convolution = kernels::Convolution {
            channels,
            height,
            width,
            side: self.side,
            stride: self.stride,
            padding: self.padding,
        };
        let [to_height, to_width] = convolution.result().ok_or("no window fits")?;
        let window = channels * self.side * self.side;
        if picture.len() != channels * height * width || weight.len() != bias.len() * window {
            return Err("the lengths do not agree".into());
        }
        let mut out = vec![0.0; bias.len() * to_height * to_width];
        on_threads(threads, || {
            convolution.run(Cpu::detect(), picture, weight, bias, &mut out);
        })?;
        Ok(out)
    }
}

/// Group normalisation of one group whose channels lie one after the other, followed by `silu` if
/// wanted.
#[must_use]
pub fn group_norm(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, silu: bool) -> Vec<f32> {
    let mut out = x.to_vec();
    let activation = match silu {
        true => Activation::Silu,
        false => Activation::Identity,
    };
    kernels::GroupNorm {
        weight,
        bias,
        epsilon,
        activation,
    }
    .run(Cpu::detect(), &mut out);
    out
}

fn on_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> Result<R, Failure> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()?;
    Ok(pool.install(work))
}

/// `x · weightᵀ + bias` on threads of its own; `weight` is `[outputs, inputs]`, with as many outputs as
/// `bias` has values.
///
/// # Errors
/// Lengths that do not agree, or threads that are refused.
pub fn dense(
    threads: usize,
    inputs: usize,
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
) -> Result<Vec<f32>, Failure> {
    let outputs = bias.len();
    if weight.len() != outputs * inputs || inputs == 0 || !x.len().is_multiple_of(inputs) {
        return Err("the lengths do not agree".into());
    }
    let cpu = Cpu::detect();
    let packed = Dense::pack(cpu, outputs, inputs, weight);
    let mut out = vec![0.0; x.len() / inputs * outputs];
    on_threads(threads, || packed.run(cpu, x, bias, &mut out))?;
    Ok(out)
}

/// Attention of heads of `width` on threads of its own: `q` is `[heads, queries, width]`, `k` and `v` are
/// `[heads, keys, width]`.
///
/// # Errors
/// Lengths that do not agree, or threads that are refused.
pub fn attention(
    threads: usize,
    [heads, queries, keys, width]: [usize; 4],
    causal: bool,
    [q, k, v]: [&[f32]; 3],
) -> Result<Vec<f32>, Failure> {
    let (rows, seen) = (heads * queries * width, heads * keys * width);
    if q.len() != rows || k.len() != seen || v.len() != seen {
        return Err("the lengths do not agree".into());
    }
    let task = Heads {
        queries,
        keys,
        width,
        scale: 1.0 / (width as f32).sqrt(),
        causal,
    };
    let mut out = vec![0.0; rows];
    on_threads(threads, || task.attend(Cpu::detect(), q, k, v, &mut out))?;
    Ok(out)
}
