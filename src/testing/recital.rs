//! A streaming capability as small as can be: it recites what it is given, one word a step.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::CandleModel;
use crate::models::ModelError;
use crate::pool::core::{Capability, Engine, Outbox, Slot, StepContext};

/// What is to be recited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecitalRequest {
    /// The words, at least one.
    pub words: Vec<String>,
}

/// The capability of models that recite.
#[derive(Debug, Clone, Copy)]
pub struct Recital;

/// A model that recites.
pub trait RecitalModel: CandleModel {
    /// Called before each step.
    ///
    /// # Errors
    /// As [`Engine::step`].
    fn before_step(&mut self) -> Result<(), ModelError>;

    /// Called before a word is handed over. An error ends its recital alone.
    ///
    /// # Errors
    /// As for [`Outbox::fail`].
    fn before_word(&mut self, word: &str) -> Result<(), ModelError> {
        let _ = word;
        Ok(())
    }
}

impl Capability for Recital {
    const NAME: &'static str = "recital";
    type Model = dyn RecitalModel;
    type Request = RecitalRequest;
    type Item = String;
    type CallerSide = ();
    type Engine = RecitalEngine;

    fn engine(model: Box<dyn RecitalModel>) -> RecitalEngine {
        RecitalEngine {
            model,
            recitals: Vec::new(),
        }
    }
}

struct Running {
    slot: Slot,
    request: Arc<RecitalRequest>,
    said: usize,
}

/// Says one word of every recital a step. Eight at most run side by side.
pub struct RecitalEngine {
    model: Box<dyn RecitalModel>,
    recitals: Vec<Running>,
}

impl fmt::Debug for RecitalEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecitalEngine")
            .field("recitals", &self.recitals.len())
            .finish_non_exhaustive()
    }
}

impl Engine<Recital> for RecitalEngine {
    fn has_room_for(&self, _request: &RecitalRequest) -> bool {
        self.recitals.len() < 8
    }

    fn admit(&mut self, slot: Slot, request: Arc<RecitalRequest>) {
        self.recitals.push(Running {
            slot,
            request,
            said: 0,
        });
    }

    fn remove(&mut self, slot: Slot) {
        self.recitals.retain(|recital| recital.slot != slot);
    }

    fn step(
        &mut self,
        _context: &StepContext,
        outbox: &mut Outbox<'_, Recital>,
    ) -> Result<(), ModelError> {
        self.model.before_step()?;
        let mut moved = self.recitals.is_empty();
        let model = &mut self.model;
        self.recitals.retain_mut(|recital| {
            let said = say_word(model.as_mut(), recital, outbox);
            moved |= said != Said::Nothing;
            said != Said::Last
        });
        if !moved {
            outbox.stall();
        }
        Ok(())
    }
}

#[derive(PartialEq, Eq)]
enum Said {
    /// The reader had no room.
    Nothing,
    Word,
    /// The recital has ended.
    Last,
}

fn say_word(
    model: &mut dyn RecitalModel,
    recital: &mut Running,
    outbox: &mut Outbox<'_, Recital>,
) -> Said {
    let words = &recital.request.words;
    let Some(word) = words.get(recital.said) else {
        outbox.fail(recital.slot, ModelError::Other("no words".to_owned()));
        return Said::Last;
    };
    let is_last = recital.said + 1 == words.len();
    if !is_last && !outbox.has_room(recital.slot) {
        return Said::Nothing;
    }
    if let Err(error) = model.before_word(word) {
        outbox.fail(recital.slot, error);
        return Said::Last;
    }
    if is_last {
        outbox.finish(recital.slot, word.clone());
        return Said::Last;
    }
    if outbox.emit(recital.slot, word.clone()) {
        recital.said += 1;
        return Said::Word;
    }
    Said::Nothing
}
