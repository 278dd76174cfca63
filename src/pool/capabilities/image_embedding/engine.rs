//! Image embedding in steps: one step serves whatever waits, up to the model's number of pictures.

use std::fmt;
use std::sync::Arc;

use super::input::{Asked, ImageAnswer, ImageClass, ImageEmbeddingInput, Wanted};
use super::{ImageEmbedding, ImageModel};
use crate::images::PixelTensor;
use crate::models::ModelError;
use crate::pool::capabilities::text_embedding::Embedding;
use crate::pool::core::{Engine, Outbox, Slot, StepContext};

/// Forms batches of pictures and of texts. There is no timer: what arrives while a step runs makes
/// up the next one.
pub struct ImageEmbeddingEngine {
    model: ImageModel,
    admitted: Vec<(Slot, Arc<ImageEmbeddingInput>)>,
}

impl fmt::Debug for ImageEmbeddingEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageEmbeddingEngine")
            .field("model", &self.model)
            .field("admitted", &self.admitted.len())
            .finish()
    }
}

/// What a part of the step's requests is given to the model as, and what becomes of its answers.
type Answers<T> = Result<Vec<Result<T, ModelError>>, ModelError>;

impl ImageEmbeddingEngine {
    pub(super) fn new(model: ImageModel) -> Self {
        Self {
            model,
            admitted: Vec::new(),
        }
    }

    /// What a request costs, in tokens.
    fn cost(&self, request: &ImageEmbeddingInput) -> usize {
        match &request.0 {
            Asked::Picture { .. } => self.model.network.tokens_of_a_picture().max(1),
            Asked::Text { tokens } => tokens.len(),
        }
    }
}

impl Engine<ImageEmbedding> for ImageEmbeddingEngine {
    fn has_room_for(&self, request: &ImageEmbeddingInput) -> bool {
        let network = &self.model.network;
        let most = network
            .max_step_pictures()
            .saturating_mul(network.tokens_of_a_picture().max(1));
        let taken: usize = self
            .admitted
            .iter()
            .map(|(_, other)| self.cost(other))
            .sum();
        self.admitted.is_empty() || taken.saturating_add(self.cost(request)) <= most
    }

    fn admit(&mut self, slot: Slot, request: Arc<ImageEmbeddingInput>) {
        self.admitted.push((slot, request));
    }

    fn remove(&mut self, slot: Slot) {
        self.admitted.retain(|(admitted, _)| *admitted != slot);
    }

    fn step(
        &mut self,
        context: &StepContext,
        outbox: &mut Outbox<'_, ImageEmbedding>,
    ) -> Result<(), ModelError> {
        let admitted = std::mem::take(&mut self.admitted);
        let mut vectors: Vec<(Slot, &PixelTensor)> = Vec::new();
        let mut classes: Vec<(Slot, &PixelTensor)> = Vec::new();
        let mut counts = Vec::new();
        let mut texts: Vec<(Slot, &[u32])> = Vec::new();
        for (slot, request) in &admitted {
            match &request.0 {
                Asked::Picture { pixels, wanted } => match wanted {
                    Wanted::Vector => vectors.push((*slot, pixels)),
                    Wanted::Classes(count) => {
                        classes.push((*slot, pixels));
                        counts.push(*count);
                    }
                },
                Asked::Text { tokens } => texts.push((*slot, tokens)),
            }
        }
        let network = &mut self.model.network;
        let vector = |vector: Embedding| finite(vector).map(ImageAnswer::Vector);
        answer(&vectors, outbox, vector, |pictures| {
            network.embed_pictures(pictures, context)
        })?;
        answer(&texts, outbox, vector, |texts| {
            network.embed_texts(texts, context)
        })?;
        let mut counts = counts.into_iter();
        let likeliest = |probabilities: Vec<f32>| {
            let count = counts.next().unwrap_or_default();
            Ok(ImageAnswer::Classes(likeliest(
                finite(probabilities)?,
                count,
            )))
        };
        answer(&classes, outbox, likeliest, |pictures| {
            network.classify_pictures(pictures, context)
        })
    }
}

/// Has the model answer those inputs, if there are any.
fn answer<I: Copy, T>(
    asked: &[(Slot, I)],
    outbox: &mut Outbox<'_, ImageEmbedding>,
    mut finish: impl FnMut(T) -> Result<ImageAnswer, ModelError>,
    ask: impl FnOnce(&[I]) -> Answers<T>,
) -> Result<(), ModelError> {
    if asked.is_empty() {
        return Ok(());
    }
    let inputs: Vec<I> = asked.iter().map(|(_, input)| *input).collect();
    let answers = ask(&inputs)?;
    if answers.len() != inputs.len() {
        return Err(ModelError::Other(format!(
            "the model answered {} of {} inputs",
            answers.len(),
            inputs.len()
        )));
    }
    for ((slot, _), answer) in asked.iter().zip(answers) {
        match answer.and_then(&mut finish) {
            Ok(answer) => outbox.finish(*slot, answer),
            Err(error) => outbox.fail(*slot, error),
        }
    }
    Ok(())
}

fn finite(values: Vec<f32>) -> Result<Vec<f32>, ModelError> {
    if values.iter().all(|value| value.is_finite()) {
        Ok(values)
    } else {
        Err(ModelError::NotFiniteOutput)
    }
}

/// The `count` likeliest classes; of equal ones the first.
fn likeliest(probabilities: Vec<f32>, count: usize) -> Vec<ImageClass> {
    let mut classes: Vec<(usize, f32)> = probabilities.into_iter().enumerate().collect();
    classes.sort_by(|left, right| right.1.total_cmp(&left.1));
    classes.truncate(count);
    let class = |(index, probability)| ImageClass {
        index,
        name: None,
        probability,
    };
    classes.into_iter().map(class).collect()
}
