//! Answers about pictures: text generation that looks first.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::Vision;
use super::input::{VisionInput, VisionRequest};
use crate::models::ModelError;
use crate::pool::capabilities::text_to_text::{
    LanguageModel, PictureRows, TextToTextCapable, TextToTextEngine,
};
use crate::pool::core::{Engine, EngineReport, Outbox, Slot, StepContext};

/// A model that goes on with a text about a picture: a decoder, and what makes rows of its width of a
/// picture.
///
/// Which sequences run in a step is decided for it, as for every decoder; a picture is looked at in a step
/// of its own, when its request is taken up.
pub trait VisionLanguageCapable: TextToTextCapable {
    /// Looks at the pictures of a request. What comes of it must take as many places as the prompt has
    /// marks.
    ///
    /// # Errors
    /// What is wrong with the pictures; the model is well.
    fn encode(
        &mut self,
        input: &VisionInput,
        context: &StepContext,
    ) -> Result<PictureRows, ModelError>;
}

/// Drives a model that answers: one step looks at one picture, or is one of the text's.
pub(super) struct LanguageEngine {
    text: TextToTextEngine,
    /// Requests whose picture has not been looked at.
    unseen: VecDeque<(Slot, Arc<VisionRequest>)>,
    /// The last step looked at a picture: it is the texts' turn, so that nobody waits for more than one.
    looked: bool,
}

impl fmt::Debug for LanguageEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LanguageEngine")
            .field("text", &self.text)
            .field("unseen", &self.unseen.len())
            .finish_non_exhaustive()
    }
}

impl LanguageEngine {
    pub(super) fn new(model: LanguageModel) -> Self {
        Self {
            text: TextToTextEngine::new(model),
            unseen: VecDeque::new(),
            looked: false,
        }
    }

    /// Looks at a request's picture, and takes its text up.
    fn begin(
        &mut self,
        slot: Slot,
        request: &VisionRequest,
        context: &StepContext,
    ) -> Result<(), ModelError> {
        let VisionRequest { input, params } = request;
        let (tokens, most) = (input.prompt.len(), self.text.longest_prompt());
        if tokens > most {
            // Told before the work of looking.
            return Err(ModelError::PromptTooLong { tokens, most });
        }
        let rows = self.text.model_mut().look(input, context)?;
        self.text
            .begin(slot, &input.prompt, params, Some(Arc::new(rows)))
    }
}

impl Engine<Vision> for LanguageEngine {
    fn has_room_for(&self, request: &VisionRequest) -> bool {
        self.unseen.is_empty() && self.text.has_room_for_prompt(&request.input.prompt)
    }

    fn admit(&mut self, slot: Slot, request: Arc<VisionRequest>) {
        self.unseen.push_back((slot, request));
    }

    fn remove(&mut self, slot: Slot) {
        self.unseen.retain(|(unseen, _)| *unseen != slot);
        Engine::remove(&mut self.text, slot);
    }

    fn step(
        &mut self,
        context: &StepContext,
        outbox: &mut Outbox<'_, Vision>,
    ) -> Result<(), ModelError> {
        self.looked = !self.looked && !self.unseen.is_empty();
        if !self.looked {
            return self.text.advance(context, outbox);
        }
        if let Some((slot, request)) = self.unseen.pop_front()
            && let Err(error) = self.begin(slot, &request, context)
        {
            outbox.fail(slot, error);
        }
        Ok(())
    }

    fn report(&mut self) -> EngineReport {
        Engine::report(&mut self.text)
    }
}
