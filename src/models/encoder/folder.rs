//! A model's folder: what its small files and headers say, and the way to its weights.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::description::{Description, Positions};
use super::families;
use super::footprint;
use super::forward::Network;
use super::modules::{self, Modules};
use super::precision::EncoderPrecision;
use super::preparer::EncoderPreparer;
use super::text_encoder::MAX_STEP_TOKENS;
use super::weights::{self, Tensors};
use crate::kernels::Cpu;
use crate::models::ModelError;
use crate::models::checkpoint::Checkpoint;
use crate::models::fields::Fields;
use crate::models::files;

/// Where neither the tokenizer nor the model sets a limit.
const MOST_TOKENS: usize = 1 << 20;

/// An encoder's folder, opened: configuration and headers were read and checked, no weights.
///
/// Both layouts of the hub are understood: that of sentence-transformers (`modules.json` and a
/// folder for each module) and a bare transformers model, whose token vectors are then averaged
/// (of a causal model the last one is taken). Weights lie in `model.safetensors` or in the shards
/// of `model.safetensors.index.json`.
///
/// Cheap to clone and to share between threads.
#[derive(Clone)]
pub struct EncoderFolder {
    inner: Arc<Inner>,
}

impl fmt::Debug for EncoderFolder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EncoderFolder")
            .field("root", &self.inner.root)
            .field("architecture", &self.architecture())
            .field("dimensions", &self.dimensions())
            .field("max_tokens", &self.max_tokens())
            .field("weight_bytes", &self.weight_bytes())
            .finish_non_exhaustive()
    }
}

struct Inner {
    root: PathBuf,
    description: Description,
    modules: Modules,
    checkpoint: Checkpoint,
    cpu: Cpu,
    precision: EncoderPrecision,
    weight_bytes: u64,
    max_tokens: usize,
    lower_case: bool,
}

impl EncoderFolder {
    /// Opens a folder: reads `config.json`, the modules' configurations and the headers of the
    /// weights, and checks that all tensors are there in the shapes that the configuration says.
    ///
    /// # Errors
    /// A file that is [missing](ModelError::MissingFile), [of another
    /// kind](ModelError::WrongFileKind), [unreadable](ModelError::Unreadable) or
    /// [damaged](ModelError::Corrupt); a field that makes no sense
    /// ([`ModelError::InvalidConfig`]); an architecture or module that is not built in
    /// ([`ModelError::UnsupportedArchitecture`]); a tensor that is
    /// [missing](ModelError::MissingTensor), [misshapen](ModelError::WrongShape) or [of an element
    /// type that will not do](ModelError::WrongDtype).
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, ModelError> {
        Self::open_with(folder, EncoderPrecision::default())
    }

    /// The same, to be computed in other numbers.
    ///
    /// # Errors
    /// As [`EncoderFolder::open`].
    pub fn open_with(
        folder: impl Into<PathBuf>,
        precision: EncoderPrecision,
    ) -> Result<Self, ModelError> {
        Self::open_on(folder.into(), Cpu::detect(), precision)
    }

    /// Opens a folder once for each instruction set that the machine has and the kernels know;
    /// each with its name.
    ///
    /// # Errors
    /// As [`EncoderFolder::open`].
    #[cfg(feature = "testing")]
    pub fn open_for_each_instruction_set(
        folder: impl Into<PathBuf>,
        precision: EncoderPrecision,
    ) -> Result<Vec<(&'static str, Self)>, ModelError> {
        let root = folder.into();
        Cpu::all()
            .into_iter()
            .map(|(name, cpu)| Ok((name, Self::open_on(root.clone(), cpu, precision)?)))
            .collect()
    }

    fn open_on(root: PathBuf, cpu: Cpu, precision: EncoderPrecision) -> Result<Self, ModelError> {
        files::require_directory(&root)?;
        let list = files::read_optional_json(&root.join("modules.json"), "modules.json")?;
        let transformer = modules::transformer_folder(&root, list.as_ref())?;
        let config = files::read_json(&transformer.join("config.json"), "config.json")?;
        let config = Fields::new("config.json", config);
        let description = families::describe(&config)?;
        let modules = Modules::read(
            &root,
            list.as_ref(),
            transformer,
            description.hidden,
            description.causal,
        )?;
        let checkpoint = Checkpoint::open(&modules.transformer)?;
        let weight_bytes = weights::measure(cpu, precision, &description, &modules, &checkpoint)?;
        let sentence = sentence_fields(&modules)?;
        let max_tokens = max_tokens(&modules, &sentence, &description)?;
        let lower_case = sentence.flag("do_lower_case", false)?;
        Ok(Self {
            inner: Arc::new(Inner {
                root,
                description,
                modules,
                checkpoint,
                cpu,
                precision,
                weight_bytes,
                max_tokens,
                lower_case,
            }),
        })
    }

    /// What one worker takes alone, in bytes: [`weight_bytes`](Self::weight_bytes) and
    /// [`worker_bytes`](Self::worker_bytes).
    pub fn estimated_bytes(&self) -> u64 {
        self.weight_bytes().saturating_add(self.worker_bytes())
    }

    /// What each worker has of its own, in bytes: the buffers of a step of its usual size or of
    /// the longest text.
    pub fn worker_bytes(&self) -> u64 {
        let tokens = MAX_STEP_TOKENS.max(self.inner.max_tokens);
        footprint::activation_bytes(&self.inner.description, tokens, self.inner.max_tokens)
    }

    /// What the loaded weights take, in bytes: the part that several workers share.
    pub fn weight_bytes(&self) -> u64 {
        self.inner.weight_bytes
    }

    /// Length of an embedding.
    pub fn dimensions(&self) -> usize {
        self.inner.modules.dimensions
    }

    /// The most tokens of one text, special tokens included; longer texts are truncated.
    pub fn max_tokens(&self) -> usize {
        self.inner.max_tokens
    }

    /// In what numbers it computes.
    pub fn precision(&self) -> EncoderPrecision {
        self.inner.precision
    }

    /// The architecture, as `config.json` names it.
    pub fn architecture(&self) -> &str {
        &self.inner.description.architecture
    }

    /// Reads the tokenizer and the prompts.
    ///
    /// # Errors
    /// [`ModelError::MissingFile`] where there is no `tokenizer.json`, [`ModelError::Corrupt`]
    /// where it is none, and what [`EncoderFolder::open`] says of small files.
    pub fn preparer(&self) -> Result<EncoderPreparer, ModelError> {
        let inner = &self.inner;
        EncoderPreparer::read(
            &inner.root,
            &inner.modules.transformer,
            inner.max_tokens,
            inner.modules.dimensions,
            inner.lower_case,
        )
    }

    /// Loads the weights: in the numbers that were chosen, into the order in which the kernels read them.
    ///
    /// # Errors
    /// [`ModelError::NotFiniteWeights`] for a NaN or an infinity among them,
    /// [`ModelError::Corrupt`] for a file that was cut since it was opened, and what
    /// [`EncoderFolder::open`] says of files.
    pub fn load(&self) -> Result<EncoderWeights, ModelError> {
        let inner = &self.inner;
        let tensors = weights::load(
            inner.cpu,
            inner.precision,
            &inner.description,
            &inner.modules,
            &inner.checkpoint,
        )?;
        Ok(EncoderWeights {
            folder: self.clone(),
            tensors,
        })
    }
}

/// An encoder's weights in memory. They never change: put them into an [`Arc`] and give it to as
/// many [`TextEncoder`](super::TextEncoder)s as there are workers.
pub struct EncoderWeights {
    folder: EncoderFolder,
    tensors: Tensors,
}

impl fmt::Debug for EncoderWeights {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EncoderWeights")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl EncoderWeights {
    /// The folder that they came from.
    pub fn folder(&self) -> &EncoderFolder {
        &self.folder
    }

    /// What they take in memory, in bytes.
    pub fn bytes(&self) -> u64 {
        self.tensors.bytes()
    }

    pub(super) fn network(&self) -> Network<'_> {
        Network {
            cpu: self.folder.inner.cpu,
            description: &self.folder.inner.description,
            tensors: &self.tensors,
        }
    }

    pub(super) fn modules(&self) -> &Modules {
        &self.folder.inner.modules
    }
}

/// What `sentence_bert_config.json` says; old models name the file after their architecture.
fn sentence_fields(modules: &Modules) -> Result<Fields, ModelError> {
    let names = [
        "sentence_roberta_config.json",
        "sentence_distilbert_config.json",
        "sentence_camembert_config.json",
        "sentence_xlm-roberta_config.json",
    ];
    let other = names
        .into_iter()
        .find(|name| modules.transformer.join(name).exists());
    let usual = "sentence_bert_config.json";
    if modules.transformer.join(usual).exists() {
        read_fields(modules, usual)
    } else {
        read_fields(modules, other.unwrap_or(usual))
    }
}

/// A small file beside the transformer; an empty object where there is none.
fn read_fields(modules: &Modules, name: &str) -> Result<Fields, ModelError> {
    let value = files::read_optional_json(&modules.transformer.join(name), "configuration")?;
    Ok(Fields::new(name, value.unwrap_or_default()))
}

/// As sentence-transformers has it: `max_seq_length` if set, else the tokenizer's limit and the
/// model's; but never more than the model has positions for.
fn max_tokens(
    modules: &Modules,
    sentence: &Fields,
    description: &Description,
) -> Result<usize, ModelError> {
    let limit = match description.positions {
        Positions::Learned { .. } => description.max_positions,
        _ => MOST_TOKENS,
    };
    if let Some(length) = sentence.count("max_seq_length")? {
        return Ok(length.min(limit));
    }
    let tokenizer = read_fields(modules, "tokenizer_config.json")?;
    // An absent limit is written as 1e30.
    let length = tokenizer
        .number("model_max_length")?
        .filter(|length| *length >= 1.0 && *length <= MOST_TOKENS as f64)
        .map_or(MOST_TOKENS, |length| length as usize);
    Ok(length.min(description.max_positions).min(limit))
}
