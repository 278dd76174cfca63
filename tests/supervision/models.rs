//! Models whose steps do what a test says.

use modelpool::{
    CandleModel, EmbedInput, Embedding, ModelError, ModelInfo, ModelSpec, StepContext,
    TextEmbedding, TextEmbeddingCapable,
};

/// What a step answers, for all its texts.
pub type Answer = Result<f32, ModelError>;

struct Model<F> {
    info: ModelInfo,
    step: F,
}

impl<F: 'static> CandleModel for Model<F> {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl<F: FnMut(&str) -> Answer + 'static> TextEmbeddingCapable for Model<F> {
    fn embed_step(
        &mut self,
        inputs: &[&EmbedInput],
        _context: &StepContext,
    ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
        inputs
            .iter()
            .map(|input| Ok(Ok(vec![(self.step)(&input.text)?])))
            .collect()
    }
}

/// A model of one worker with 10 MiB.
pub fn model(
    name: &str,
    step: impl FnMut(&str) -> Answer + Clone + Send + Sync + 'static,
) -> ModelSpec<TextEmbedding> {
    let info = ModelInfo::new(name, 10);
    ModelSpec::text_embedding(info.clone(), move || {
        Ok(Model {
            info: info.clone(),
            step: step.clone(),
        })
    })
    .max_workers(1)
}
