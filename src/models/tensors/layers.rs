//! Layers with their weights.

use std::sync::Arc;

use candle_core::{D, Result, Tensor, bail};

use super::ops;
use super::weights::{Weights, shape_only};
use crate::kernels::{self, Activation, Cpu, Dense};
use crate::models::ModelError;

/// `x · Wᵀ + b`.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    weight: Tensor,
    /// The same as the CPU's kernels want it, instead of the values of `weight`.
    dense: Option<Arc<Dense>>,
    bias: Option<Tensor>,
}

impl Linear {
    /// `weight`, shape `[outputs, inputs]`, and `bias` below the prefix; the latter if `has_bias`.
    pub(crate) fn new(
        weights: &Weights<'_>,
        inputs: usize,
        outputs: usize,
        has_bias: bool,
    ) -> std::result::Result<Self, ModelError> {
        let bias = has_bias.then(|| weights.tensor("bias", &[outputs]));
        let mut weight = weights.tensor("weight", &[outputs, inputs])?;
        let mut dense = None;
        if weights.loads_to_cpu() {
            let pack = |values: &[f32]| Ok(Dense::pack(Cpu::detect(), outputs, inputs, values));
            dense = Some(Arc::new(ops::values(&weight, pack)?));
            weight = shape_only(&[outputs, inputs])?;
        }
        Ok(Self {
            weight,
            dense,
            bias: bias.transpose()?,
        })
    }

    /// Of a tensor whose last axis has the inputs. The result is fresh.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (outputs, inputs) = self.weight.dims2()?;
        let mut shape = x.dims().to_vec();
        if shape.pop() != Some(inputs) {
            bail!("a row has other than {inputs} values");
        }
        let rows: usize = shape.iter().product();
        shape.push(outputs);
        let Some(dense) = &self.dense else {
            let product = x.reshape((rows, inputs))?.matmul(&self.weight.t()?)?;
            let sum = match &self.bias {
                Some(bias) => product.broadcast_add(bias)?,
                None => product,
            };
            return sum.reshape(shape);
        };
        let mut made = vec![0.0; rows * outputs];
        let mut run = |bias: &[f32]| {
            ops::values(x, |x| {
                dense.run(Cpu::detect(), x, bias, &mut made);
                Ok(())
            })
        };
        match &self.bias {
            Some(bias) => ops::values(bias, run)?,
            None => run(&[])?,
        }
        Tensor::from_vec(made, shape, x.device())
    }
}

/// A convolution of `[pictures, channels, height, width]`.
#[derive(Debug, Clone)]
pub(crate) struct Conv2d {
    weight: Tensor,
    bias: Tensor,
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// `weight`, shape `[outputs, inputs, side, side]`, and `bias` below the prefix.
    pub(crate) fn new(
        weights: &Weights<'_>,
        inputs: usize,
        outputs: usize,
        side: usize,
        stride: usize,
        padding: usize,
    ) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            weight: weights.tensor("weight", &[outputs, inputs, side, side])?,
            bias: weights.tensor("bias", &[outputs])?,
            stride,
            padding,
        })
    }

    /// The result is fresh.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if !x.device().is_cpu() {
            let made = x.conv2d(&self.weight, self.padding, self.stride, 1, 1)?;
            return add_to_channels(made, &self.bias);
        }
        let (pictures, channels, height, width) = x.dims4()?;
        let (outputs, inputs, side, _) = self.weight.dims4()?;
        let convolution = kernels::Convolution {
            channels,
            height,
            width,
            side,
            stride: self.stride,
            padding: self.padding,
        };
        let Some([to_height, to_width]) = convolution.result().filter(|_| channels == inputs)
        else {
            bail!("no window fits into {:?}", x.shape());
        };
        let (area, to_area) = (channels * height * width, outputs * to_height * to_width);
        let mut made = vec![0.0; pictures * to_area];
        let cpu = Cpu::detect();
        ops::values(&self.weight, |weight| {
            ops::values(&self.bias, |bias| {
                ops::values(x, |x| {
                    for (picture, made) in
                        x.chunks(area.max(1)).zip(made.chunks_mut(to_area.max(1)))
                    {
                        convolution.run(cpu, picture, weight, bias, made);
                    }
                    Ok(())
                })
            })
        })?;
        Tensor::from_vec(made, (pictures, outputs, to_height, to_width), x.device())
    }
}

/// Adds to each channel of a fresh `[pictures, channels, height, width]` its value of `[channels]`.
pub(crate) fn add_to_channels(fresh: Tensor, bias: &Tensor) -> Result<Tensor> {
    let (_, channels, height, width) = fresh.dims4()?;
    if !fresh.device().is_cpu() {
        return fresh.broadcast_add(&bias.reshape((1, channels, 1, 1))?);
    }
    let fresh = fresh.contiguous()?;
    ops::values(bias, |bias| {
        ops::in_rows(fresh, height * width, |row, values| {
            let bias = bias[row % channels];
            values.iter_mut().for_each(|value| *value += bias);
        })
    })
}

/// Group normalisation (Wu and He 2018) of `[pictures, channels, height, width]`.
#[derive(Debug, Clone)]
pub(crate) struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    epsilon: f32,
}

impl GroupNorm {
    /// `weight` and `bias` of `[channels]` below the prefix. `groups` must divide the channels.
    pub(crate) fn new(
        weights: &Weights<'_>,
        channels: usize,
        groups: usize,
        epsilon: f32,
    ) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            weight: weights.tensor("weight", &[channels])?,
            bias: weights.tensor("bias", &[channels])?,
            groups,
            epsilon,
        })
    }

    /// Followed by an activation. The result is fresh.
    pub(crate) fn forward(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        let (_, channels, height, width) = x.dims4()?;
        if !x.device().is_cpu() {
            let norm = candle_nn::GroupNorm::new(
                self.weight.clone(),
                self.bias.clone(),
                channels,
                self.groups,
                self.epsilon.into(),
            )?;
            return ops::activate(candle_core::Module::forward(&norm, x)?, activation);
        }
        let in_group = channels / self.groups.max(1);
        let cpu = Cpu::detect();
        let (groups, epsilon) = (self.groups, self.epsilon);
        let fresh = ops::fresh_copy(x)?;
        ops::values(&self.weight, |weight| {
            ops::values(&self.bias, |bias| {
                ops::in_rows(fresh, in_group * height * width, |row, values| {
                    let first = row % groups * in_group;
                    let norm = kernels::GroupNorm {
                        weight: &weight[first..first + in_group],
                        bias: &bias[first..first + in_group],
                        epsilon,
                        activation,
                    };
                    norm.run(cpu, values);
                })
            })
        })
    }
}

/// Normalisation of each row of the last axis.
#[derive(Debug, Clone)]
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f32,
}

impl LayerNorm {
    /// `weight` and `bias` of `[width]` below the prefix.
    pub(crate) fn new(
        weights: &Weights<'_>,
        width: usize,
        epsilon: f32,
    ) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            weight: weights.tensor("weight", &[width])?,
            bias: weights.tensor("bias", &[width])?,
            epsilon,
        })
    }

    /// The result is fresh.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if !x.device().is_cpu() {
            let x = x.contiguous()?;
            return candle_nn::ops::layer_norm(&x, &self.weight, &self.bias, self.epsilon);
        }
        let width = x.dim(D::Minus1)?;
        let fresh = ops::fresh_copy(x)?;
        let cpu = Cpu::detect();
        ops::values(&self.weight, |weight| {
            ops::values(&self.bias, |bias| {
                ops::in_rows(fresh, width, |_, row| {
                    kernels::norm(cpu, row, weight, bias, self.epsilon, false);
                })
            })
        })
    }
}

/// A table with a row for each of so many ids.
#[derive(Debug, Clone)]
pub(crate) struct Embedding {
    table: Tensor,
}

impl Embedding {
    /// `weight`, shape `[rows, width]`, below the prefix.
    pub(crate) fn new(
        weights: &Weights<'_>,
        rows: usize,
        width: usize,
    ) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            table: weights.tensor("weight", &[rows, width])?,
        })
    }

    /// The rows of these ids, `[ids, width]`; an id beyond the table is an error. The result is fresh.
    pub(crate) fn forward(&self, ids: &[u32]) -> Result<Tensor> {
        let ids = Tensor::new(ids, self.table.device())?;
        self.table.index_select(&ids, 0)
    }

    /// The first `count` rows, `[count, width]`.
    pub(crate) fn first(&self, count: usize) -> Result<Tensor> {
        self.table.narrow(0, 0, count)
    }
}
