//! Text embedding in steps: one step embeds whatever waits, up to the model's token budget.

use std::fmt;
use std::sync::Arc;

use super::input::EmbedInput;
use super::{TextEmbedding, TextEmbeddingCapable};
use crate::models::ModelError;
use crate::pool::core::{Engine, Outbox, Slot, StepContext};

/// Forms batches by token budget. There is no timer: what arrives while a step runs makes up the
/// next one.
pub struct TextEmbeddingEngine {
    model: Box<dyn TextEmbeddingCapable>,
    admitted: Vec<(Slot, Arc<EmbedInput>)>,
    tokens: usize,
}

impl fmt::Debug for TextEmbeddingEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextEmbeddingEngine")
            .field("model", &self.model.info().name)
            .field("admitted", &self.admitted.len())
            .field("tokens", &self.tokens)
            .finish()
    }
}

impl TextEmbeddingEngine {
    pub(super) fn new(model: Box<dyn TextEmbeddingCapable>) -> Self {
        Self {
            model,
            admitted: Vec::new(),
            tokens: 0,
        }
    }
}

impl Engine<TextEmbedding> for TextEmbeddingEngine {
    fn has_room_for(&self, request: &EmbedInput) -> bool {
        // The tokens are the work: the model pads nothing.
        self.tokens + request.cost() <= self.model.max_step_tokens()
    }

    fn admit(&mut self, slot: Slot, request: Arc<EmbedInput>) {
        self.tokens += request.cost();
        self.admitted.push((slot, request));
    }

    fn remove(&mut self, slot: Slot) {
        self.admitted.retain(|(admitted, _)| *admitted != slot);
        self.tokens = self.admitted.iter().map(|(_, input)| input.cost()).sum();
    }

    fn step(
        &mut self,
        context: &StepContext,
        outbox: &mut Outbox<'_, TextEmbedding>,
    ) -> Result<(), ModelError> {
        let admitted = std::mem::take(&mut self.admitted);
        self.tokens = 0;
        let inputs: Vec<&EmbedInput> = admitted.iter().map(|(_, input)| &**input).collect();
        let answers = self.model.embed_step(&inputs, context)?;
        if answers.len() != inputs.len() {
            return Err(ModelError::Other(format!(
                "the model answered {} of {} texts",
                answers.len(),
                inputs.len()
            )));
        }
        for ((slot, _), answer) in admitted.iter().zip(answers) {
            match answer {
                Ok(vector) if vector.iter().all(|value| value.is_finite()) => {
                    outbox.finish(*slot, vector);
                }
                Ok(_) => outbox.fail(*slot, ModelError::NotFiniteOutput),
                Err(error) => outbox.fail(*slot, error),
            }
        }
        Ok(())
    }
}
