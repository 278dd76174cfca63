//! The text encoder against its references, and against broken files.

#[path = "encoder/bad_files.rs"]
mod bad_files;
#[path = "support/checkpoints.rs"]
mod checkpoints;
#[path = "encoder/families.rs"]
mod families;
#[path = "encoder/minilm.rs"]
mod minilm;
#[path = "encoder/preparing.rs"]
mod preparing;
#[path = "support/real_models.rs"]
mod real_models;

use std::path::Path;
use std::sync::Arc;

use modelpool::model::ModelInfo;
use modelpool::models::{
    EncoderFolder, EncoderPrecision, EncoderPreparer, ModelError, TextEncoder,
};
use modelpool::pool::capabilities::text_embedding::{
    EmbedInput, EmbedOptions, Embedding, TextEmbeddingCapable, TextPreparer,
};
use modelpool::pool::core::StepContext;

use checkpoints::{Scrap, data, max_difference, read_rows, read_texts};

/// A loaded model with its tokenizer.
struct Loaded {
    preparer: EncoderPreparer,
    encoder: TextEncoder,
}

impl Loaded {
    fn open(folder: &Path) -> Self {
        Self::try_open(folder).unwrap_or_else(|error| panic!("{}: {error:?}", folder.display()))
    }

    fn try_open(folder: &Path) -> Result<Self, ModelError> {
        Self::load(&EncoderFolder::open(folder)?)
    }

    fn load(folder: &EncoderFolder) -> Result<Self, ModelError> {
        let weights = Arc::new(folder.load()?);
        assert_eq!(
            weights.bytes(),
            folder.weight_bytes(),
            "the estimate is exact"
        );
        let info = ModelInfo::new("encoder", folder.estimated_bytes() >> 20);
        Ok(Self {
            preparer: folder.preparer()?,
            encoder: TextEncoder::new(info, weights),
        })
    }

    fn prepare(&self, text: &str) -> EmbedInput {
        self.preparer
            .prepare(text.to_owned(), &EmbedOptions::default())
            .expect("a text that can be tokenised")
    }

    fn step(&mut self, inputs: &[EmbedInput], threads: usize) -> Vec<Embedding> {
        let inputs: Vec<&EmbedInput> = inputs.iter().collect();
        self.encoder
            .embed_step(&inputs, &StepContext::new(threads))
            .expect("a step that runs")
            .into_iter()
            .map(|answer| answer.expect("an embedding"))
            .collect()
    }
}

fn cosine(left: &[f32], right: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(x, y)| f64::from(*x) * f64::from(*y))
            .sum()
    };
    dot(left, right) / (dot(left, left) * dot(right, right)).sqrt()
}
