//! The network that predicts noise: diffusers' `UNet2DConditionModel`.

mod config;
mod transformer;

use candle_core::{Device, Result, Tensor};

use super::blocks::{Downsample, ResnetBlock, ResnetShape, Upsample, spread};
use crate::kernels::Activation;
use crate::models::ModelError;
use crate::models::tensors::{self, Conv2d, GroupNorm, Linear, Weights};
pub(super) use config::UnetConfig;
use config::{Attends, Level};
use transformer::Transformer;

/// What the network is told beside the latents.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) timestep: f32,
    /// The prompt's rows, `[tokens, width]`.
    pub(super) context: &'a Tensor,
    /// The prompt's pooled vector, for networks that are told it.
    pub(super) pooled: &'a [f32],
    /// Sizes, for the same: original height and width, top and left, target height and width.
    pub(super) sizes: &'a [f32],
    /// The guidance, for networks that are told it.
    pub(super) guidance: Option<f32>,
}

/// A `UNet2DConditionModel` with its weights.
#[derive(Debug)]
pub(super) struct Unet {
    config: UnetConfig,
    first: Conv2d,
    guidance: Option<Linear>,
    time: TimeEmbedding,
    text_time: Option<TimeEmbedding>,
    down: Vec<DownBlock>,
    middle: Option<Middle>,
    up: Vec<UpBlock>,
    norm: GroupNorm,
    last: Conv2d,
    device: Device,
}

impl Unet {
    pub(super) fn new(
        weights: &Weights<'_>,
        config: &UnetConfig,
        device: &Device,
    ) -> std::result::Result<Self, ModelError> {
        let widths: Vec<usize> = config.levels.iter().map(|level| level.channels).collect();
        let (narrowest, widest) = (widths[0], widths[widths.len() - 1]);
        let time = 4 * narrowest;
        let embedding = |name, inputs| TimeEmbedding::new(&weights.under(name), inputs, time);
        let guidance = |width| {
            Linear::new(
                &weights.under("time_embedding.cond_proj"),
                width,
                narrowest,
                false,
            )
        };
        let maker = Maker {
            config,
            time,
            levels: &config.levels,
        };
        let middle = config
            .middle
            .map(|attends| Middle::new(&weights.under("mid_block"), widest, attends, &maker));
        Ok(Self {
            first: Conv2d::new(
                &weights.under("conv_in"),
                config.channels,
                narrowest,
                3,
                1,
                1,
            )?,
            guidance: config.guidance_width.map(guidance).transpose()?,
            time: embedding("time_embedding", narrowest)?,
            text_time: config
                .text_time
                .map(|told| embedding("add_embedding", told.inputs))
                .transpose()?,
            down: (0..widths.len())
                .map(|level| maker.down(weights, level))
                .collect::<std::result::Result<_, _>>()?,
            middle: middle.transpose()?,
            up: (0..widths.len())
                .rev()
                .map(|level| maker.up(weights, level))
                .collect::<std::result::Result<_, _>>()?,
            norm: GroupNorm::new(
                &weights.under("conv_norm_out"),
                narrowest,
                config.groups,
                config.epsilon,
            )?,
            last: Conv2d::new(
                &weights.under("conv_out"),
                narrowest,
                config.channels,
                3,
                1,
                1,
            )?,
            config: config.clone(),
            device: device.clone(),
        })
    }

    /// What the schedule says that the network predicts of latents `[1, channels, height, width]`.
    pub(super) fn forward(&self, latents: &Tensor, told: &Told<'_>) -> Result<Tensor> {
        let time = self.time(told)?;
        let mut x = self.first.forward(latents)?;
        let mut skipped = vec![x.clone()];
        for block in &self.down {
            for (layer, resnet) in block.resnets.iter().enumerate() {
                x = resnet.forward(&x, Some(&time))?;
                if let Some(transformer) = block.transformers.get(layer) {
                    x = transformer.forward(&x, told.context)?;
                }
                skipped.push(x.clone());
            }
            if let Some(downsample) = &block.downsample {
                x = downsample.forward(&x)?;
                skipped.push(x.clone());
            }
        }
        if let Some(middle) = &self.middle {
            x = middle.first.forward(&x, Some(&time))?;
            x = middle.transformer.forward(&x, told.context)?;
            x = middle.second.forward(&x, Some(&time))?;
        }
        for block in &self.up {
            for (layer, resnet) in block.resnets.iter().enumerate() {
                let Some(other) = skipped.pop() else {
                    candle_core::bail!("the way up has more layers than the way down");
                };
                x = resnet.forward(&Tensor::cat(&[&x, &other], 1)?, Some(&time))?;
                if let Some(transformer) = block.transformers.get(layer) {
                    x = transformer.forward(&x, told.context)?;
                }
            }
            if let Some(upsample) = &block.upsample {
                let size = skipped.last().map(Tensor::dims4).transpose()?;
                x = upsample.forward(&x, size.map(|(_, _, height, width)| [height, width]))?;
            }
        }
        self.last.forward(&self.norm.forward(&x, Activation::Silu)?)
    }

    /// The embedding of the time and of what else is told, `[1, width]`, activated.
    fn time(&self, told: &Told<'_>) -> Result<Tensor> {
        let config = &self.config;
        let row = |values: Vec<f32>| {
            let width = values.len();
            Tensor::from_vec(values, (1, width), &self.device)
        };
        let narrowest = config.levels[0].channels;
        let spread_by = |values: &[f32], width| {
            spread(values, width, config.cosine_first, config.frequency_shift)
        };
        let mut time = row(spread_by(&[told.timestep], narrowest))?;
        if let (Some(layer), Some(width)) = (&self.guidance, config.guidance_width) {
            // As the distilled models are told it: one less, in thousands.
            let guidance = (told.guidance.unwrap_or(1.0) - 1.0) * 1000.0;
            let spread = row(spread(&[guidance], width, false, 1))?;
            time = tensors::add(layer.forward(&spread)?, &time)?;
        }
        let mut embedding = self.time.forward(&time)?;
        if let (Some(layer), Some(text_time)) = (&self.text_time, config.text_time) {
            let mut values = told.pooled.to_vec();
            values.extend(spread_by(told.sizes, text_time.spread));
            embedding = tensors::add(layer.forward(&row(values)?)?, &embedding)?;
        }
        tensors::activate(embedding, Activation::Silu)
    }
}

/// Two layers that make an embedding of spread numbers.
#[derive(Debug)]
struct TimeEmbedding {
    first: Linear,
    second: Linear,
}

impl TimeEmbedding {
    fn new(
        weights: &Weights<'_>,
        inputs: usize,
        outputs: usize,
    ) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            first: Linear::new(&weights.under("linear_1"), inputs, outputs, true)?,
            second: Linear::new(&weights.under("linear_2"), outputs, outputs, true)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let hidden = tensors::activate(self.first.forward(x)?, Activation::Silu)?;
        self.second.forward(&hidden)
    }
}

#[derive(Debug)]
struct DownBlock {
    resnets: Vec<ResnetBlock>,
    transformers: Vec<Transformer>,
    downsample: Option<Downsample>,
}

#[derive(Debug)]
struct Middle {
    first: ResnetBlock,
    transformer: Transformer,
    second: ResnetBlock,
}

impl Middle {
    fn new(
        weights: &Weights<'_>,
        width: usize,
        attends: Attends,
        maker: &Maker<'_>,
    ) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            first: maker.resnet(&weights.under("resnets.0"), width, width)?,
            transformer: Transformer::new(
                &weights.under("attentions.0"),
                width,
                attends,
                maker.config,
            )?,
            second: maker.resnet(&weights.under("resnets.1"), width, width)?,
        })
    }
}

#[derive(Debug)]
struct UpBlock {
    resnets: Vec<ResnetBlock>,
    transformers: Vec<Transformer>,
    upsample: Option<Upsample>,
}

/// Makes blocks of the same sizes.
struct Maker<'a> {
    config: &'a UnetConfig,
    time: usize,
    levels: &'a [Level],
}

impl Maker<'_> {
    fn resnet(
        &self,
        weights: &Weights<'_>,
        inputs: usize,
        outputs: usize,
    ) -> std::result::Result<ResnetBlock, ModelError> {
        let shape = ResnetShape {
            inputs,
            outputs,
            time: Some(self.time),
            groups: self.config.groups,
            epsilon: self.config.epsilon,
        };
        ResnetBlock::new(weights, shape)
    }

    fn transformers(
        &self,
        weights: &Weights<'_>,
        width: usize,
        layers: usize,
        attends: Option<Attends>,
    ) -> std::result::Result<Vec<Transformer>, ModelError> {
        let Some(attends) = attends else {
            return Ok(Vec::new());
        };
        (0..layers)
            .map(|layer| {
                let weights = weights.under(format!("attentions.{layer}"));
                Transformer::new(&weights, width, attends, self.config)
            })
            .collect()
    }

    fn down(
        &self,
        weights: &Weights<'_>,
        level: usize,
    ) -> std::result::Result<DownBlock, ModelError> {
        let weights = weights.under(format!("down_blocks.{level}"));
        let Level {
            channels,
            layers,
            down,
            ..
        } = self.levels[level];
        let before = self.levels[level.saturating_sub(1)].channels;
        let resnet = |layer: usize| {
            let inputs = if layer == 0 { before } else { channels };
            let weights = weights.under(format!("resnets.{layer}"));
            self.resnet(&weights, inputs, channels)
        };
        let is_last = level + 1 == self.levels.len();
        let downsample = || Downsample::new(&weights.under("downsamplers.0"), channels, false);
        Ok(DownBlock {
            resnets: (0..layers)
                .map(resnet)
                .collect::<std::result::Result<_, _>>()?,
            transformers: self.transformers(&weights, channels, layers, down)?,
            downsample: (!is_last).then(downsample).transpose()?,
        })
    }

    fn up(&self, weights: &Weights<'_>, level: usize) -> std::result::Result<UpBlock, ModelError> {
        let coarsest = self.levels.len() - 1;
        let weights = weights.under(format!("up_blocks.{}", coarsest - level));
        let Level {
            channels,
            layers,
            up,
            ..
        } = self.levels[level];
        let layers = layers + 1;
        let before = self.levels[coarsest.min(level + 1)].channels;
        // What the way down has left: its layers, and at the end what it began with.
        let began_with = self.levels[level.saturating_sub(1)].channels;
        let resnet = |layer: usize| {
            let from_below = if layer == 0 { before } else { channels };
            let skipped = if layer + 1 == layers {
                began_with
            } else {
                channels
            };
            let weights = weights.under(format!("resnets.{layer}"));
            self.resnet(&weights, from_below + skipped, channels)
        };
        let upsample = || Upsample::new(&weights.under("upsamplers.0"), channels);
        Ok(UpBlock {
            resnets: (0..layers)
                .map(resnet)
                .collect::<std::result::Result<_, _>>()?,
            transformers: self.transformers(&weights, channels, layers, up)?,
            upsample: (level > 0).then(upsample).transpose()?,
        })
    }
}
