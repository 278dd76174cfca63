//! A pipeline's folder: what its small files and headers say, and the way to its weights.

use std::cell::Cell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use serde_json::Value;

use super::config::FluxConfig;
use super::gguf::GgufTransformer;
use super::preparer::FluxPreparer;
use super::transformer::{FluxTransformer, PATCH};
use crate::diffusion::{FlowSigmas, NoiseSchedule};
use crate::models::checkpoint::Checkpoint;
use crate::models::diffusion::{ClipText, ClipTextConfig, Vae, VaeConfig};
use crate::models::fields::Fields;
use crate::models::tensors::{TensorSource, Weights};
use crate::models::{
    DiffusionOptions, EncoderFolder, EncoderPrecision, EncoderWeights, ModelError, files,
};
use crate::pool::capabilities::text_to_image::{DiffusionDescription, GuidanceKind};

const INDEX: &str = "model_index.json";

/// The pipelines that are built in.
const PIPELINES: [&str; 2] = ["FluxPipeline", "FluxImg2ImgPipeline"];

/// How diffusers calls the weights of a part.
const STEM: &str = "diffusion_pytorch_model";

/// The most tokens of a prompt: of models that are given the guidance, and of those that are not.
const PROMPT_TOKENS: [usize; 2] = [512, 256];

/// The side of a usual picture, in latents.
const TRAINED: usize = 128;

/// The longest side that may be allowed, in pixels.
const MAX_SIDE: usize = 8192;

/// Values of the residual stream's width that a token has in a layer at once.
const ROWS_OF_A_TOKEN: u64 = 24;

/// Attention scores and the like, in bytes.
const BUFFER_BYTES: u64 = 64 << 20;

/// A FLUX pipeline's folder, opened: configurations and headers were read and checked, no weights.
///
/// The folder is as diffusers saves a `FluxPipeline`: `transformer`, `text_encoder` (CLIP),
/// `text_encoder_2` (T5), `tokenizer`, `tokenizer_2`, `vae` and `scheduler`.
///
/// Cheap to clone and to share between threads.
#[derive(Clone)]
pub struct FluxFolder {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    transformer: FluxConfig,
    transformer_files: Box<dyn TensorSource + Send + Sync>,
    clip: ClipTextConfig,
    clip_files: Checkpoint,
    t5: EncoderFolder,
    vae: VaeConfig,
    vae_files: Checkpoint,
    description: DiffusionDescription,
    /// Of the transformer, the autoencoder and CLIP.
    tensor_bytes: u64,
    prompt_tokens: usize,
    padding: u32,
}

impl fmt::Debug for FluxFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FluxFolder")
            .field("root", &self.inner.root)
            .field("transformer", &self.inner.transformer)
            .field("weight_bytes", &self.weight_bytes())
            .finish_non_exhaustive()
    }
}

impl FluxFolder {
    /// Whether the folder's `model_index.json` names a pipeline of FLUX.
    ///
    /// # Errors
    /// As [`open`](Self::open) for that file.
    pub fn is_in(folder: impl AsRef<Path>) -> Result<bool, ModelError> {
        let index = files::read_json(&folder.as_ref().join(INDEX), INDEX)?;
        let class = index.get("_class_name").and_then(Value::as_str);
        Ok(class.is_some_and(|class| PIPELINES.contains(&class)))
    }

    /// Opens a folder: reads the configurations and the headers of all weights, and checks that all
    /// tensors are there in the shapes that the configurations say.
    ///
    /// # Errors
    /// A file that is [missing](ModelError::MissingFile), [of another
    /// kind](ModelError::WrongFileKind), [unreadable](ModelError::Unreadable) or
    /// [damaged](ModelError::Corrupt); a field that makes no sense ([`ModelError::InvalidConfig`]); a
    /// class that is not built in ([`ModelError::UnsupportedArchitecture`]); adapters among the options,
    /// which are not for FLUX (likewise [`ModelError::InvalidConfig`]); a tensor that is
    /// [missing](ModelError::MissingTensor), [misshapen](ModelError::WrongShape) or [of an element type
    /// that will not do](ModelError::WrongDtype).
    pub fn open(
        folder: impl Into<PathBuf>,
        options: &DiffusionOptions,
    ) -> Result<Self, ModelError> {
        Self::open_with(folder.into(), None, options)
    }

    /// The same with the transformer's weights in a GGUF file, quantised or not, whose tensors have the
    /// names of FLUX's first code (`general.architecture` is `flux`). The folder needs no weights of a
    /// transformer then, only its `config.json`. Loaded weights are `f32` all the same.
    ///
    /// # Errors
    /// As [`open`](Self::open); and where the file's layers are not the configuration's
    /// ([`ModelError::InvalidConfig`]).
    pub fn open_with_gguf(
        folder: impl Into<PathBuf>,
        transformer: impl AsRef<Path>,
        options: &DiffusionOptions,
    ) -> Result<Self, ModelError> {
        Self::open_with(folder.into(), Some(transformer.as_ref()), options)
    }

    fn open_with(
        root: PathBuf,
        gguf: Option<&Path>,
        options: &DiffusionOptions,
    ) -> Result<Self, ModelError> {
        files::require_directory(&root)?;
        if !options.adapters.is_empty() {
            let fields = Fields::new("the options", Value::Null);
            return Err(fields.invalid("adapters", "FLUX is painted without adapters here"));
        }
        let config = read_config(&root, "transformer")?;
        let fields = Fields::new("transformer/config.json", config);
        let mut transformer = FluxConfig::read(&fields)?;
        let transformer_files: Box<dyn TensorSource + Send + Sync> = match gguf {
            Some(path) => Box::new(GgufTransformer::open(path, &mut transformer)?),
            None => Box::new(Checkpoint::open_variant(&root.join("transformer"), STEM)?),
        };
        let vae = VaeConfig::read("vae", &read_config(&root, "vae")?)?;
        let vae_files = Checkpoint::open_variant(&root.join("vae"), STEM)?;
        let clip = ClipTextConfig::read("text_encoder", &read_config(&root, "text_encoder")?)?;
        let clip_files = Checkpoint::open_variant(&root.join("text_encoder"), "model")?;
        // Its vectors are far from unit length, and conditions that are off add up over the steps.
        let t5 = root.join("text_encoder_2");
        let t5 = EncoderFolder::open_with(t5, EncoderPrecision::F32Exact)?;

        let agree = |file: &str, field: &str, found: usize, wanted: usize| match found == wanted {
            true => Ok(()),
            false => {
                let detail = format!("{found}, where the transformer takes {wanted}");
                Err(Fields::new(file, Value::Null).invalid(field, detail))
            }
        };
        let latent_channels = transformer.token_width / (PATCH * PATCH);
        let (clip_file, t5_file) = ("text_encoder/config.json", "text_encoder_2/config.json");
        agree(
            "vae/config.json",
            "latent_channels",
            vae.latent_channels,
            latent_channels,
        )?;
        agree(
            clip_file,
            "hidden_size",
            clip.width,
            transformer.pooled_width,
        )?;
        agree(t5_file, "d_model", t5.dimensions(), transformer.text_width)?;

        let bytes = Cell::new(0);
        let headers =
            |source: &dyn TensorSource, check: &dyn Fn(&Weights<'_>) -> Result<(), ModelError>| {
                check(&Weights::headers(source, &bytes))
            };
        headers(&*transformer_files, &|weights| {
            FluxTransformer::new(weights, &transformer).map(drop)
        })?;
        headers(&vae_files, &|weights| {
            Vae::new(weights, &vae, &Device::Cpu).map(drop)
        })?;
        headers(&clip_files, &|weights| {
            ClipText::new(weights, &clip).map(drop)
        })?;

        let schedule = NoiseSchedule::from_folder(&root)?;
        if !schedule.is_flow() {
            let fields = Fields::new("scheduler/scheduler_config.json", Value::Null);
            return Err(fields.invalid("_class_name", "the schedule is not one of flow matching"));
        }
        let (prompt_tokens, padding) = prompt_tokens(&root, &transformer, &t5)?;
        Ok(Self {
            inner: Arc::new(Inner {
                description: describe(&transformer, &vae, schedule, options),
                tensor_bytes: bytes.get(),
                root,
                transformer,
                transformer_files,
                clip,
                clip_files,
                t5,
                vae,
                vae_files,
                prompt_tokens,
                padding,
            }),
        })
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.inner.root
    }

    /// What is to be known of the model before it is loaded.
    pub fn description(&self) -> &DiffusionDescription {
        &self.inner.description
    }

    /// What the loaded weights take, in bytes: the part that several workers share.
    pub fn weight_bytes(&self) -> u64 {
        self.inner
            .tensor_bytes
            .saturating_add(self.inner.t5.weight_bytes())
    }

    /// What each worker has of its own for the largest picture that is allowed, in bytes.
    pub fn worker_bytes(&self) -> u64 {
        let Inner {
            transformer,
            description,
            ..
        } = &*self.inner;
        let pixels = description.max_pixels as u64;
        let side = (description.pixels_per_latent * PATCH) as u64;
        let tokens = pixels / (side * side) + self.inner.prompt_tokens as u64;
        let step = tokens
            .saturating_mul(ROWS_OF_A_TOKEN)
            .saturating_mul(transformer.width() as u64);
        step.max(self.inner.vae.most_values(pixels))
            .saturating_mul(4)
            .saturating_add(BUFFER_BYTES)
            .saturating_add(self.inner.t5.worker_bytes())
    }

    /// Reads the tokenizers.
    ///
    /// # Errors
    /// [`ModelError::MissingFile`] where there are none, [`ModelError::Corrupt`] for what is none.
    pub fn preparer(&self) -> Result<FluxPreparer, ModelError> {
        let inner = &self.inner;
        FluxPreparer::read(
            &inner.root,
            inner.clip.positions,
            inner.prompt_tokens,
            inner.padding,
        )
    }

    /// Loads the weights as `f32`.
    ///
    /// # Errors
    /// [`ModelError::NotFiniteWeights`] for a NaN or an infinity among them, [`ModelError::Corrupt`]
    /// for a file that was cut since it was opened, and what [`open`](Self::open) says of files.
    pub fn load(&self) -> Result<FluxWeights, ModelError> {
        self.load_on(&Device::Cpu)
    }

    /// Loads the weights as `f32` into a device's memory; those of T5 stay in the process's own.
    ///
    /// # Errors
    /// As [`load`](Self::load), or what the device says.
    pub fn load_on(&self, device: &Device) -> Result<FluxWeights, ModelError> {
        let inner = &self.inner;
        let bytes = Cell::new(0);
        let weights = |source| Weights::load(source, device, &bytes);
        Ok(FluxWeights {
            transformer: FluxTransformer::new(
                &weights(&*inner.transformer_files),
                &inner.transformer,
            )?,
            vae: Vae::new(&weights(&inner.vae_files), &inner.vae, device)?,
            clip: ClipText::new(&weights(&inner.clip_files), &inner.clip)?,
            t5: Arc::new(inner.t5.load()?),
            device: device.clone(),
            folder: self.clone(),
        })
    }
}

/// A pipeline's weights in memory. They never change: put them into an [`Arc`] and give it to as many
/// [`FluxPainter`](super::FluxPainter)s as there are workers.
pub struct FluxWeights {
    pub(super) folder: FluxFolder,
    pub(super) transformer: FluxTransformer,
    pub(super) vae: Vae,
    pub(super) clip: ClipText,
    pub(super) t5: Arc<EncoderWeights>,
    pub(super) device: Device,
}

impl fmt::Debug for FluxWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FluxWeights")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

fn read_config(root: &Path, part: &str) -> Result<Value, ModelError> {
    files::read_json(&root.join(part).join("config.json"), "config.json")
}

/// How many tokens of a prompt T5 reads, and what fills up shorter ones.
fn prompt_tokens(
    root: &Path,
    transformer: &FluxConfig,
    t5: &EncoderFolder,
) -> Result<(usize, u32), ModelError> {
    let file = root.join("tokenizer_2/tokenizer_config.json");
    let fields = files::read_optional_json(&file, "tokenizer_config.json")?;
    let fields = Fields::new(
        "tokenizer_2/tokenizer_config.json",
        fields.unwrap_or_default(),
    );
    let [embedded, distilled] = PROMPT_TOKENS;
    let usual = if transformer.has_guidance {
        embedded
    } else {
        distilled
    };
    let own = fields.number("model_max_length")?.unwrap_or(usual as f64);
    if own < 1.0 {
        return Err(fields.invalid("model_max_length", format!("{own} is too few")));
    }
    let config = Fields::new(
        "text_encoder_2/config.json",
        read_config(root, "text_encoder_2")?,
    );
    let padding = config.whole("pad_token_id")?.unwrap_or(0);
    let tokens = (own as usize).min(usual).min(t5.max_tokens());
    Ok((tokens, padding as u32))
}

fn describe(
    transformer: &FluxConfig,
    vae: &VaeConfig,
    schedule: NoiseSchedule,
    options: &DiffusionOptions,
) -> DiffusionDescription {
    let schedule = schedule.flow_sigmas(FlowSigmas::Even);
    let mut description = DiffusionDescription::new(vae.latent_channels, schedule);
    description.pixels_per_latent = vae.pixels_per_latent();
    description.size_multiple = PATCH * vae.pixels_per_latent();
    let side = TRAINED * vae.pixels_per_latent();
    description.default_size = [side; 2];
    // It was trained on pictures up to twice as large.
    description.max_pixels = options.max_pixels.unwrap_or(2 * side * side);
    // No picture is to be longer than eight times what the pixels make as a square.
    description.max_side = (8 * description.max_pixels.isqrt()).min(MAX_SIDE);
    description.latents_per_token = PATCH;
    // A picture is thousands of tokens: several at once would be no faster.
    description.max_batch = 1;
    if transformer.has_guidance {
        description.default_steps = 28;
        description.default_guidance = 3.5;
        description.guidance = GuidanceKind::Embedded;
    } else {
        description.default_steps = 4;
        description.default_guidance = 0.0;
        description.guidance = GuidanceKind::None;
    }
    description
}
