//! Between pictures and latents: diffusers' `AutoencoderKL`.

mod config;

use candle_core::{Device, Result, Tensor};

use super::blocks::{
    Downsample, ResnetBlock, ResnetShape, Upsample, pixels_as_rows, rows_as_pixels,
};
use crate::images::RgbImage;
use crate::kernels::Activation;
use crate::models::ModelError;
use crate::models::tensors::{self, AttentionBias, Conv2d, GroupNorm, Linear, Weights, attention};
pub(in crate::models) use config::VaeConfig;

type Made<T> = std::result::Result<T, ModelError>;

const EPSILON: f32 = 1e-6;

/// An `AutoencoderKL` with its weights. Its latents are scaled and shifted as the networks that paint
/// have them.
#[derive(Debug)]
pub(in crate::models) struct Vae {
    config: VaeConfig,
    /// Some files leave it out, for who only paints from noise does not need it.
    encoder: Option<Encoder>,
    decoder: Decoder,
    device: Device,
}

impl Vae {
    /// Takes the weights below the prefix.
    pub(in crate::models) fn new(
        weights: &Weights<'_>,
        config: &VaeConfig,
        device: &Device,
    ) -> Made<Self> {
        let has_encoder = weights.has("encoder.conv_in.weight")?;
        let encoder = || Encoder::new(weights, config);
        Ok(Self {
            config: config.clone(),
            encoder: has_encoder.then(encoder).transpose()?,
            decoder: Decoder::new(weights, config)?,
            device: device.clone(),
        })
    }

    /// The picture of latents `[channels, height, width]`.
    ///
    /// # Errors
    /// [`ModelError::NotFiniteOutput`], or that a tensor operation failed.
    pub(in crate::models) fn decode(
        &self,
        latents: &[f32],
        width: usize,
        height: usize,
    ) -> Made<RgbImage> {
        let VaeConfig { scale, shift, .. } = self.config;
        let latents: Vec<f32> = latents
            .iter()
            .map(|latent| latent / scale + shift)
            .collect();
        let shape = (1, self.config.latent_channels, height, width);
        let latents = Tensor::from_vec(latents, shape, &self.device)?;
        picture(&self.decoder.forward(&latents)?)
    }

    /// The latents of a picture, `[channels, height, width]`: `noise`, of the same shape, draws them
    /// from the distribution that the encoder gives; without, they are its mean.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] where the file holds no encoder, or that a tensor operation failed.
    pub(in crate::models) fn encode(
        &self,
        picture: &RgbImage,
        noise: Option<&[f32]>,
    ) -> Made<Vec<f32>> {
        let Some(encoder) = &self.encoder else {
            return Err(ModelError::MissingTensor {
                tensor: "encoder.conv_in.weight".to_owned(),
            });
        };
        let moments = encoder.forward(&pixels(picture, &self.device)?)?;
        let moments: Vec<f32> = moments.flatten_all()?.to_vec1()?;
        let (means, variances) = moments.split_at(moments.len() / 2);
        let VaeConfig { scale, shift, .. } = self.config;
        let noise = noise.unwrap_or_default();
        let drawn = means.iter().zip(variances).enumerate();
        Ok(drawn
            .map(|(place, (mean, log_variance))| {
                let spread = (0.5 * log_variance.clamp(-30.0, 20.0)).exp();
                let noise = noise.get(place).copied().unwrap_or(0.0);
                (mean + spread * noise - shift) * scale
            })
            .collect())
    }
}

/// Pixels from −1 to 1, `[1, 3, height, width]`.
fn pixels(picture: &RgbImage, device: &Device) -> Result<Tensor> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let channel = |channel: usize| {
        let values = picture.pixels().iter().skip(channel).step_by(3);
        values.map(|value| f32::from(*value) / 127.5 - 1.0)
    };
    let values: Vec<f32> = (0..3).flat_map(channel).collect();
    Tensor::from_vec(values, (1, 3, height, width), device)
}

/// Back from there.
fn picture(pixels: &Tensor) -> Made<RgbImage> {
    let (_, channels, height, width) = pixels.dims4()?;
    let values: Vec<f32> = pixels.flatten_all()?.to_vec1()?;
    if !values.iter().all(|value| value.is_finite()) {
        return Err(ModelError::NotFiniteOutput);
    }
    let area = height * width;
    let pixels = (0..area)
        .flat_map(|place| (0..channels).map(move |channel| channel * area + place))
        .map(|place| {
            let share = (values[place] / 2.0 + 0.5).clamp(0.0, 1.0);
            (share * 255.0).round_ties_even() as u8
        })
        .collect();
    Ok(RgbImage::new(width as u32, height as u32, pixels)?)
}

/// Makes resnet blocks of the same groups.
fn resnet(
    weights: &Weights<'_>,
    config: &VaeConfig,
    inputs: usize,
    outputs: usize,
) -> Made<ResnetBlock> {
    let shape = ResnetShape {
        inputs,
        outputs,
        time: None,
        groups: config.groups,
        epsilon: EPSILON,
    };
    ResnetBlock::new(weights, shape)
}

fn resnets(
    weights: &Weights<'_>,
    config: &VaeConfig,
    layers: usize,
    inputs: usize,
    outputs: usize,
) -> Made<Vec<ResnetBlock>> {
    (0..layers)
        .map(|layer| {
            let inputs = if layer == 0 { inputs } else { outputs };
            let weights = weights.under(format!("resnets.{layer}"));
            resnet(&weights, config, inputs, outputs)
        })
        .collect()
}

#[derive(Debug)]
struct Encoder {
    first: Conv2d,
    levels: Vec<(Vec<ResnetBlock>, Option<Downsample>)>,
    middle: Middle,
    norm: GroupNorm,
    last: Conv2d,
    quant: Option<Conv2d>,
}

impl Encoder {
    fn new(all: &Weights<'_>, config: &VaeConfig) -> Made<Self> {
        let weights = all.under("encoder");
        let widths = &config.widths;
        let widest = widths[widths.len() - 1];
        let level = |level: usize| {
            let weights = weights.under(format!("down_blocks.{level}"));
            let before = widths[level.saturating_sub(1)];
            let resnets = resnets(&weights, config, config.layers, before, widths[level])?;
            let downsample =
                || Downsample::new(&weights.under("downsamplers.0"), widths[level], true);
            let is_last = level + 1 == widths.len();
            Ok((resnets, (!is_last).then(downsample).transpose()?))
        };
        let moments = 2 * config.latent_channels;
        let quant = || Conv2d::new(&all.under("quant_conv"), moments, moments, 1, 1, 0);
        Ok(Self {
            first: Conv2d::new(&weights.under("conv_in"), 3, widths[0], 3, 1, 1)?,
            levels: (0..widths.len()).map(level).collect::<Made<_>>()?,
            middle: Middle::new(&weights.under("mid_block"), config, widest)?,
            norm: GroupNorm::new(
                &weights.under("conv_norm_out"),
                widest,
                config.groups,
                EPSILON,
            )?,
            last: Conv2d::new(&weights.under("conv_out"), widest, moments, 3, 1, 1)?,
            quant: config.has_quant_conv.then(quant).transpose()?,
        })
    }

    /// Means, and logarithms of variances: `[1, 2 · latent channels, height, width]`.
    fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let mut x = self.first.forward(pixels)?;
        for (resnets, downsample) in &self.levels {
            for resnet in resnets {
                x = resnet.forward(&x, None)?;
            }
            if let Some(downsample) = downsample {
                x = downsample.forward(&x)?;
            }
        }
        x = self.middle.forward(&x)?;
        x = self
            .last
            .forward(&self.norm.forward(&x, Activation::Silu)?)?;
        match &self.quant {
            Some(conv) => conv.forward(&x),
            None => Ok(x),
        }
    }
}

#[derive(Debug)]
struct Decoder {
    quant: Option<Conv2d>,
    first: Conv2d,
    middle: Middle,
    levels: Vec<(Vec<ResnetBlock>, Option<Upsample>)>,
    norm: GroupNorm,
    last: Conv2d,
}

impl Decoder {
    fn new(all: &Weights<'_>, config: &VaeConfig) -> Made<Self> {
        let weights = all.under("decoder");
        let widths = &config.widths;
        let widest = widths[widths.len() - 1];
        let level = |level: usize| {
            let weights = weights.under(format!("up_blocks.{}", widths.len() - 1 - level));
            let before = widths[(level + 1).min(widths.len() - 1)];
            let resnets = resnets(&weights, config, config.layers + 1, before, widths[level])?;
            let upsample = || Upsample::new(&weights.under("upsamplers.0"), widths[level]);
            Ok((resnets, (level > 0).then(upsample).transpose()?))
        };
        let latents = config.latent_channels;
        let quant = || Conv2d::new(&all.under("post_quant_conv"), latents, latents, 1, 1, 0);
        Ok(Self {
            quant: config.has_post_quant_conv.then(quant).transpose()?,
            first: Conv2d::new(&weights.under("conv_in"), latents, widest, 3, 1, 1)?,
            middle: Middle::new(&weights.under("mid_block"), config, widest)?,
            levels: (0..widths.len()).rev().map(level).collect::<Made<_>>()?,
            norm: GroupNorm::new(
                &weights.under("conv_norm_out"),
                widths[0],
                config.groups,
                EPSILON,
            )?,
            last: Conv2d::new(&weights.under("conv_out"), widths[0], 3, 3, 1, 1)?,
        })
    }

    fn forward(&self, latents: &Tensor) -> Result<Tensor> {
        let mut x = match &self.quant {
            Some(conv) => self.first.forward(&conv.forward(latents)?)?,
            None => self.first.forward(latents)?,
        };
        x = self.middle.forward(&x)?;
        for (resnets, upsample) in &self.levels {
            for resnet in resnets {
                x = resnet.forward(&x, None)?;
            }
            if let Some(upsample) = upsample {
                x = upsample.forward(&x, None)?;
            }
        }
        self.last.forward(&self.norm.forward(&x, Activation::Silu)?)
    }
}

#[derive(Debug)]
struct Middle {
    first: ResnetBlock,
    attention: Option<Attention>,
    second: ResnetBlock,
}

impl Middle {
    fn new(weights: &Weights<'_>, config: &VaeConfig, width: usize) -> Made<Self> {
        let attention = || Attention::new(&weights.under("attentions.0"), config, width);
        Ok(Self {
            first: resnet(&weights.under("resnets.0"), config, width, width)?,
            attention: config.attends.then(attention).transpose()?,
            second: resnet(&weights.under("resnets.1"), config, width, width)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = self.first.forward(x, None)?;
        if let Some(attention) = &self.attention {
            x = attention.forward(&x)?;
        }
        self.second.forward(&x, None)
    }
}

/// Attention of all pixels to each other, with one head.
#[derive(Debug)]
struct Attention {
    norm: GroupNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    scale: f32,
}

impl Attention {
    fn new(weights: &Weights<'_>, config: &VaeConfig, width: usize) -> Made<Self> {
        // Older files have other names.
        let linear = |name, older| {
            let is_older = weights.has(&format!("{older}.weight"))?;
            let name = if is_older { older } else { name };
            Linear::new(&weights.under(name), width, width, true)
        };
        Ok(Self {
            norm: GroupNorm::new(&weights.under("group_norm"), width, config.groups, EPSILON)?,
            q: linear("to_q", "query")?,
            k: linear("to_k", "key")?,
            v: linear("to_v", "value")?,
            out: linear("to_out.0", "proj_attn")?,
            scale: 1.0 / (width as f32).sqrt(),
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let rows = pixels_as_rows(&self.norm.forward(x, Activation::Identity)?)?;
        let head = |linear: &Linear| linear.forward(&rows)?.unsqueeze(0);
        let (q, k, v) = (head(&self.q)?, head(&self.k)?, head(&self.v)?);
        let made = attention(&q, &k, &v, self.scale, AttentionBias::None)?;
        let rows = self.out.forward(&made.squeeze(0)?)?;
        tensors::add(rows_as_pixels(&rows, [height, width])?, x)
    }
}
