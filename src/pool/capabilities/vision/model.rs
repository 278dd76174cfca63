//! What a vision model is to the pool.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::caller_side::AnyPreparer;
use super::chunk::TextLine;
use super::input::VisionInput;
use super::language::VisionLanguageCapable;
use crate::model::CandleModel;
use crate::models::ModelError;
use crate::pool::capabilities::text_to_text::{Language, LanguageModel};
use crate::pool::core::{Slot, StepContext};

/// How a picture comes along.
#[derive(Debug, Clone)]
pub enum Progress {
    /// There is more to do.
    GoesOn,
    /// All of it was read.
    Done,
    /// This picture cannot be read, for this reason; the model is well.
    Failed(ModelError),
}

/// A model that reads pictures one by one, in steps. One step should be short, such as the search for
/// lines or the reading of a few: cancellation and deadlines act between steps.
pub trait VisionCapable: CandleModel {
    /// What is kept of a picture from step to step.
    type Look: 'static;

    /// Begins with a picture; the work is done in the steps.
    ///
    /// # Errors
    /// What is wrong with the request; the model is well.
    fn begin(&mut self, input: &VisionInput) -> Result<Self::Look, ModelError>;

    /// Does the next piece of work, and adds the lines that it has read to `lines`.
    ///
    /// # Errors
    /// An error counts as a failure of the worker, which is then restarted. What is wrong with one
    /// picture alone is [`Progress::Failed`].
    fn step(
        &mut self,
        input: &VisionInput,
        look: &mut Self::Look,
        lines: &mut Vec<TextLine>,
        context: &StepContext,
    ) -> Result<Progress, ModelError>;
}

/// A model that reads, whatever it keeps of its pictures.
pub(super) trait AnyReader {
    fn name(&self) -> &str;

    fn begin(&mut self, slot: Slot, input: &VisionInput) -> Result<(), ModelError>;

    fn step(
        &mut self,
        slot: Slot,
        input: &VisionInput,
        lines: &mut Vec<TextLine>,
        context: &StepContext,
    ) -> Result<Progress, ModelError>;

    fn forget(&mut self, slot: Slot);
}

/// A model with what it keeps of the pictures that it looks at.
struct Looking<M: VisionCapable> {
    model: M,
    looks: BTreeMap<Slot, M::Look>,
}

impl<M: VisionCapable> AnyReader for Looking<M> {
    fn name(&self) -> &str {
        &self.model.info().name
    }

    fn begin(&mut self, slot: Slot, input: &VisionInput) -> Result<(), ModelError> {
        let look = self.model.begin(input)?;
        self.looks.insert(slot, look);
        Ok(())
    }

    fn step(
        &mut self,
        slot: Slot,
        input: &VisionInput,
        lines: &mut Vec<TextLine>,
        context: &StepContext,
    ) -> Result<Progress, ModelError> {
        match self.looks.get_mut(&slot) {
            Some(look) => self.model.step(input, look, lines, context),
            None => Ok(Progress::Done),
        }
    }

    fn forget(&mut self, slot: Slot) {
        self.looks.remove(&slot);
    }
}

/// A vision model as a worker has it.
pub struct VisionModel {
    pub(super) kind: VisionKind,
    /// What its callers prepare with, which is loaded for as long as the model is.
    pub(super) preparer: Option<Arc<AnyPreparer>>,
}

pub(super) enum VisionKind {
    /// Reads picture by picture.
    Reader(Box<dyn AnyReader>),
    /// Answers, token by token.
    Language(Box<LanguageModel>),
}

impl fmt::Debug for VisionModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &self.kind {
            VisionKind::Reader(reader) => reader.name(),
            VisionKind::Language(model) => model.name(),
        };
        f.debug_struct("VisionModel")
            .field("name", &name)
            .finish_non_exhaustive()
    }
}

impl VisionModel {
    /// One that reads picture by picture.
    pub fn reader(model: impl VisionCapable) -> Self {
        let looks = BTreeMap::new();
        Self {
            kind: VisionKind::Reader(Box::new(Looking { model, looks })),
            preparer: None,
        }
    }

    /// One that answers in a text; `language` is what stands between its tokens and that.
    pub fn language(model: impl VisionLanguageCapable, language: Arc<Language>) -> Self {
        let model = LanguageModel::seeing(Box::new(model)).speaking(language);
        Self {
            kind: VisionKind::Language(Box::new(model)),
            preparer: None,
        }
    }

    pub(super) fn prepared_by(mut self, preparer: Arc<AnyPreparer>) -> Self {
        self.preparer = Some(preparer);
        self
    }
}
