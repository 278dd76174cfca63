//! The steered model that answers once.

use std::sync::Arc;

use super::act::{Act, Point};
use super::controls::{Controls, Hoard};
use crate::model::{CandleModel, ModelInfo};
use crate::models::ModelError;
use crate::pool::capabilities::text_embedding::{EmbedInput, Embedding, TextEmbeddingCapable};
use crate::pool::core::StepContext;

pub(super) struct SteeredEmbedder {
    info: ModelInfo,
    controls: Arc<Controls>,
    hoard: Hoard,
}

impl SteeredEmbedder {
    pub(super) fn load(info: &ModelInfo, controls: &Arc<Controls>) -> Result<Self, ModelError> {
        let mut hoard = Hoard::default();
        controls.visit(Point::Load, &mut hoard)?;
        Ok(Self {
            info: info.clone(),
            controls: Arc::clone(controls),
            hoard,
        })
    }

    /// Notes the step, and looks up what its texts are to do to it.
    fn begin(&self, texts: &[&str], context: &StepContext) -> Vec<Option<Act>> {
        let mut state = self.controls.lock();
        if let Some(steps) = &mut state.steps {
            steps.push(texts.iter().map(|&text| text.to_owned()).collect());
            state.threads.push(context.threads);
        }
        texts
            .iter()
            .map(|&text| state.on_text.get(text).copied())
            .collect()
    }
}

/// The vector that a steered model gives a text: its length, and a sum over its bytes.
pub(super) fn embedding_of(text: &str) -> Embedding {
    let sum: u32 = text
        .bytes()
        .enumerate()
        .map(|(index, byte)| (index as u32 % 97 + 1) * u32::from(byte))
        .sum();
    vec![text.len() as f32, sum as f32]
}

impl CandleModel for SteeredEmbedder {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl TextEmbeddingCapable for SteeredEmbedder {
    fn embed_step(
        &mut self,
        inputs: &[&EmbedInput],
        context: &StepContext,
    ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
        let texts: Vec<&str> = inputs.iter().map(|input| &*input.text).collect();
        let told = self.begin(&texts, context);
        self.controls.visit(Point::Step, &mut self.hoard)?;
        let mut answers = Vec::with_capacity(texts.len());
        for (text, act) in texts.into_iter().zip(told) {
            // To fail here is the text's own failure; to panic or wait is the step's.
            let told = match act {
                Some(act) => self.controls.perform(Point::Step, act, &mut self.hoard),
                None => Ok(()),
            };
            let emitted = told.and_then(|()| self.controls.visit(Point::Emit, &mut self.hoard));
            answers.push(emitted.map(|()| embedding_of(text)));
        }
        Ok(answers)
    }
}

impl Drop for SteeredEmbedder {
    fn drop(&mut self) {
        self.controls.freed(&mut self.hoard);
    }
}
