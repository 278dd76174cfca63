//! The servable model: a decoder, and an eye for it.

use std::fmt;
use std::sync::Arc;

use super::files::VisionLanguageWeights;
use super::tower::{Eye, Scratch};
use crate::images::PixelTensor;
use crate::model::{CandleModel, ModelInfo};
use crate::models::ModelError;
use crate::models::decoder::{DecoderOptions, TextDecoder};
use crate::pool::capabilities::text_to_text::{
    DecoderLimits, LogitRows, PictureRows, SequenceChunk, SequenceId, TextToTextCapable,
};
use crate::pool::capabilities::vision::{VisionInput, VisionLanguageCapable};
use crate::pool::core::StepContext;

/// A vision-language model that a worker serves. It shares its weights with other workers and owns the
/// decoder's cache and the buffers of a step, which it keeps.
pub struct VisionLanguageModel {
    weights: Arc<VisionLanguageWeights>,
    decoder: TextDecoder,
    scratch: Scratch,
}

impl fmt::Debug for VisionLanguageModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VisionLanguageModel")
            .field("decoder", &self.decoder)
            .finish_non_exhaustive()
    }
}

impl VisionLanguageModel {
    /// A worker's model over weights that others may use too.
    ///
    /// # Errors
    /// [`ModelError::InvalidConfig`] for options that do not fit the model.
    pub fn new(
        info: ModelInfo,
        weights: Arc<VisionLanguageWeights>,
        options: &DecoderOptions,
    ) -> Result<Self, ModelError> {
        let decoder = TextDecoder::new(info, Arc::clone(weights.decoder()), options)?;
        Ok(Self {
            weights,
            decoder,
            scratch: Scratch::default(),
        })
    }

    /// What the language model is given of a prepared picture.
    ///
    /// # Errors
    /// [`ModelError::WrongShape`] for pixels of a size that the tower does not take,
    /// [`ModelError::NotFiniteOutput`] for pixels of which no numbers come.
    pub fn look(
        &mut self,
        pixels: &PixelTensor,
        context: &StepContext,
    ) -> Result<PictureRows, ModelError> {
        let team = context.team();
        let eye = eye(&self.weights);
        let seen = eye.look(team, pixels, &mut self.scratch)?;
        if !seen.rows.iter().all(|value| value.is_finite()) {
            return Err(ModelError::NotFiniteOutput);
        }
        let sight = eye.sight;
        let rows = PictureRows::new(sight.outputs(), seen.rows)?;
        match sight.in_grid {
            true => rows.in_grid(seen.grid[0], seen.grid[1]),
            false => Ok(rows),
        }
    }

    /// The vectors [rows, hidden] that the tower makes of a prepared picture, before they are projected:
    /// of a model with windows, window by window.
    ///
    /// # Errors
    /// As [`look`](Self::look).
    #[cfg(feature = "testing")]
    pub fn tower(
        &mut self,
        pixels: &PixelTensor,
        context: &StepContext,
    ) -> Result<Vec<f32>, ModelError> {
        self.look(pixels, context)?;
        Ok(eye(&self.weights).rows(&self.scratch).to_vec())
    }
}

fn eye(weights: &VisionLanguageWeights) -> Eye<'_> {
    Eye {
        cpu: weights.files().cpu(),
        sight: &weights.files().described().sight,
        tensors: weights.sight(),
    }
}

impl VisionLanguageCapable for VisionLanguageModel {
    fn encode(
        &mut self,
        input: &VisionInput,
        context: &StepContext,
    ) -> Result<PictureRows, ModelError> {
        let [pixels] = input.pictures.as_slice() else {
            return Err(ModelError::Other(format!(
                "{} pictures are not one",
                input.pictures.len()
            )));
        };
        self.look(pixels, context)
    }
}

impl CandleModel for VisionLanguageModel {
    fn info(&self) -> &ModelInfo {
        self.decoder.info()
    }
}

impl TextToTextCapable for VisionLanguageModel {
    fn limits(&self) -> DecoderLimits {
        self.decoder.limits()
    }

    fn forward(
        &mut self,
        chunks: &[SequenceChunk<'_>],
        logits: &mut LogitRows,
        context: &StepContext,
    ) -> Result<(), ModelError> {
        self.decoder.forward(chunks, logits, context)
    }

    fn forget(&mut self, sequence: SequenceId) {
        self.decoder.forget(sequence);
    }
}
