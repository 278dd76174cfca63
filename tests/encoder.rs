//! The text encoder against its references, and against broken files.

#[path = "encoder/bad_files.rs"]
mod bad_files;
#[path = "encoder/families.rs"]
mod families;
#[path = "encoder/minilm.rs"]
mod minilm;
#[path = "encoder/preparing.rs"]
mod preparing;
#[path = "support/real_models.rs"]
mod real_models;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use modelpool::model::ModelInfo;
use modelpool::models::{EncoderFolder, EncoderPreparer, ModelError, TextEncoder};
use modelpool::pool::capabilities::text_embedding::{
    EmbedInput, EmbedOptions, Embedding, TextEmbeddingCapable, TextPreparer,
};
use modelpool::pool::core::StepContext;

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
        let folder = EncoderFolder::open(folder)?;
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

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/encoder")
        .join(name)
}

fn read_texts(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("texts.json")).expect("texts.json");
    serde_json::from_str(&text).expect("a list of texts")
}

/// Rows of little-endian `f32`, as many as there are texts.
fn read_rows(path: &Path, rows: usize) -> Vec<Embedding> {
    let bytes = std::fs::read(path).expect("reference values");
    let values: Vec<f32> = bytes
        .as_chunks()
        .0
        .iter()
        .map(|word| f32::from_le_bytes(*word))
        .collect();
    values
        .chunks_exact(values.len() / rows)
        .map(<[f32]>::to_vec)
        .collect()
}

fn max_difference(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    let differences = left.iter().zip(right).map(|(a, b)| (a - b).abs());
    // Not `f32::max`, which would hide a NaN.
    differences.fold(0.0, |worst, next| if next <= worst { worst } else { next })
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
