//! The steered model that looks at pictures.

use std::sync::Arc;

use super::act::Point;
use super::controls::{Controls, Hoard};
use crate::model::{CandleModel, ModelInfo};
use crate::models::ModelError;
use crate::pool::capabilities::vision::{Progress, TextLine, VisionCapable, VisionInput};
use crate::pool::core::StepContext;

pub(super) struct SteeredOnlooker {
    info: ModelInfo,
    controls: Arc<Controls>,
    hoard: Hoard,
}

impl SteeredOnlooker {
    pub(super) fn load(info: &ModelInfo, controls: &Arc<Controls>) -> Result<Self, ModelError> {
        let mut hoard = Hoard::default();
        controls.visit(Point::Load, &mut hoard)?;
        Ok(Self {
            info: info.clone(),
            controls: Arc::clone(controls),
            hoard,
        })
    }

    /// Notes the step, and does what its word is to do to it.
    fn begin_step(&mut self, word: &str, context: &StepContext) -> Result<(), ModelError> {
        let told = {
            let mut state = self.controls.lock();
            if let Some(steps) = &mut state.steps {
                steps.push(vec![word.to_owned()]);
                state.threads.push(context.threads);
            }
            state.on_text.get(word).copied()
        };
        self.controls.visit(Point::Step, &mut self.hoard)?;
        match told {
            Some(act) => self.controls.perform(Point::Step, act, &mut self.hoard),
            None => Ok(()),
        }
    }
}

/// The line that a steered model reads where it is shown a word: all across the picture, each below
/// the one before.
pub(super) fn line_of(word: &str, position: usize, [width, height]: [u32; 2]) -> TextLine {
    let (width, height) = (width as f32, height as f32);
    let [top, bottom] = [position, position + 1].map(|line| line as f32 * height);
    TextLine {
        text: word.to_owned(),
        confidence: 1.0 / (position + 1) as f32,
        corners: [[0.0, top], [width, top], [width, bottom], [0.0, bottom]],
    }
}

impl CandleModel for SteeredOnlooker {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl VisionCapable for SteeredOnlooker {
    /// How many words were read.
    type Look = usize;

    fn begin(&mut self, input: &VisionInput) -> Result<usize, ModelError> {
        let told_to_refuse = input.query == "refuse";
        if told_to_refuse {
            return Err(ModelError::Other("told to refuse the picture".to_owned()));
        }
        Ok(0)
    }

    fn step(
        &mut self,
        input: &VisionInput,
        read: &mut usize,
        lines: &mut Vec<TextLine>,
        context: &StepContext,
    ) -> Result<Progress, ModelError> {
        let mut words = input.query.split_whitespace().skip(*read);
        let Some(word) = words.next() else {
            return Ok(Progress::Done);
        };
        self.begin_step(word, context)?;
        if let Err(error) = self.controls.visit(Point::Emit, &mut self.hoard) {
            return Ok(Progress::Failed(error));
        }
        lines.push(line_of(word, *read, input.size));
        *read += 1;
        Ok(match words.next() {
            Some(_) => Progress::GoesOn,
            None => Progress::Done,
        })
    }
}

impl Drop for SteeredOnlooker {
    fn drop(&mut self) {
        self.controls.freed(&mut self.hoard);
    }
}
