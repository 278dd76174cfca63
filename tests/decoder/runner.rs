//! Drives a decoder as a scheduler would.

use std::path::Path;
use std::sync::Arc;

use modelpool::ModelError;
use modelpool::model::ModelInfo;
use modelpool::models::{CacheFormat, DecoderFiles, DecoderOptions, DecoderWeights, TextDecoder};
use modelpool::pool::capabilities::text_to_text::{
    BlockId, LogitRows, SequenceChunk, SequenceId, TextToTextCapable, WantedLogits,
};
use modelpool::pool::core::StepContext;

/// A loaded decoder.
pub struct Runner {
    pub decoder: TextDecoder,
    rows: LogitRows,
    pub threads: usize,
}

/// One part of a step: tokens at a position, over the blocks of a sequence.
pub struct Part<'a> {
    pub tokens: &'a [u32],
    pub position: usize,
    pub blocks: &'a [BlockId],
    pub logits: WantedLogits,
}

/// Blocks by number.
pub fn blocks(numbers: impl IntoIterator<Item = u32>) -> Vec<BlockId> {
    numbers.into_iter().map(BlockId).collect()
}

/// Options for small models with exact caches.
pub fn exact() -> DecoderOptions {
    DecoderOptions::default()
        .cache_format(CacheFormat::F32)
        .cache_tokens(320)
        .context_tokens(64)
}

impl Runner {
    pub fn open(path: &Path, options: &DecoderOptions) -> Self {
        let opened = DecoderFiles::open(path).and_then(|files| Self::load(&files, options));
        opened.unwrap_or_else(|error| panic!("{}: {error:?}", path.display()))
    }

    pub fn load(files: &DecoderFiles, options: &DecoderOptions) -> Result<Self, ModelError> {
        let weights = files.load()?;
        assert_eq!(
            weights.bytes(),
            files.weight_bytes(),
            "the estimate is exact"
        );
        Self::with(Arc::new(weights), options)
    }

    pub fn with(
        weights: Arc<DecoderWeights>,
        options: &DecoderOptions,
    ) -> Result<Self, ModelError> {
        let vocabulary = weights.files().vocabulary();
        let info = ModelInfo::new("decoder", weights.bytes() >> 20);
        Ok(Self {
            decoder: TextDecoder::new(info, weights, options)?,
            rows: LogitRows::new(vocabulary),
            threads: 1,
        })
    }

    /// Runs a step and gives its rows of logits.
    pub fn try_step(&mut self, parts: &[Part<'_>]) -> Result<Vec<Vec<f32>>, ModelError> {
        let chunks: Vec<SequenceChunk<'_>> = (0..)
            .zip(parts)
            .map(|(number, part)| SequenceChunk {
                sequence: SequenceId(number),
                tokens: part.tokens,
                position: part.position,
                blocks: part.blocks,
                logits: part.logits,
                picture: None,
            })
            .collect();
        let context = StepContext::new(self.threads);
        self.decoder.forward(&chunks, &mut self.rows, &context)?;
        Ok((0..self.rows.rows())
            .filter_map(|row| self.rows.row_mut(row).map(|row| row.to_vec()))
            .collect())
    }

    pub fn step(&mut self, parts: &[Part<'_>]) -> Vec<Vec<f32>> {
        self.try_step(parts).expect("a step that runs")
    }

    /// The logits of all of a sequence's tokens, run in chunks of `chunk` tokens.
    pub fn sequence(&mut self, tokens: &[u32], blocks: &[BlockId], chunk: usize) -> Vec<Vec<f32>> {
        let starts = (0..).step_by(chunk);
        let chunks = starts.zip(tokens.chunks(chunk));
        chunks
            .flat_map(|(position, tokens)| {
                self.step(&[Part {
                    tokens,
                    position,
                    blocks,
                    logits: WantedLogits::All,
                }])
            })
            .collect()
    }
}
