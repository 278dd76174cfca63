//! The kernels of networks of pictures by themselves.

use std::error::Error;

use crate::kernels::{self, Activation, Cpu};

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
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()?;
        pool.install(|| convolution.run(Cpu::detect(), picture, weight, bias, &mut out));
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
