//! A pipeline's folder as diffusers saves it.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde_json::{Value, json};

use super::clip_text::{ClipText, ClipTextConfig};
use super::clip_tokens::ClipTokenizer;
use super::config;
use super::defaults;
use super::lora::{Adapted, Adapter};
use super::options::DiffusionOptions;
use super::preparer::DiffusionPreparer;
use super::unet::{Unet, UnetConfig};
use super::vae::{Vae, VaeConfig};
use super::weights::DiffusionWeights;
use crate::diffusion::NoiseSchedule;
use crate::models::checkpoint::Checkpoint;
use crate::models::fields::Fields;
use crate::models::tensors::Weights;
use crate::models::{ModelError, files};
use crate::pool::capabilities::text_to_image::DiffusionDescription;

const INDEX: &str = "model_index.json";

/// The pipelines that are built in: of the first kind, and of SDXL's.
const PIPELINES: [&str; 4] = [
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "LatentConsistencyModelPipeline",
    "StableDiffusionXLPipeline",
];
const XL: &str = "StableDiffusionXLPipeline";

/// The stems of the weights' files.
const ENCODER_STEM: &str = "model";
const NETWORK_STEM: &str = "diffusion_pytorch_model";

/// A text encoder of the pipeline.
#[derive(Debug, Clone)]
struct TextPart {
    name: &'static str,
    tokenizer: &'static str,
    config: ClipTextConfig,
    checkpoint: Checkpoint,
}

/// A pipeline of Stable Diffusion 1 or 2, SDXL, or one of their distilled variants, in a folder as
/// diffusers saves it: `model_index.json`, and a folder for each part. What its configurations and its
/// weights' headers say has been checked; no weight has been read. A safety checker in the folder is not
/// used.
#[derive(Debug, Clone)]
pub struct DiffusionFolder {
    path: PathBuf,
    encoders: Vec<TextPart>,
    unet: (UnetConfig, Checkpoint),
    vae: (VaeConfig, Checkpoint),
    adapters: Vec<Adapter>,
    description: DiffusionDescription,
    is_xl: bool,
    zeros_for_absent: bool,
    parts: Vec<(&'static str, u64)>,
}

impl DiffusionFolder {
    /// Reads the configurations and the weights' headers.
    ///
    /// # Errors
    /// [`ModelError`], naming the file, field or tensor: something is missing, damaged, of an
    /// [architecture that is not supported](ModelError::UnsupportedArchitecture), or does not fit to the
    /// rest.
    pub fn open(path: impl AsRef<Path>, options: &DiffusionOptions) -> Result<Self, ModelError> {
        let path = path.as_ref().to_owned();
        files::require_directory(&path)?;
        let index = files::read_json(&path.join(INDEX), INDEX)?;
        let fields = Fields::new(INDEX, index);
        let class = fields.text("_class_name")?.unwrap_or_default();
        if !PIPELINES.contains(&class) {
            return Err(ModelError::UnsupportedArchitecture {
                found: class.to_owned(),
                supported: PIPELINES.to_vec(),
            });
        }
        let is_xl = class == XL;
        fields.only("requires_aesthetics_score", &json!(false))?;
        let mut encoders = vec![text_part(&path, "text_encoder", "tokenizer")?];
        if is_xl {
            encoders.push(text_part(&path, "text_encoder_2", "tokenizer_2")?);
        }
        let unet_value = config::read(&path, "unet")?;
        let unet = UnetConfig::read(&unet_value)?;
        let vae = VaeConfig::read("vae", &config::read(&path, "vae")?)?;
        fit(&unet_value, &unet, &vae, &encoders, is_xl)?;
        let schedule = NoiseSchedule::from_folder(&path)?;
        let description = defaults::description(&path, &unet, &vae, schedule, is_xl, options)?;
        let weights_of = |part: &str| Checkpoint::open_variant(&path.join(part), NETWORK_STEM);
        let mut folder = Self {
            encoders,
            unet: (unet, weights_of("unet")?),
            vae: (vae, weights_of("vae")?),
            adapters: adapters(options)?,
            description,
            is_xl,
            zeros_for_absent: fields.flag("force_zeros_for_empty_prompt", is_xl)? && is_xl,
            parts: Vec::new(),
            path,
        };
        folder.parts = folder.count_parts()?;
        Ok(folder)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the model is like.
    pub fn description(&self) -> &DiffusionDescription {
        &self.description
    }

    /// What each part takes once it is loaded, in bytes: the text encoders, `unet` and `vae`.
    pub fn part_bytes(&self) -> &[(&'static str, u64)] {
        &self.parts
    }

    /// What all parts take together: what the workers share.
    pub fn weight_bytes(&self) -> u64 {
        let bytes = self.parts.iter().map(|(_, bytes)| *bytes);
        bytes.fold(0, u64::saturating_add)
    }

    /// What a worker takes of its own for the largest picture that is allowed, in bytes.
    pub fn worker_bytes(&self) -> u64 {
        /// Threads, and what the convolutions gather on each.
        const BASE: u64 = 64 << 20;
        let pixels = self.description.max_pixels as u64;
        let side = self.description.pixels_per_latent as u64;
        let network = self.unet.0.most_values(pixels / (side * side));
        let values = network.max(self.vae.0.most_values(pixels));
        values.saturating_mul(4).saturating_add(BASE)
    }

    /// What the tokenizers take in memory, generously.
    ///
    /// # Errors
    /// [`ModelError::MissingFile`] or [`ModelError::Unreadable`].
    pub fn tokenizer_bytes(&self) -> Result<u64, ModelError> {
        /// For each byte of their files.
        const GROWTH: u64 = 32;
        let folders = self
            .encoders
            .iter()
            .map(|part| self.path.join(part.tokenizer));
        let sizes = folders.map(|folder| ClipTokenizer::stored_bytes(&folder));
        let stored: u64 = sizes.sum::<Result<_, _>>()?;
        Ok(stored.saturating_mul(GROWTH))
    }

    /// Reads the tokenizers.
    ///
    /// # Errors
    /// [`ModelError`], naming the file that is missing or damaged.
    pub fn preparer(&self) -> Result<DiffusionPreparer, ModelError> {
        let folders = self.encoders.iter().map(|part| {
            let folder = self.path.join(part.tokenizer);
            (folder, part.config.positions)
        });
        DiffusionPreparer::read(folders)
    }

    /// Loads all weights.
    ///
    /// # Errors
    /// [`ModelError::NotFiniteWeights`], or what keeps a file from being read.
    pub fn load(&self) -> Result<DiffusionWeights, ModelError> {
        let device = Device::Cpu;
        let bytes = Cell::new(0);
        let encoder = |part: &TextPart| {
            let source = self.adapted(part.name, &part.checkpoint);
            ClipText::new(&Weights::load(&source, &device, &bytes), &part.config)
        };
        let unet = self.adapted("unet", &self.unet.1);
        let unet = Weights::load(&unet, &device, &bytes);
        let vae = Weights::load(&self.vae.1, &device, &bytes);
        Ok(DiffusionWeights {
            encoders: self
                .encoders
                .iter()
                .map(encoder)
                .collect::<Result<_, _>>()?,
            unet: Unet::new(&unet, &self.unet.0, &device)?,
            vae: Vae::new(&vae, &self.vae.0, &device)?,
            description: self.description.clone(),
            is_xl: self.is_xl,
            zeros_for_absent: self.zeros_for_absent,
            device,
        })
    }

    /// A part's weights with what the adapters add to them.
    fn adapted<'a>(&'a self, part: &'a str, checkpoint: &'a Checkpoint) -> Adapted<'a> {
        Adapted {
            part,
            checkpoint,
            adapters: &self.adapters,
            layers: self.unet.0.layers(),
        }
    }

    /// Goes through the headers as loading goes through the weights.
    fn count_parts(&self) -> Result<Vec<(&'static str, u64)>, ModelError> {
        let nowhere = Device::Cpu;
        let mut parts = Vec::new();
        let mut known = BTreeSet::new();
        for part in &self.encoders {
            let bytes = Cell::new(0);
            let source = self.adapted(part.name, &part.checkpoint);
            ClipText::new(&Weights::headers(&source, &bytes), &part.config)?;
            parts.push((part.name, bytes.get()));
            known.extend(source.all_names());
        }
        let bytes = Cell::new(0);
        let source = self.adapted("unet", &self.unet.1);
        Unet::new(&Weights::headers(&source, &bytes), &self.unet.0, &nowhere)?;
        known.extend(source.all_names());
        for adapter in &self.adapters {
            adapter.check_used(&known)?;
        }
        parts.push(("unet", bytes.get()));
        let bytes = Cell::new(0);
        let weights = Weights::headers(&self.vae.1, &bytes);
        Vae::new(&weights, &self.vae.0, &nowhere)?;
        parts.push(("vae", bytes.get()));
        Ok(parts)
    }
}

fn adapters(options: &DiffusionOptions) -> Result<Vec<Adapter>, ModelError> {
    let open = |(path, strength): &(PathBuf, f32)| match strength.is_finite() {
        true => Adapter::open(path, *strength),
        false => Err(ModelError::InvalidConfig {
            file: path.display().to_string(),
            field: "strength".to_owned(),
            detail: format!("{strength} is not a number"),
        }),
    };
    options.adapters.iter().map(open).collect()
}

fn text_part(
    path: &Path,
    name: &'static str,
    tokenizer: &'static str,
) -> Result<TextPart, ModelError> {
    ClipTokenizer::stored_bytes(&path.join(tokenizer))?;
    Ok(TextPart {
        name,
        tokenizer,
        config: ClipTextConfig::read(name, &config::read(path, name)?)?,
        checkpoint: Checkpoint::open_variant(&path.join(name), ENCODER_STEM)?,
    })
}

/// Fails unless the parts fit to each other.
fn fit(
    unet_value: &Value,
    unet: &UnetConfig,
    vae: &VaeConfig,
    encoders: &[TextPart],
    is_xl: bool,
) -> Result<(), ModelError> {
    let fields = Fields::new("unet/config.json", unet_value.clone());
    if vae.latent_channels != unet.channels {
        let detail = format!("{}, the vae has {}", unet.channels, vae.latent_channels);
        return Err(fields.invalid("in_channels", detail));
    }
    let width: usize = encoders.iter().map(|part| part.config.width).sum();
    if let Some(other) = unet.contexts().find(|context| *context != width) {
        let detail = format!("{other}, the text encoders give rows of {width}");
        return Err(fields.invalid("cross_attention_dim", detail));
    }
    let lengths = encoders.iter().map(|part| part.config.positions);
    if lengths.clone().min() != lengths.max() {
        let fields = Fields::new("text_encoder_2/config.json", Value::Null);
        let detail = "is not that of the first text encoder";
        return Err(fields.invalid("max_position_embeddings", detail));
    }
    if unet.is_told_sizes() != is_xl {
        let detail = "\"text_time\" goes with the pipelines of SDXL, and only with them";
        return Err(fields.invalid("addition_embed_type", detail));
    }
    if is_xl {
        let Some(pooled) = encoders.last().and_then(|part| part.config.projected) else {
            return Err(ModelError::UnsupportedArchitecture {
                found: "a text_encoder_2 without a projection".to_owned(),
                supported: vec!["CLIPTextModelWithProjection"],
            });
        };
        unet.check_told(pooled, &fields)?;
    }
    Ok(())
}
