//! The steered model that paints.

use std::sync::Arc;

use super::act::{Act, Point};
use super::controls::{Controls, Hoard};
use crate::images::RgbImage;
use crate::model::{CandleModel, ModelInfo};
use crate::models::ModelError;
use crate::pool::capabilities::text_to_image::{
    Conditioning, Denoise, DiffusionDescription, PromptTokens, TextToImageCapable,
};
use crate::pool::core::StepContext;
use crate::testing::Dauber;

pub(super) struct SteeredDauber {
    dauber: Dauber,
    controls: Arc<Controls>,
    hoard: Hoard,
}

impl SteeredDauber {
    pub(super) fn load(
        info: &ModelInfo,
        description: &DiffusionDescription,
        controls: &Arc<Controls>,
    ) -> Result<Self, ModelError> {
        let mut hoard = Hoard::default();
        controls.visit(Point::Load, &mut hoard)?;
        Ok(Self {
            dauber: Dauber::new(info.clone(), description.clone()),
            controls: Arc::clone(controls),
            hoard,
        })
    }

    fn note(&self, texts: Vec<String>, context: Option<&StepContext>) {
        let mut state = self.controls.lock();
        if let Some(steps) = &mut state.steps {
            steps.push(texts);
            state.threads.extend(context.map(|context| context.threads));
        }
    }
}

impl CandleModel for SteeredDauber {
    fn info(&self) -> &ModelInfo {
        self.dauber.info()
    }
}

impl TextToImageCapable for SteeredDauber {
    fn description(&self) -> &DiffusionDescription {
        self.dauber.description()
    }

    fn encode_prompt(
        &mut self,
        prompt: &PromptTokens,
        context: &StepContext,
    ) -> Result<Conditioning, ModelError> {
        let conditioning = self.dauber.encode_prompt(prompt, context)?;
        let prompt = Dauber::prompt_of(&conditioning);
        self.note(vec![format!("prompt: {prompt}")], Some(context));
        Ok(conditioning)
    }

    fn predict(
        &mut self,
        batch: &[Denoise<'_>],
        context: &StepContext,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let prompts = batch
            .iter()
            .map(|denoise| Dauber::prompt_of(denoise.conditioning));
        let prompts: Vec<String> = prompts.collect();
        self.note(prompts.clone(), Some(context));
        self.controls.visit(Point::Step, &mut self.hoard)?;
        let mut predictions = self.dauber.predict(batch, context)?;
        for (prompt, prediction) in prompts.iter().zip(&mut predictions) {
            let told = self.controls.lock().on_text.get(prompt).copied();
            match told {
                // The one entry's own failure.
                Some(Act::Fail) => prediction.fill(f32::NAN),
                Some(act) => self.controls.perform(Point::Step, act, &mut self.hoard)?,
                None => {}
            }
        }
        Ok(predictions)
    }

    fn decode(
        &mut self,
        latents: &[f32],
        width: usize,
        height: usize,
        context: &StepContext,
    ) -> Result<RgbImage, ModelError> {
        self.note(vec!["decode".to_owned()], Some(context));
        self.controls.visit(Point::Emit, &mut self.hoard)?;
        self.dauber.decode(latents, width, height, context)
    }

    fn encode_picture(
        &mut self,
        picture: &RgbImage,
        noise: &[f32],
        context: &StepContext,
    ) -> Result<Vec<f32>, ModelError> {
        self.note(vec!["picture".to_owned()], Some(context));
        self.dauber.encode_picture(picture, noise, context)
    }

    fn finished(&mut self) {
        self.note(vec!["finished".to_owned()], None);
        self.dauber.finished();
    }
}

impl Drop for SteeredDauber {
    fn drop(&mut self) {
        self.controls.freed(&mut self.hoard);
    }
}
