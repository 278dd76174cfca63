//! The servable model: shared weights, buffers of its own.

use std::fmt;
use std::sync::Arc;

use super::super::forward::{Extent, Scratch};
use super::super::head::normalise;
use super::super::source::Words;
use super::folder::TowerWeights;
use super::interpolation::Tables;
use super::patches::{Patches, Picture};
use crate::images::PixelTensor;
use crate::kernels::Team;
use crate::model::{CandleModel, ModelInfo};
use crate::models::ModelError;
use crate::pool::capabilities::image_embedding::ImageEmbeddingCapable;
use crate::pool::capabilities::text_embedding::Embedding;
use crate::pool::core::StepContext;

/// A vision tower that a worker serves, and the text tower beside it if there is one. It shares its weights
/// with other workers and owns the buffers of a step, which it keeps.
///
/// CLIP's and SigLIP's vectors are of unit length, so that the product of a picture's and a text's is their
/// cosine; DINOv2's and ViT's are the class's row after the last norm, as it is.
pub struct ImageTower {
    info: ModelInfo,
    weights: Arc<TowerWeights>,
    tables: Tables,
    seeing: Scratch,
    reading: Scratch,
}

impl fmt::Debug for ImageTower {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ImageTower")
            .field("info", &self.info)
            .field("weights", &self.weights)
            .finish_non_exhaustive()
    }
}

/// One answer for each input.
type Answers = Vec<Result<Embedding, ModelError>>;

impl ImageTower {
    /// A worker's tower over weights that others may use too.
    pub fn new(info: ModelInfo, weights: Arc<TowerWeights>) -> Self {
        Self {
            info,
            weights,
            tables: Tables::default(),
            seeing: Scratch::default(),
            reading: Scratch::default(),
        }
    }

    /// The rows [rows, hidden] of one picture after so many `layers` (0: those that go into the first), and
    /// with `norm` after the norm behind the last one.
    ///
    /// # Errors
    /// [`ModelError::WrongShape`] for pixels of a size that the tower does not take.
    #[cfg(feature = "testing")]
    pub fn picture_rows(
        &mut self,
        pixels: &PixelTensor,
        layers: usize,
        norm: bool,
        context: &StepContext,
    ) -> Result<Vec<f32>, ModelError> {
        let grid = self.grid_of(pixels)?;
        let extent = Extent { layers, norm };
        self.see(&[(pixels, grid)], extent, context.team());
        let mut rows = self.seeing.sequences();
        Ok(rows.next().unwrap_or_default().to_vec())
    }

    /// The same of a text.
    ///
    /// # Errors
    /// [`ModelError::NotOffered`] for a model without texts, [`ModelError::Tokenize`] for tokens that it does
    /// not take.
    #[cfg(feature = "testing")]
    pub fn text_rows(
        &mut self,
        tokens: &[u32],
        layers: usize,
        norm: bool,
        context: &StepContext,
    ) -> Result<Vec<f32>, ModelError> {
        self.check_text(tokens)?;
        let extent = Extent { layers, norm };
        self.read(&[tokens], extent, context.team());
        let mut rows = self.reading.sequences();
        Ok(rows.next().unwrap_or_default().to_vec())
    }

    /// What its buffers take, in bytes: as much as its largest steps so far took.
    #[cfg(feature = "testing")]
    pub fn held_bytes(&self) -> u64 {
        self.seeing.held_bytes() + self.reading.held_bytes() + self.tables.held_bytes()
    }

    /// Lines and columns of a picture's patches.
    fn grid_of(&self, pixels: &PixelTensor) -> Result<[usize; 2], ModelError> {
        let (sight, ..) = self.weights.sight();
        sight.grid_of(pixels.shape(), self.weights.folder().most_patches())
    }

    /// Runs the vision tower: its rows are left in the buffer.
    fn see(&mut self, pictures: &[(&PixelTensor, [usize; 2])], extent: Extent, team: &Team) {
        let (sight, tensors, network) = self.weights.sight();
        if let Some(kind) = sight.interpolation {
            let sizes: Vec<[usize; 2]> = pictures.iter().map(|(_, grid)| *grid).collect();
            let (table, width) = (&tensors.positions, sight.transformer.hidden);
            self.tables.ensure(kind, table, sight.grid(), width, &sizes);
        }
        let pictures = pictures.iter().map(|(pixels, grid)| Picture {
            pixels,
            grid: *grid,
            positions: self.tables.get(*grid).unwrap_or(&tensors.positions),
        });
        let patches = Patches {
            cpu: self.weights.cpu(),
            sight,
            tensors,
            pictures: pictures.collect(),
        };
        network.run(&patches, extent, team, &mut self.seeing);
    }

    /// Vectors of pictures, put end to end.
    fn picture_vectors(
        &mut self,
        pictures: &[(&PixelTensor, [usize; 2])],
        team: &Team,
    ) -> Vec<f32> {
        let (_, _, network) = self.weights.sight();
        let whole = network.whole();
        self.see(pictures, whole, team);
        let (sight, tensors, _) = self.weights.sight();
        let (cpu, width) = (self.weights.cpu(), sight.transformer.hidden);
        let rows = self.seeing.sequences();
        let pooled = match &tensors.pooling {
            Some(pooling) => pooling.apply(cpu, rows),
            None => rows.flat_map(|rows| &rows[..width]).copied().collect(),
        };
        let Some(projection) = &tensors.projection else {
            return pooled;
        };
        let mut vectors = vec![0.0; pictures.len() * projection.outputs];
        projection.apply_once(cpu, pictures.len(), &pooled, &mut vectors);
        vectors
    }

    /// Why a text cannot be read; the network itself takes any tokens of its vocabulary.
    fn check_text(&self, tokens: &[u32]) -> Result<(), ModelError> {
        let Some((reading, ..)) = self.weights.reading() else {
            return Err(ModelError::NotOffered { what: "texts" });
        };
        let most = reading.transformer.max_positions;
        let vocabulary = reading.transformer.vocabulary;
        let detail = if tokens.is_empty() {
            "it has no tokens".to_owned()
        } else if tokens.len() > most {
            format!("{} tokens, the model takes {most}", tokens.len())
        } else if let Some(token) = tokens.iter().find(|id| **id as usize >= vocabulary) {
            format!("token {token} is outside the vocabulary of {vocabulary}")
        } else {
            return Ok(());
        };
        Err(ModelError::Tokenize { detail })
    }

    /// Runs the text tower: its rows are left in the buffer.
    fn read(&mut self, texts: &[&[u32]], extent: Extent, team: &Team) {
        if let Some((_, _, network)) = self.weights.reading() {
            let words = Words { network, texts };
            network.run(&words, extent, team, &mut self.reading);
        }
    }

    /// Vectors of texts, put end to end.
    fn text_vectors(&mut self, texts: &[&[u32]], team: &Team) -> Vec<f32> {
        let Some((_, _, network)) = self.weights.reading() else {
            return Vec::new();
        };
        let whole = network.whole();
        self.read(texts, whole, team);
        let Some((reading, tensors, _)) = self.weights.reading() else {
            return Vec::new();
        };
        let width = reading.transformer.hidden;
        let mut pooled = Vec::with_capacity(texts.len() * width);
        for (text, rows) in texts.iter().zip(self.reading.sequences()) {
            let place = reading.pooling.place(text) * width;
            pooled.extend_from_slice(&rows[place..place + width]);
        }
        let projection = &tensors.projection;
        let mut vectors = vec![0.0; texts.len() * projection.outputs];
        let cpu = self.weights.cpu();
        projection.apply_once(cpu, texts.len(), &pooled, &mut vectors);
        vectors
    }

    /// Gives each sound input its vector.
    fn answers(&self, checks: Vec<Result<(), ModelError>>, mut vectors: Vec<f32>) -> Answers {
        let dimensions = self.weights.folder().dimensions();
        if self.weights.towers().unit {
            vectors.chunks_exact_mut(dimensions).for_each(normalise);
        }
        let mut vectors = vectors.chunks_exact(dimensions);
        let answer = |check: Result<(), ModelError>| {
            check?;
            // One vector was made for each sound input.
            let vector = vectors.next().map(<[f32]>::to_vec);
            vector.ok_or(ModelError::NotFiniteOutput)
        };
        checks.into_iter().map(answer).collect()
    }
}

impl CandleModel for ImageTower {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl ImageEmbeddingCapable for ImageTower {
    fn max_step_pictures(&self) -> usize {
        self.weights.folder().max_step_pictures()
    }

    fn tokens_of_a_picture(&self) -> usize {
        self.weights.folder().most_rows()
    }

    fn embed_pictures(
        &mut self,
        pictures: &[&PixelTensor],
        context: &StepContext,
    ) -> Result<Answers, ModelError> {
        let mut checks = Vec::with_capacity(pictures.len());
        let mut sound = Vec::with_capacity(pictures.len());
        for picture in pictures {
            let grid = self.grid_of(picture);
            checks.push(grid.map(|grid| sound.push((*picture, grid))));
        }
        let mut vectors = Vec::new();
        for part in sound.chunks(self.max_step_pictures()) {
            vectors.extend(self.picture_vectors(part, context.team()));
        }
        Ok(self.answers(checks, vectors))
    }

    fn embed_texts(
        &mut self,
        texts: &[&[u32]],
        context: &StepContext,
    ) -> Result<Answers, ModelError> {
        let checks: Vec<_> = texts.iter().map(|text| self.check_text(text)).collect();
        let sound = texts.iter().zip(&checks).filter(|(_, check)| check.is_ok());
        let sound: Vec<&[u32]> = sound.map(|(text, _)| *text).collect();
        let longest = sound.iter().map(|text| text.len()).max().unwrap_or(1);
        let count = (self.weights.folder().max_step_tokens() / longest).max(1);
        let mut vectors = Vec::new();
        for part in sound.chunks(count) {
            vectors.extend(self.text_vectors(part, context.team()));
        }
        Ok(self.answers(checks, vectors))
    }
}
