//! Pictures read one after the other.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Vision;
use super::chunk::{ReadingSummary, ReadingTimings, TextLine, VisionChunk};
use super::input::{VisionInput, VisionRequest};
use super::model::{AnyReader, Progress};
use crate::models::ModelError;
use crate::pool::core::{Engine, Outbox, Slot, StepContext};

/// The most pictures that one worker has begun with while their readers have no room.
const MAX_BEGUN: usize = 16;

/// Drives a model that reads. It has one picture at a time; only where the readers of all that it has
/// begun with have no room does it take another.
pub(super) struct ReaderEngine {
    reader: Box<dyn AnyReader>,
    pictures: VecDeque<Picture>,
}

impl fmt::Debug for ReaderEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReaderEngine")
            .field("model", &self.reader.name())
            .field("pictures", &self.pictures.len())
            .finish_non_exhaustive()
    }
}

/// A picture that is being read.
struct Picture {
    slot: Slot,
    request: Arc<VisionRequest>,
    stage: Stage,
    /// Lines for which the reader had no room.
    unsent: VecDeque<TextLine>,
    summary: ReadingSummary,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waits,
    Begun,
    Done,
}

impl Picture {
    /// Its reader has no room.
    fn is_held_up(&self) -> bool {
        !self.unsent.is_empty()
    }

    fn took(&mut self, age: Duration, lines: usize) {
        self.summary.lines += lines;
        let timings = &mut self.summary.timings;
        if lines > 0 {
            timings.first_line.get_or_insert(age);
        }
        timings.total = age;
    }
}

impl ReaderEngine {
    pub(super) fn new(reader: Box<dyn AnyReader>) -> Self {
        Self {
            reader,
            pictures: VecDeque::new(),
        }
    }

    /// Sends what there is to send, as far as there is room. `true` when the picture is finished with.
    fn deliver(picture: &mut Picture, outbox: &mut Outbox<'_, Vision>) -> bool {
        if !outbox.is_stream(picture.slot) {
            picture.unsent.clear();
        }
        while outbox.has_room(picture.slot)
            && let Some(line) = picture.unsent.pop_front()
        {
            outbox.emit(picture.slot, VisionChunk::Line(line));
        }
        let finished = picture.stage == Stage::Done && picture.unsent.is_empty();
        if finished {
            outbox.finish(picture.slot, VisionChunk::End(picture.summary));
        }
        finished
    }

    fn run(
        &mut self,
        index: usize,
        context: &StepContext,
        outbox: &mut Outbox<'_, Vision>,
    ) -> Result<(), ModelError> {
        let Some(picture) = self.pictures.get_mut(index) else {
            return Ok(());
        };
        let (slot, input) = (picture.slot, &picture.request.input);
        if picture.stage == Stage::Waits {
            picture.summary.timings.queued = outbox.age(slot);
            picture.stage = Stage::Begun;
            let begun = check(input).and_then(|()| self.reader.begin(slot, input));
            if let Err(error) = begun {
                outbox.fail(slot, error);
                self.remove(slot);
                return Ok(());
            }
        }
        let mut lines = Vec::new();
        let progress = self.reader.step(slot, input, &mut lines, context)?;
        let failure = match progress {
            Progress::Failed(error) => Some(error),
            _ if !lines.iter().all(is_finite) => Some(ModelError::NotFiniteOutput),
            Progress::GoesOn => None,
            Progress::Done => {
                picture.stage = Stage::Done;
                None
            }
        };
        if let Some(error) = failure {
            outbox.fail(slot, error);
            self.remove(slot);
            return Ok(());
        }
        picture.took(outbox.age(slot), lines.len());
        picture.unsent.extend(lines);
        if Self::deliver(picture, outbox) {
            self.remove(slot);
        }
        Ok(())
    }
}

/// What came from elsewhere is not believed to be finite.
fn check(input: &VisionInput) -> Result<(), ModelError> {
    let mut values = input.pictures.iter().flat_map(|picture| picture.values());
    if values.all(|value| value.is_finite()) {
        Ok(())
    } else {
        Err(ModelError::NotFinitePixels)
    }
}

fn is_finite(line: &TextLine) -> bool {
    let corners = line.corners.as_flattened();
    line.confidence.is_finite() && corners.iter().all(|place| place.is_finite())
}

impl Engine<Vision> for ReaderEngine {
    fn has_room_for(&self, _request: &VisionRequest) -> bool {
        self.pictures.len() < MAX_BEGUN && self.pictures.iter().all(Picture::is_held_up)
    }

    fn admit(&mut self, slot: Slot, request: Arc<VisionRequest>) {
        self.pictures.push_back(Picture {
            slot,
            request,
            stage: Stage::Waits,
            unsent: VecDeque::new(),
            summary: ReadingSummary {
                lines: 0,
                timings: ReadingTimings::default(),
            },
        });
    }

    fn remove(&mut self, slot: Slot) {
        self.reader.forget(slot);
        self.pictures.retain(|picture| picture.slot != slot);
    }

    fn step(
        &mut self,
        context: &StepContext,
        outbox: &mut Outbox<'_, Vision>,
    ) -> Result<(), ModelError> {
        let mut finished = Vec::new();
        for picture in &mut self.pictures {
            if picture.is_held_up() && Self::deliver(picture, outbox) {
                finished.push(picture.slot);
            }
        }
        finished.into_iter().for_each(|slot| self.remove(slot));
        let next = self
            .pictures
            .iter()
            .position(|picture| !picture.is_held_up());
        match next {
            Some(index) => self.run(index, context, outbox),
            None => {
                if !self.pictures.is_empty() {
                    outbox.stall();
                }
                Ok(())
            }
        }
    }
}
