//! The steered model that generates text.

use std::sync::Arc;

use super::act::Point;
use super::controls::{Controls, Hoard};
use crate::model::{CandleModel, ModelInfo};
use crate::models::ModelError;
use crate::pool::capabilities::text_to_text::{
    DecoderLimits, LogitRows, SequenceChunk, TextToTextCapable,
};
use crate::pool::core::StepContext;
use crate::testing::Babbler;

pub(super) struct SteeredBabbler {
    babbler: Babbler,
    controls: Arc<Controls>,
    hoard: Hoard,
}

impl SteeredBabbler {
    pub(super) fn load(
        info: &ModelInfo,
        limits: DecoderLimits,
        controls: &Arc<Controls>,
    ) -> Result<Self, ModelError> {
        let mut hoard = Hoard::default();
        controls.visit(Point::Load, &mut hoard)?;
        Ok(Self {
            babbler: Babbler::new(info.clone(), limits),
            controls: Arc::clone(controls),
            hoard,
        })
    }
}

impl CandleModel for SteeredBabbler {
    fn info(&self) -> &ModelInfo {
        self.babbler.info()
    }
}

impl TextToTextCapable for SteeredBabbler {
    fn limits(&self) -> DecoderLimits {
        self.babbler.limits()
    }

    fn forward(
        &mut self,
        chunks: &[SequenceChunk<'_>],
        logits: &mut LogitRows,
        context: &StepContext,
    ) -> Result<(), ModelError> {
        let text = |chunk: &SequenceChunk<'_>| {
            let bytes: Vec<u8> = chunk.tokens.iter().map(|token| *token as u8).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        {
            let mut state = self.controls.lock();
            if let Some(steps) = &mut state.steps {
                steps.push(chunks.iter().map(text).collect());
                state.threads.push(context.threads);
            }
        }
        self.controls.visit(Point::Step, &mut self.hoard)?;
        self.babbler.forward(chunks, logits, context)
    }
}

impl Drop for SteeredBabbler {
    fn drop(&mut self) {
        self.controls.freed(&mut self.hoard);
    }
}
