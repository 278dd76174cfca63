//! A model's folder: what its small files and headers say, and the way to its weights.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::description::Description;
use super::super::footprint;
use super::super::forward::Network;
use super::description::{Reading, Sight, Towers};
use super::preparer::{TextLimits, TowerPreparer};
use super::weights::{self, ReadingTensors, SightTensors, TowerTensors};
use super::{families, patches, pooling};
use crate::images::ImagePreprocessor;
use crate::kernels::Cpu;
use crate::models::checkpoint::Checkpoint;
use crate::models::fields::Fields;
use crate::models::{ModelError, files};

/// Rows of one step: enough that the weights' way through the caches is paid for, and no more, so that the
/// next request waits little.
const STEP_ROWS: usize = 512;

/// Pictures of one step: a batch's first answers are not to wait for all of it.
const MOST_PICTURES: usize = 8;

/// Where a picture's size is left to its shape, how many times as many patches it may have as positions were
/// learned for.
const MOST_GROWTH: usize = 4;

/// Threads that an estimate counts buffers for.
const THREADS: usize = 8;

/// An image tower's folder, opened: configurations and headers were read and checked, no weights.
///
/// Understood are CLIP and SigLIP with both of their towers, DINOv2 (with registers, too) and ViT, as
/// transformers saves them: `config.json`, `preprocessor_config.json`, weights in `model.safetensors` or in
/// the shards of `model.safetensors.index.json`, and where there are texts, `tokenizer.json`.
///
/// Cheap to clone and to share between threads.
#[derive(Clone)]
pub struct TowerFolder {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    towers: Towers,
    preprocessor: ImagePreprocessor,
    checkpoint: Checkpoint,
    cpu: Cpu,
    weight_bytes: u64,
    /// The most patches of a picture.
    most_patches: usize,
    text: Option<TextLimits>,
}

impl fmt::Debug for TowerFolder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TowerFolder")
            .field("root", &self.inner.root)
            .field("family", &self.family())
            .field("dimensions", &self.dimensions())
            .field("weight_bytes", &self.weight_bytes())
            .finish_non_exhaustive()
    }
}

impl TowerFolder {
    /// The families that are understood, as `config.json` names them in `model_type`.
    pub const FAMILIES: &'static [&'static str] = &families::SUPPORTED;

    /// Opens a folder: reads its configurations and the headers of the weights, and checks that all tensors
    /// are there in the shapes that the configuration says, and that pictures are prepared to a size that
    /// the tower takes.
    ///
    /// # Errors
    /// A file that is [missing](ModelError::MissingFile), [of another kind](ModelError::WrongFileKind),
    /// [unreadable](ModelError::Unreadable) or [damaged](ModelError::Corrupt); a field that makes no sense
    /// ([`ModelError::InvalidConfig`]); an architecture or an image processor that is not built in
    /// ([`ModelError::UnsupportedArchitecture`]); a tensor that is [missing](ModelError::MissingTensor),
    /// [misshapen](ModelError::WrongShape) or [of an element type that will not
    /// do](ModelError::WrongDtype).
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, ModelError> {
        Self::open_on(folder.into(), Cpu::detect())
    }

    /// Opens a folder once for each instruction set that the machine has and the kernels know; each with its
    /// name.
    ///
    /// # Errors
    /// As [`TowerFolder::open`].
    #[cfg(feature = "testing")]
    pub fn open_for_each_instruction_set(
        folder: impl Into<PathBuf>,
    ) -> Result<Vec<(&'static str, Self)>, ModelError> {
        let root = folder.into();
        Cpu::all()
            .into_iter()
            .map(|(name, cpu)| Ok((name, Self::open_on(root.clone(), cpu)?)))
            .collect()
    }

    fn open_on(root: PathBuf, cpu: Cpu) -> Result<Self, ModelError> {
        files::require_directory(&root)?;
        let config = files::read_json(&root.join("config.json"), "config.json")?;
        let towers = families::describe(&Fields::new("config.json", config))?;
        let preprocessor = ImagePreprocessor::from_folder(&root)?;
        let most_patches = most_patches(&towers.sight, &preprocessor)?;
        let text = towers.reading.as_ref();
        let text = text
            .map(|reading| TextLimits::read(&root, reading))
            .transpose()?;
        let checkpoint = Checkpoint::open(&root)?;
        let weight_bytes = weights::measure(cpu, &towers, &checkpoint)?;
        Ok(Self {
            inner: Arc::new(Inner {
                root,
                towers,
                preprocessor,
                checkpoint,
                cpu,
                weight_bytes,
                most_patches,
                text,
            }),
        })
    }

    /// What the loaded weights take, in bytes: the part that several workers share.
    pub fn weight_bytes(&self) -> u64 {
        self.inner.weight_bytes
    }

    /// What each worker has of its own at most, in bytes: the buffers of a step of pictures, and of one of
    /// texts.
    pub fn worker_bytes(&self) -> u64 {
        let sight = &self.inner.towers.sight;
        let longest = self.most_rows();
        let pictures = self.max_step_pictures();
        let rows = longest.saturating_mul(pictures);
        let vision = step_bytes(&sight.transformer, rows, longest);
        let pooling = match sight.names.pooling {
            "" => 0,
            _ => pooling::buffer_values(&sight.transformer, longest),
        };
        let tables = match (sight.interpolation, self.inner.preprocessor.fixed_size()) {
            (None, _) => 0,
            (Some(_), Some(_)) => longest,
            (Some(_), None) => rows,
        };
        let tables = tables.saturating_mul(sight.transformer.hidden);
        let vectors = 2 * pictures * (sight.transformer.hidden + sight.dimensions());
        let cut = THREADS * patches::buffer_values(sight);
        let own = (pooling + cut + vectors).saturating_add(tables);
        let text = self.inner.towers.reading.as_ref().map_or(0, |reading| {
            let most = reading.transformer.max_positions;
            step_bytes(&reading.transformer, STEP_ROWS.max(most), most)
        });
        vision.saturating_add(4 * own as u64).saturating_add(text)
    }

    /// Length of an embedding.
    pub fn dimensions(&self) -> usize {
        self.inner.towers.sight.dimensions()
    }

    /// Whether texts are embedded, too.
    pub fn has_texts(&self) -> bool {
        self.inner.towers.reading.is_some()
    }

    /// The family, as `config.json` names it.
    pub fn family(&self) -> &str {
        self.inner.towers.family
    }

    /// Reads what makes pictures into pixels and, where there are texts, the tokenizer.
    ///
    /// # Errors
    /// [`ModelError::MissingFile`] where there is no `tokenizer.json`, [`ModelError::Corrupt`] where it is
    /// none, and what [`TowerFolder::open`] says of small files.
    pub fn preparer(&self) -> Result<TowerPreparer, ModelError> {
        let inner = &self.inner;
        TowerPreparer::read(&inner.root, inner.preprocessor.clone(), inner.text.as_ref())
    }

    /// Loads the weights: as `f32`, into the order in which the kernels read them.
    ///
    /// # Errors
    /// [`ModelError::NotFiniteWeights`] for a NaN or an infinity among them, [`ModelError::Corrupt`] for a
    /// file that was cut since it was opened, and what [`TowerFolder::open`] says of files.
    pub fn load(&self) -> Result<TowerWeights, ModelError> {
        let inner = &self.inner;
        Ok(TowerWeights {
            folder: self.clone(),
            tensors: weights::load(inner.cpu, &inner.towers, &inner.checkpoint)?,
        })
    }

    pub(super) fn max_step_pictures(&self) -> usize {
        (STEP_ROWS / self.most_rows()).clamp(1, MOST_PICTURES)
    }

    /// Tokens of texts that one step takes.
    pub(super) fn max_step_tokens(&self) -> usize {
        STEP_ROWS
    }

    pub(super) fn most_patches(&self) -> usize {
        self.inner.most_patches
    }

    /// Rows of the largest picture.
    pub(super) fn most_rows(&self) -> usize {
        let leading = self.inner.towers.sight.leading();
        self.inner.most_patches.saturating_add(leading)
    }
}

/// What a step of so many rows holds, the longest sequence's being `longest`.
fn step_bytes(description: &Description, rows: usize, longest: usize) -> u64 {
    let one = footprint::activation_bytes(description, rows, longest);
    one.saturating_add(footprint::team_bytes(
        description,
        rows,
        longest,
        THREADS - 1,
    ))
}

/// The most patches that a picture has; fails where pictures are prepared to a size that the tower does not
/// take.
fn most_patches(sight: &Sight, preprocessor: &ImagePreprocessor) -> Result<usize, ModelError> {
    let learned = sight.grid().saturating_mul(sight.grid());
    if sight.interpolation.is_none() {
        preprocessor.require_pictures_of(Some([sight.side; 2]), sight.patch)?;
        return Ok(learned);
    }
    let Some([height, width]) = preprocessor.fixed_size() else {
        return Ok(learned.saturating_mul(MOST_GROWTH));
    };
    let [lines, columns] = [height, width].map(|side| side / sight.patch);
    if lines == 0 || columns == 0 {
        return Err(ModelError::InvalidConfig {
            file: "preprocessor_config.json".to_owned(),
            field: "crop_size".to_owned(),
            detail: format!("{height}x{width} are less than a patch of {}", sight.patch),
        });
    }
    Ok(learned.max(lines.saturating_mul(columns)))
}

/// The towers' weights in memory. They never change: put them into an [`Arc`] and give it to as many
/// [`ImageTower`](super::ImageTower)s as there are workers.
pub struct TowerWeights {
    folder: TowerFolder,
    tensors: TowerTensors,
}

impl fmt::Debug for TowerWeights {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TowerWeights")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl TowerWeights {
    /// The folder that they came from.
    pub fn folder(&self) -> &TowerFolder {
        &self.folder
    }

    /// What they take in memory, in bytes.
    pub fn bytes(&self) -> u64 {
        self.tensors.bytes()
    }

    pub(super) fn cpu(&self) -> Cpu {
        self.folder.inner.cpu
    }

    pub(super) fn towers(&self) -> &Towers {
        &self.folder.inner.towers
    }

    /// The vision tower, and its network.
    pub(super) fn sight(&self) -> (&Sight, &SightTensors, Network<'_>) {
        let sight = &self.towers().sight;
        let tensors = &self.tensors.sight;
        let network = Network {
            cpu: self.cpu(),
            description: &sight.transformer,
            tensors: &tensors.transformer,
        };
        (sight, tensors, network)
    }

    /// The text tower, if there is one, and its network.
    pub(super) fn reading(&self) -> Option<(&Reading, &ReadingTensors, Network<'_>)> {
        let reading = self.towers().reading.as_ref()?;
        let tensors = self.tensors.reading.as_ref()?;
        let network = Network {
            cpu: self.cpu(),
            description: &reading.transformer,
            tensors: &tensors.transformer,
        };
        Some((reading, tensors, network))
    }
}
