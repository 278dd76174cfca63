//! Text to text: tokens that go on from other tokens.

mod step;

pub use step::{BlockId, DecoderLimits, LogitRows, SequenceChunk, SequenceId, WantedLogits};

use crate::model::CandleModel;
use crate::models::ModelError;
use crate::pool::core::StepContext;

/// A model that goes on with a text: a decoder with a key-value cache in blocks.
///
/// The model computes; which sequences run in a step, and which blocks of the cache are whose, is
/// decided for it. So it keeps no list of sequences: all that it needs to know of one is in its
/// [`SequenceChunk`].
pub trait TextToTextCapable: CandleModel {
    /// What the model can hold and take. Asked once, when it has been loaded.
    fn limits(&self) -> DecoderLimits;

    /// Runs the chunks of one step. Each adds its tokens to its sequence at
    /// `position..position + tokens.len()`: their keys and values are written to the cache, in the
    /// block `blocks[p / block_tokens]` for position `p`, and attend to all positions of the same
    /// sequence up to their own. Blocks before `position / block_tokens` may be shared with other
    /// sequences and are only read.
    ///
    /// `logits` gets one row for each token whose logits a chunk [wants](WantedLogits), in the
    /// order of the chunks and of the tokens in them.
    ///
    /// What a row holds must not depend on which other chunks are in the step, nor on how a
    /// sequence was cut into chunks: the same seed is to give the same text in any company.
    ///
    /// # Errors
    /// An error counts as a failure of the worker, which is then restarted. (NaNs among the logits
    /// are the one sequence's fault, and found by who reads them.)
    fn forward(
        &mut self,
        chunks: &[SequenceChunk<'_>],
        logits: &mut LogitRows,
        context: &StepContext,
    ) -> Result<(), ModelError>;

    /// A sequence has ended or was put off, and will not go on from here. For models that keep
    /// more of a sequence than what lies in its blocks.
    fn forget(&mut self, _sequence: SequenceId) {}
}
