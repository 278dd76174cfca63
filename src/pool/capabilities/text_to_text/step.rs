//! What a decoder is asked in one step, and where it answers.

use std::fmt;

use super::picture::PlacedPicture;

/// What a decoder can hold and take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecoderLimits {
    /// The most tokens of one sequence, prompt and answer together.
    pub context_tokens: usize,
    /// How many tokens the vocabulary has: the length of a row of logits.
    pub vocabulary: usize,
    /// How many positions of a sequence one block of the cache holds.
    pub block_tokens: usize,
    /// How many blocks the cache of this worker has.
    pub blocks: usize,
    /// How many tokens one step should take in all: enough that the weights' way through the
    /// caches is paid for, few enough that running streams do not wait long for a long prompt. At least 2.
    pub step_tokens: usize,
}

/// A block of a worker's cache: a number below [`DecoderLimits::blocks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

impl BlockId {
    /// The block's place in the cache.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A sequence; never used twice by one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

/// Of which tokens of a chunk the logits are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WantedLogits {
    /// Of none: more of the prompt is to come.
    None,
    /// Of the last one.
    Last,
    /// Of each.
    All,
}

/// Some tokens of one sequence, to be run in one step.
#[derive(Debug, Clone, Copy)]
pub struct SequenceChunk<'a> {
    /// Whose tokens they are.
    pub sequence: SequenceId,
    /// The tokens, at least one; each below [`DecoderLimits::vocabulary`], or the
    /// [mark](super::is_mark) of a row of the picture.
    pub tokens: &'a [u32],
    /// The position of the first of them: how many tokens the cache holds of the sequence already.
    pub position: usize,
    /// The sequence's blocks from its beginning on, enough for all positions up to the last.
    pub blocks: &'a [BlockId],
    /// Of which tokens the logits are wanted.
    pub logits: WantedLogits,
    /// The picture that is part of the sequence.
    pub picture: Option<PlacedPicture<'a>>,
}

impl SequenceChunk<'_> {
    /// How many rows of logits the chunk wants.
    pub fn wanted_rows(&self) -> usize {
        match self.logits {
            WantedLogits::None => 0,
            WantedLogits::Last => 1,
            WantedLogits::All => self.tokens.len(),
        }
    }
}

/// The logits of one step: rows of `vocabulary` values. The memory is kept from step to step.
pub struct LogitRows {
    values: Vec<f32>,
    vocabulary: usize,
}

impl fmt::Debug for LogitRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogitRows")
            .field("rows", &self.rows())
            .field("vocabulary", &self.vocabulary)
            .finish()
    }
}

impl LogitRows {
    /// No rows yet, of `vocabulary` values each.
    pub fn new(vocabulary: usize) -> Self {
        Self {
            values: Vec::new(),
            vocabulary,
        }
    }

    /// Makes room for `count` rows, whose values are whatever an earlier step has left there, and
    /// gives them, one after another: shape `[count, vocabulary]`.
    pub fn rows_mut(&mut self, count: usize) -> &mut [f32] {
        self.values.resize(count * self.vocabulary, 0.0);
        &mut self.values
    }

    /// One row, to be read and changed; `None` past the last.
    pub fn row_mut(&mut self, row: usize) -> Option<&mut [f32]> {
        let start = row.checked_mul(self.vocabulary)?;
        self.values
            .get_mut(start..start.checked_add(self.vocabulary)?)
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.values.len().checked_div(self.vocabulary).unwrap_or(0)
    }

    /// The length of a row.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }
}
