//! What networks of pictures are built of. All pictures are `[1, channels, height, width]`.

use candle_core::{Result, Tensor};

use crate::kernels::Activation;
use crate::models::ModelError;
use crate::models::tensors::{self, Conv2d, GroupNorm, Linear, Weights};

/// Two convolutions beside a short cut (He et al. 2016), told the time by what is added between them.
#[derive(Debug)]
pub(super) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

/// The sizes of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResnetShape {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// The width of the time's embedding, where the block is told it.
    pub(super) time: Option<usize>,
    pub(super) groups: usize,
    pub(super) epsilon: f32,
}

impl ResnetBlock {
    pub(super) fn new(
        weights: &Weights<'_>,
        shape: ResnetShape,
    ) -> std::result::Result<Self, ModelError> {
        let ResnetShape {
            inputs,
            outputs,
            groups,
            epsilon,
            ..
        } = shape;
        let norm = |name, width| GroupNorm::new(&weights.under(name), width, groups, epsilon);
        let conv = |name, inputs, side: usize| {
            Conv2d::new(&weights.under(name), inputs, outputs, side, 1, side / 2)
        };
        let time = |width| Linear::new(&weights.under("time_emb_proj"), width, outputs, true);
        Ok(Self {
            norm1: norm("norm1", inputs)?,
            conv1: conv("conv1", inputs, 3)?,
            time: shape.time.map(time).transpose()?,
            norm2: norm("norm2", outputs)?,
            conv2: conv("conv2", outputs, 3)?,
            shortcut: (inputs != outputs)
                .then(|| conv("conv_shortcut", inputs, 1))
                .transpose()?,
        })
    }

    /// `time` is `[1, width]`, already activated.
    pub(super) fn forward(&self, x: &Tensor, time: Option<&Tensor>) -> Result<Tensor> {
        let mut hidden = self
            .conv1
            .forward(&self.norm1.forward(x, Activation::Silu)?)?;
        if let (Some(layer), Some(time)) = (&self.time, time) {
            let time = layer.forward(time)?.flatten_all()?;
            hidden = tensors::add_to_channels(hidden, &time)?;
        }
        let hidden = self.norm2.forward(&hidden, Activation::Silu)?;
        let hidden = self.conv2.forward(&hidden)?;
        match &self.shortcut {
            Some(shortcut) => tensors::add(hidden, &shortcut.forward(x)?),
            None => tensors::add(hidden, x),
        }
    }
}

/// Halves the sides by a convolution.
#[derive(Debug)]
pub(super) struct Downsample {
    conv: Conv2d,
    /// Zeros are put on the right and at the bottom only.
    one_sided: bool,
}

impl Downsample {
    pub(super) fn new(
        weights: &Weights<'_>,
        channels: usize,
        one_sided: bool,
    ) -> std::result::Result<Self, ModelError> {
        let padding = usize::from(!one_sided);
        let conv = Conv2d::new(&weights.under("conv"), channels, channels, 3, 2, padding)?;
        Ok(Self { conv, one_sided })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if !self.one_sided {
            return self.conv.forward(x);
        }
        let x = x.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?;
        self.conv.forward(&x)
    }
}

/// Repeats pixels until the picture has the wanted sides, then convolves.
#[derive(Debug)]
pub(super) struct Upsample {
    conv: Conv2d,
}

impl Upsample {
    pub(super) fn new(
        weights: &Weights<'_>,
        channels: usize,
    ) -> std::result::Result<Self, ModelError> {
        let conv = Conv2d::new(&weights.under("conv"), channels, channels, 3, 1, 1)?;
        Ok(Self { conv })
    }

    /// `size` is height and width; without, both are doubled.
    pub(super) fn forward(&self, x: &Tensor, size: Option<[usize; 2]>) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let [to_height, to_width] = size.unwrap_or([2 * height, 2 * width]);
        let x = stretched(x, 2, to_height)?;
        self.conv.forward(&stretched(&x, 3, to_width)?)
    }
}

/// Takes for each place along an axis what is nearest to it, as torch's `nearest` does.
fn stretched(x: &Tensor, axis: usize, to: usize) -> Result<Tensor> {
    let from = x.dim(axis)?;
    if from == to {
        return Ok(x.clone());
    }
    let step = from as f32 / to as f32;
    let last = from.saturating_sub(1) as u32;
    let places: Vec<u32> = (0..to)
        .map(|place| ((place as f32 * step) as u32).min(last))
        .collect();
    x.contiguous()?
        .index_select(&Tensor::new(places, x.device())?, axis)
}

/// A picture's pixels as rows, `[height · width, channels]`.
pub(super) fn pixels_as_rows(x: &Tensor) -> Result<Tensor> {
    let (_, channels, height, width) = x.dims4()?;
    x.reshape((channels, height * width))?.t()?.contiguous()
}

/// Back from rows to a picture of such a size. The result is fresh.
pub(super) fn rows_as_pixels(rows: &Tensor, [height, width]: [usize; 2]) -> Result<Tensor> {
    let channels = rows.dim(1)?;
    rows.t()?
        .contiguous()?
        .reshape((1, channels, height, width))
}

/// Rows `[rows, heads · width]` by their heads, `[heads, rows, width]`.
pub(super) fn by_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    x.reshape((rows, heads, width / heads.max(1)))?
        .transpose(0, 1)?
        .contiguous()
}

/// Back from heads to rows.
pub(super) fn from_heads(x: &Tensor) -> Result<Tensor> {
    let (heads, rows, width) = x.dims3()?;
    x.transpose(0, 1)?
        .contiguous()?
        .reshape((rows, heads * width))
}

/// Numbers spread over the sines and cosines of many frequencies: one row of `width` for each.
pub(super) fn spread(
    values: &[f32],
    width: usize,
    cosine_first: bool,
    frequency_shift: usize,
) -> Vec<f32> {
    let half = width / 2;
    let steps = half.saturating_sub(frequency_shift).max(1) as f32;
    let falls = -(10_000_f32.ln());
    let mut spread = Vec::with_capacity(values.len() * width);
    for value in values {
        let angles: Vec<f32> = (0..half)
            .map(|place| value * (falls * place as f32 / steps).exp())
            .collect();
        let sines = angles.iter().map(|angle| angle.sin());
        let cosines = angles.iter().map(|angle| angle.cos());
        if cosine_first {
            spread.extend(cosines.chain(sines));
        } else {
            spread.extend(sines.chain(cosines));
        }
        spread.resize(spread.len() + width % 2, 0.0);
    }
    spread
}
