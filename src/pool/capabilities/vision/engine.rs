//! Vision in steps, by the kind of the model.

use std::fmt;
use std::sync::Arc;

use super::Vision;
use super::caller_side::AnyPreparer;
use super::input::VisionRequest;
use super::language::LanguageEngine;
use super::model::{VisionKind, VisionModel};
use super::reader::ReaderEngine;
use crate::models::ModelError;
use crate::pool::core::{Engine, EngineReport, Outbox, Slot, StepContext};

/// Drives a vision model of either kind.
pub struct VisionEngine {
    driver: Driver,
    _preparer: Option<Arc<AnyPreparer>>,
}

enum Driver {
    Reader(ReaderEngine),
    Language(Box<LanguageEngine>),
}

impl fmt::Debug for VisionEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.driver {
            Driver::Reader(engine) => f.debug_tuple("VisionEngine").field(engine).finish(),
            Driver::Language(engine) => f.debug_tuple("VisionEngine").field(engine).finish(),
        }
    }
}

impl VisionEngine {
    pub(super) fn new(model: VisionModel) -> Self {
        let driver = match model.kind {
            VisionKind::Reader(reader) => Driver::Reader(ReaderEngine::new(reader)),
            VisionKind::Language(model) => Driver::Language(Box::new(LanguageEngine::new(*model))),
        };
        Self {
            driver,
            _preparer: model.preparer,
        }
    }
}

impl Engine<Vision> for VisionEngine {
    fn has_room_for(&self, request: &VisionRequest) -> bool {
        match &self.driver {
            Driver::Reader(engine) => engine.has_room_for(request),
            Driver::Language(engine) => engine.has_room_for(request),
        }
    }

    fn admit(&mut self, slot: Slot, request: Arc<VisionRequest>) {
        match &mut self.driver {
            Driver::Reader(engine) => engine.admit(slot, request),
            Driver::Language(engine) => engine.admit(slot, request),
        }
    }

    fn remove(&mut self, slot: Slot) {
        match &mut self.driver {
            Driver::Reader(engine) => engine.remove(slot),
            Driver::Language(engine) => engine.remove(slot),
        }
    }

    fn step(
        &mut self,
        context: &StepContext,
        outbox: &mut Outbox<'_, Vision>,
    ) -> Result<(), ModelError> {
        match &mut self.driver {
            Driver::Reader(engine) => engine.step(context, outbox),
            Driver::Language(engine) => engine.step(context, outbox),
        }
    }

    fn report(&mut self) -> EngineReport {
        match &mut self.driver {
            Driver::Reader(engine) => engine.report(),
            Driver::Language(engine) => engine.report(),
        }
    }
}
