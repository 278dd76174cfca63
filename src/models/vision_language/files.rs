//! A vision-language model's folder: what its headers say, and the way to its weights.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::families::{self, Family, Prompt};
use super::tower;
use super::weights::{self, SightTensors};
use crate::images::ImagePreprocessor;
use crate::kernels::Cpu;
use crate::models::checkpoint::Checkpoint;
use crate::models::decoder::{DecoderFiles, DecoderOptions, DecoderWeights};
use crate::models::{ModelError, files};

/// Threads that an estimate counts buffers for.
const THREADS: usize = 8;

/// A vision-language model's folder, opened: configuration and headers were read and checked, no
/// weights.
///
/// Cheap to clone and to share between threads.
#[derive(Clone)]
pub struct VisionLanguageFiles {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    family: Family,
    preprocessor: ImagePreprocessor,
    decoder: DecoderFiles,
    checkpoint: Checkpoint,
    cpu: Cpu,
    sight_bytes: u64,
}

impl fmt::Debug for VisionLanguageFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VisionLanguageFiles")
            .field("path", &self.inner.path)
            .field("family", &self.inner.family.name)
            .field("decoder", &self.inner.decoder)
            .field("weight_bytes", &self.weight_bytes())
            .finish_non_exhaustive()
    }
}

impl VisionLanguageFiles {
    /// Opens a folder as transformers saves it: reads `config.json`, `preprocessor_config.json` and the
    /// headers of the weights, and checks that all tensors are there in the shapes that the description
    /// says.
    ///
    /// # Errors
    /// As [`DecoderFiles::open`] for either half; [`ModelError::InvalidConfig`] where the preprocessor's
    /// pictures are not of the size that the tower takes.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ModelError> {
        let path = path.into();
        files::require_directory(&path)?;
        let config = files::read_json(&path.join("config.json"), "config.json")?;
        let checkpoint = Checkpoint::open(&path)?;
        let family = families::describe(config, &checkpoint)?;
        let preprocessor = match &family.preprocessor {
            Some(text) => ImagePreprocessor::from_json(text)?,
            None => ImagePreprocessor::from_folder(&path)?,
        };
        let tower = &family.sight.tower;
        preprocessor.require_pictures_of(tower.size, tower.patch * tower.merge)?;
        let cpu = Cpu::detect();
        let sight_bytes = weights::measure(cpu, &family.sight, &checkpoint)?;
        let decoder = DecoderFiles::of_part(&path, &family.text, checkpoint.clone(), cpu)?;
        if let Prompt::Chat { placeholder, .. } = family.prompt
            && placeholder as usize >= decoder.vocabulary()
        {
            return Err(ModelError::InvalidConfig {
                file: "config.json".to_owned(),
                field: "image_token_id".to_owned(),
                detail: format!("{placeholder} is no token"),
            });
        }
        Ok(Self {
            inner: Arc::new(Inner {
                path,
                family,
                preprocessor,
                decoder,
                checkpoint,
                cpu,
                sight_bytes,
            }),
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The family, as `config.json` names it.
    pub fn family(&self) -> &str {
        self.inner.family.name
    }

    /// The language model's files.
    pub fn decoder(&self) -> &DecoderFiles {
        &self.inner.decoder
    }

    /// What makes of a picture what the model takes.
    pub fn preprocessor(&self) -> &ImagePreprocessor {
        &self.inner.preprocessor
    }

    /// How many rows of the language model a picture of so many pixels in height and width becomes, after
    /// it was prepared.
    pub fn rows_of(&self, height: usize, width: usize) -> usize {
        let sight = &self.inner.family.sight;
        let side = (sight.tower.patch * sight.tower.merge).max(1);
        let kept = sight.tower.has_class() && !sight.drops_class();
        (height / side) * (width / side) + usize::from(kept)
    }

    /// What the loaded weights of both halves take, in bytes: the part that several workers share.
    pub fn weight_bytes(&self) -> u64 {
        let decoder = self.inner.decoder.weight_bytes();
        decoder.saturating_add(self.inner.sight_bytes)
    }

    /// What one worker takes besides the weights, in bytes: what its decoder takes, the buffers for the
    /// largest picture, and the rows of all pictures that its cache has room for.
    ///
    /// # Errors
    /// [`ModelError::InvalidConfig`] for options that do not fit the model.
    pub fn worker_bytes(&self, options: &DecoderOptions) -> Result<u64, ModelError> {
        let inner = &self.inner;
        let sight = &inner.family.sight;
        let decoder = inner.decoder.worker_bytes(options)?;
        let tokens = options.cache(inner.decoder.context_tokens())?;
        let context = options.context(inner.decoder.context_tokens())?;
        let square = sight.tower.merge * sight.tower.merge;
        let largest = context.saturating_mul(square);
        let rows = match inner.preprocessor.most_pixels() {
            Some(pixels) => largest.min(pixels / (sight.tower.patch * sight.tower.patch) + 1),
            None => largest,
        };
        let picture = tower::activation_bytes(sight, rows, THREADS);
        let rows = 4 * (tokens as u64).saturating_mul(sight.outputs() as u64);
        Ok(decoder.saturating_add(picture).saturating_add(rows))
    }

    /// Loads the weights of both halves.
    ///
    /// # Errors
    /// As [`DecoderFiles::load`].
    pub fn load(&self) -> Result<VisionLanguageWeights, ModelError> {
        let inner = &self.inner;
        Ok(VisionLanguageWeights {
            files: self.clone(),
            decoder: Arc::new(inner.decoder.load()?),
            sight: weights::load(inner.cpu, &inner.family.sight, &inner.checkpoint)?,
        })
    }

    pub(super) fn described(&self) -> &Family {
        &self.inner.family
    }

    pub(super) fn cpu(&self) -> Cpu {
        self.inner.cpu
    }
}

/// A vision-language model's weights in memory. They never change: put them into an [`Arc`] and give it
/// to as many [`VisionLanguageModel`](super::VisionLanguageModel)s as there are workers.
pub struct VisionLanguageWeights {
    files: VisionLanguageFiles,
    decoder: Arc<DecoderWeights>,
    sight: SightTensors,
}

impl fmt::Debug for VisionLanguageWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VisionLanguageWeights")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl VisionLanguageWeights {
    /// The files that they came from.
    pub fn files(&self) -> &VisionLanguageFiles {
        &self.files
    }

    /// What they take in memory, in bytes.
    pub fn bytes(&self) -> u64 {
        self.decoder.bytes().saturating_add(self.sight.bytes())
    }

    pub(super) fn decoder(&self) -> &Arc<DecoderWeights> {
        &self.decoder
    }

    pub(super) fn sight(&self) -> &SightTensors {
        &self.sight
    }
}
