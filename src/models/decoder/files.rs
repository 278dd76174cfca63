//! A decoder's file or folder: what its header says, and the way to its weights.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cache::{BLOCK_TOKENS, CacheFormat};
use super::description::Description;
use super::forward;
use super::options::DecoderOptions;
use super::store::Store;
use super::weights::{self, Tensors};
use super::{families, gguf};
use crate::kernels::Cpu;
use crate::models::checkpoint::Checkpoint;
use crate::models::fields::Fields;
use crate::models::{Gguf, ModelError, files};

/// Threads that an estimate counts buffers for; each takes some hundred kilobytes.
const THREADS: usize = 8;

/// A decoder's files, opened: configuration and headers were read and checked, no weights.
///
/// Two layouts are understood: a GGUF file, and a transformers folder with `config.json` and
/// `model.safetensors` or the shards of `model.safetensors.index.json`.
///
/// Cheap to clone and to share between threads.
#[derive(Clone)]
pub struct DecoderFiles {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    description: Description,
    store: Store,
    cpu: Cpu,
    weight_bytes: u64,
}

impl fmt::Debug for DecoderFiles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DecoderFiles")
            .field("path", &self.inner.path)
            .field("architecture", &self.architecture())
            .field("vocabulary", &self.vocabulary())
            .field("context_tokens", &self.context_tokens())
            .field("weight_bytes", &self.weight_bytes())
            .finish_non_exhaustive()
    }
}

impl DecoderFiles {
    /// Opens a GGUF file, or a folder as transformers saves it: reads the description and the
    /// headers, and checks that all tensors are there in the shapes that the description says.
    ///
    /// # Errors
    /// A file that is [missing](ModelError::MissingFile), [of another
    /// kind](ModelError::WrongFileKind), [unreadable](ModelError::Unreadable) or
    /// [damaged](ModelError::Corrupt); a field that makes no sense
    /// ([`ModelError::InvalidConfig`]); an architecture that is not built in, such as a mixture of
    /// experts ([`ModelError::UnsupportedArchitecture`]); a tensor that is
    /// [missing](ModelError::MissingTensor), [misshapen](ModelError::WrongShape) or [of an element
    /// type that will not do](ModelError::WrongDtype).
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ModelError> {
        Self::open_on(path.into(), Cpu::detect())
    }

    /// Opens the model of a GGUF file whose header has been read already.
    ///
    /// # Errors
    /// As [`DecoderFiles::open`].
    pub fn from_gguf(file: Arc<Gguf>) -> Result<Self, ModelError> {
        Self::with_gguf(file, Cpu::detect())
    }

    /// Opens a model once for each instruction set that the machine has and the kernels know; each
    /// with its name.
    ///
    /// # Errors
    /// As [`DecoderFiles::open`].
    #[cfg(feature = "testing")]
    pub fn open_for_each_instruction_set(
        path: impl Into<PathBuf>,
    ) -> Result<Vec<(&'static str, Self)>, ModelError> {
        let path = path.into();
        Cpu::all()
            .into_iter()
            .map(|(name, cpu)| Ok((name, Self::open_on(path.clone(), cpu)?)))
            .collect()
    }

    fn open_on(path: PathBuf, cpu: Cpu) -> Result<Self, ModelError> {
        if path.is_file() {
            return Self::with_gguf(Arc::new(Gguf::open(path)?), cpu);
        }
        files::require_directory(&path)?;
        let config = files::read_json(&path.join("config.json"), "config.json")?;
        let config = Fields::new("config.json", config);
        Self::of_part(&path, &config, Checkpoint::open(&path)?, cpu)
    }

    /// The language model that is a part of the model in a folder: described by `config`, its tensors among
    /// those of `checkpoint`.
    pub(in crate::models) fn of_part(
        path: &Path,
        config: &Fields,
        checkpoint: Checkpoint,
        cpu: Cpu,
    ) -> Result<Self, ModelError> {
        let description = families::describe(config)?;
        let store = Store::hub(checkpoint, description.names.words);
        Self::new(path.to_owned(), description, store, cpu)
    }

    fn with_gguf(file: Arc<Gguf>, cpu: Cpu) -> Result<Self, ModelError> {
        let description = gguf::describe(&file)?;
        let path = file.path().to_owned();
        Self::new(path, description, Store::Gguf(file), cpu)
    }

    fn new(
        path: PathBuf,
        description: Description,
        store: Store,
        cpu: Cpu,
    ) -> Result<Self, ModelError> {
        let weight_bytes = weights::measure(cpu, &description, &store)?;
        Ok(Self {
            inner: Arc::new(Inner {
                path,
                description,
                store,
                cpu,
                weight_bytes,
            }),
        })
    }

    /// The file or folder.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The GGUF file, if it is one: its tokenizer and its chat template are read from there.
    pub fn gguf(&self) -> Option<&Arc<Gguf>> {
        match &self.inner.store {
            Store::Gguf(file) => Some(file),
            Store::Hub { .. } => None,
        }
    }

    /// The architecture, as the file names it.
    pub fn architecture(&self) -> &str {
        &self.inner.description.architecture
    }

    /// How many tokens the model knows: the length of a row of logits.
    pub fn vocabulary(&self) -> usize {
        self.inner.description.vocabulary
    }

    /// The most tokens of a sequence that the model was made for.
    pub fn context_tokens(&self) -> usize {
        self.inner.description.context
    }

    /// What the loaded weights take, in bytes: the part that several workers share.
    pub fn weight_bytes(&self) -> u64 {
        self.inner.weight_bytes
    }

    /// What keys and values of one position take in the cache, in bytes.
    pub fn cache_bytes_per_token(&self, format: CacheFormat) -> u64 {
        let description = &self.inner.description;
        format.position_bytes(
            description.layers.len(),
            description.kv_heads,
            description.head_width,
        )
    }

    /// What one worker takes besides the weights, in bytes: its cache and the buffers of a step,
    /// without the rows of logits (4 bytes for each token of the vocabulary), which belong to who
    /// reads them.
    ///
    /// # Errors
    /// [`ModelError::InvalidConfig`] for options that do not fit the model.
    pub fn worker_bytes(&self, options: &DecoderOptions) -> Result<u64, ModelError> {
        let sizes = options.sizes(self.context_tokens())?;
        let tokens = (sizes.blocks * BLOCK_TOKENS) as u64;
        let cache = tokens.saturating_mul(self.cache_bytes_per_token(sizes.format));
        let description = &self.inner.description;
        let step = sizes.step_tokens;
        let buffers = forward::activation_bytes(description, step, sizes.context, THREADS);
        Ok(cache.saturating_add(buffers))
    }

    /// What one worker takes alone, in bytes: [`DecoderFiles::weight_bytes`],
    /// [`DecoderFiles::worker_bytes`], and the header itself, which holds a GGUF file's vocabulary.
    ///
    /// # Errors
    /// As [`DecoderFiles::worker_bytes`].
    pub fn estimated_bytes(&self, options: &DecoderOptions) -> Result<u64, ModelError> {
        let header = self.gguf().map_or(0, |file| file.header_bytes());
        let shared = self.inner.weight_bytes.saturating_add(header);
        Ok(shared.saturating_add(self.worker_bytes(options)?))
    }

    /// Loads the weights, tensor by tensor, into the order in which the kernels read them.
    ///
    /// # Errors
    /// [`ModelError::NotFiniteWeights`] for a NaN or an infinity among them,
    /// [`ModelError::Corrupt`] for a file that was cut since it was opened, and what
    /// [`DecoderFiles::open`] says of files.
    pub fn load(&self) -> Result<DecoderWeights, ModelError> {
        self.load_as(false)
    }

    /// Loads the weights in single precision, whatever the file has: what they mean, without the
    /// rounding of activations that quantised products bring.
    ///
    /// # Errors
    /// As [`DecoderFiles::load`].
    #[cfg(feature = "testing")]
    pub fn load_exact(&self) -> Result<DecoderWeights, ModelError> {
        self.load_as(true)
    }

    fn load_as(&self, exact: bool) -> Result<DecoderWeights, ModelError> {
        let inner = &self.inner;
        let tensors = weights::load(inner.cpu, &inner.description, &inner.store, exact)?;
        Ok(DecoderWeights {
            files: self.clone(),
            tensors,
        })
    }
}

/// A decoder's weights in memory. They never change: put them into an [`Arc`] and give it to as
/// many [`TextDecoder`](super::TextDecoder)s as there are workers.
pub struct DecoderWeights {
    files: DecoderFiles,
    tensors: Tensors,
}

impl fmt::Debug for DecoderWeights {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DecoderWeights")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl DecoderWeights {
    /// The files that they came from.
    pub fn files(&self) -> &DecoderFiles {
        &self.files
    }

    /// What they take in memory, in bytes.
    pub fn bytes(&self) -> u64 {
        self.tensors.bytes()
    }

    pub(super) fn cpu(&self) -> Cpu {
        self.files.inner.cpu
    }

    pub(super) fn description(&self) -> &Description {
        &self.files.inner.description
    }

    pub(super) fn tensors(&self) -> &Tensors {
        &self.tensors
    }
}
