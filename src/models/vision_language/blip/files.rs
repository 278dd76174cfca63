//! A BLIP model's folder: what its headers say, and the way to its weights.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::tower;
use super::MARKS;
use super::config::{self, Blip};
use super::model::BLOCK_TOKENS;
use super::weights::{self, BlipTensors};
use crate::images::ImagePreprocessor;
use crate::kernels::Cpu;
use crate::models::checkpoint::Checkpoint;
use crate::models::decoder::DecoderOptions;
use crate::models::{ModelError, files};
use crate::pool::capabilities::text_to_text::DecoderLimits;

/// Threads that an estimate counts buffers for.
const THREADS: usize = 8;

/// A BLIP model's folder, opened: configuration and headers were read and checked, no weights.
///
/// Cheap to clone and to share between threads.
#[derive(Clone)]
pub struct BlipFiles {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    blip: Blip,
    preprocessor: ImagePreprocessor,
    checkpoint: Checkpoint,
    cpu: Cpu,
    weight_bytes: u64,
}

impl fmt::Debug for BlipFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlipFiles")
            .field("path", &self.inner.path)
            .field("answers_questions", &self.answers_questions())
            .field("weight_bytes", &self.weight_bytes())
            .finish_non_exhaustive()
    }
}

impl BlipFiles {
    /// Opens a folder as transformers saves it: a model that captions, or one that answers.
    ///
    /// # Errors
    /// As [`VisionLanguageFiles::open`](super::super::VisionLanguageFiles::open).
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ModelError> {
        let path = path.into();
        files::require_directory(&path)?;
        let config = files::read_json(&path.join("config.json"), "config.json")?;
        let blip = config::describe(config)?;
        let preprocessor = ImagePreprocessor::from_folder(&path)?;
        preprocessor.require_pictures_of(blip.sight.tower.size, blip.sight.tower.patch)?;
        let cpu = Cpu::detect();
        let checkpoint = Checkpoint::open(&path)?;
        let weight_bytes = weights::measure(cpu, &blip, &checkpoint)?;
        Ok(Self {
            inner: Arc::new(Inner {
                path,
                blip,
                preprocessor,
                checkpoint,
                cpu,
                weight_bytes,
            }),
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Whether the model answers questions; otherwise it writes captions.
    pub fn answers_questions(&self) -> bool {
        self.inner.blip.answers
    }

    /// How many tokens the model knows: the length of a row of logits.
    pub fn vocabulary(&self) -> usize {
        self.inner.blip.text.vocabulary
    }

    /// What makes of a picture what the model takes.
    pub fn preprocessor(&self) -> &ImagePreprocessor {
        &self.inner.preprocessor
    }

    /// The most tokens of a text that a worker with these options writes.
    ///
    /// # Errors
    /// [`ModelError::InvalidConfig`] for options that do not fit the model.
    pub fn context(&self, options: &DecoderOptions) -> Result<usize, ModelError> {
        options.context(self.inner.blip.text.positions)
    }

    /// What the loaded weights take, in bytes: the part that several workers share.
    pub fn weight_bytes(&self) -> u64 {
        self.inner.weight_bytes
    }

    /// What one worker takes besides the weights, in bytes: its cache, the buffers for a picture and for a
    /// step, and of as many pictures as the cache has blocks, the keys and values that each has in all
    /// layers.
    ///
    /// # Errors
    /// [`ModelError::InvalidConfig`] for options that do not fit the model.
    pub fn worker_bytes(&self, options: &DecoderOptions) -> Result<u64, ModelError> {
        let limits = self.limits(options)?;
        let Blip { sight, text, .. } = &self.inner.blip;
        let rows = sight.tower.fixed_rows().unwrap_or_default();
        let beside = if self.answers_questions() {
            text.positions
        } else {
            rows
        };
        let values = |count: usize| 4 * (count as u64).saturating_mul(text.row_values() as u64);
        let cache = values(limits.blocks * BLOCK_TOKENS);
        let pictures = values(beside).saturating_mul(limits.blocks as u64);
        // While a question is read, those of the picture stand beside it.
        let reading = values(rows);
        let step = limits.step_tokens.max(rows).max(text.positions);
        let row = 6 * text.hidden + text.intermediate;
        let step = 4 * (step as u64).saturating_mul(row as u64);
        let picture = tower::activation_bytes(sight, rows, THREADS);
        let parts = [pictures, reading, step, picture];
        Ok(parts.into_iter().fold(cache, u64::saturating_add))
    }

    /// Loads the weights.
    ///
    /// # Errors
    /// [`ModelError::NotFiniteWeights`] for a NaN or an infinity among them, [`ModelError::Corrupt`] for a
    /// file that was cut since it was opened.
    pub fn load(&self) -> Result<BlipWeights, ModelError> {
        let inner = &self.inner;
        Ok(BlipWeights {
            files: self.clone(),
            tensors: weights::load(inner.cpu, &inner.blip, &inner.checkpoint)?,
        })
    }

    /// What a worker with these options can hold and take. The marks of a picture need places, too.
    pub(super) fn limits(&self, options: &DecoderOptions) -> Result<DecoderLimits, ModelError> {
        let text = &self.inner.blip.text;
        let context = self.context(options)?;
        let cache = options.cache(text.positions)? + MARKS;
        Ok(DecoderLimits {
            context_tokens: context + MARKS,
            vocabulary: text.vocabulary,
            block_tokens: BLOCK_TOKENS,
            blocks: cache.div_ceil(BLOCK_TOKENS),
            step_tokens: options.step(text.positions)?,
        })
    }

    pub(super) fn described(&self) -> &Blip {
        &self.inner.blip
    }

    pub(super) fn cpu(&self) -> Cpu {
        self.inner.cpu
    }
}

/// A BLIP model's weights in memory. They never change: put them into an [`Arc`] and give it to as many
/// [`BlipModel`](super::BlipModel)s as there are workers.
pub struct BlipWeights {
    files: BlipFiles,
    tensors: BlipTensors,
}

impl fmt::Debug for BlipWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlipWeights")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl BlipWeights {
    /// The files that they came from.
    pub fn files(&self) -> &BlipFiles {
        &self.files
    }

    /// What they take in memory, in bytes.
    pub fn bytes(&self) -> u64 {
        self.tensors.bytes()
    }

    pub(super) fn tensors(&self) -> &BlipTensors {
        &self.tensors
    }
}
