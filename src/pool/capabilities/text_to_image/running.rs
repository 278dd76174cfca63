//! A request that a worker has in hand.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::TextToImage;
use super::description::DiffusionDescription;
use super::model::Conditioning;
use super::picture::{Picture, Stage};
use super::request::{ImageChunk, Painting, PaintingRequest, PaintingTimings};
use crate::models::ModelError;
use crate::pool::core::{Outbox, Slot};

/// What the model makes of a request's prompts.
#[derive(Debug)]
pub(super) struct Prompts {
    pub(super) positive: Conditioning,
    /// `None` where guidance does not need it.
    pub(super) negative: Option<Conditioning>,
}

/// What is to be done next for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Its prompts are to be encoded.
    Prompts,
    /// The picture at this place of those in work is to be encoded.
    EncodePicture(usize),
    /// The picture at this place is to be decoded.
    Decode(usize),
    /// All of its pictures in work come a step further.
    Denoise,
    /// Nothing: finished pictures wait for the reader.
    Wait,
}

/// A request's pictures, and the account of it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) slot: Slot,
    pub(super) request: Arc<PaintingRequest>,
    pub(super) prompts: Option<Prompts>,
    /// Pictures in work, the earlier ones first.
    pub(super) pictures: Vec<Picture>,
    /// When it was last served, in the engine's steps.
    pub(super) turn: u64,
    pub(super) is_guided: bool,
    /// Width and height in latents.
    pub(super) size: [usize; 2],
    /// How many pictures are wanted, once it is known whether the caller reads a stream.
    images: Option<usize>,
    /// Pictures that were begun.
    begun: usize,
    /// Pictures that were sent.
    sent: usize,
    /// Finished ones that the reader has no room for.
    finished: VecDeque<Painting>,
    pub(super) timings: PaintingTimings,
}

/// What became of the finished pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// All were sent, and more are to come.
    Done,
    /// The reader has no room.
    Waits,
    /// The last one was sent.
    Ended,
}

impl Running {
    pub(super) fn new(
        slot: Slot,
        request: Arc<PaintingRequest>,
        description: &DiffusionDescription,
        turn: u64,
    ) -> Result<Self, ModelError> {
        request.check(description)?;
        Ok(Self {
            slot,
            prompts: None,
            pictures: Vec::new(),
            turn,
            is_guided: request.is_guided(description),
            size: request.latents(description),
            images: None,
            begun: 0,
            sent: 0,
            finished: VecDeque::new(),
            timings: PaintingTimings::default(),
            request,
        })
    }

    /// How many entries of a step one of its pictures takes.
    pub(super) fn entries(&self) -> usize {
        1 + usize::from(self.is_guided)
    }

    /// Its first step begins, if none has; it was accepted `age` ago.
    pub(super) fn begins(&mut self, age: Duration, is_stream: bool) {
        if self.images.is_none() {
            self.timings.queued = age;
            // Who asks for one answer gets one picture.
            self.images = Some(if is_stream { self.request.images } else { 1 });
        }
    }

    /// Begins pictures until as many are in work as may be.
    pub(super) fn begin_pictures(
        &mut self,
        at_once: usize,
        description: &DiffusionDescription,
    ) -> Result<(), ModelError> {
        let images = self.images.unwrap_or(1);
        while self.pictures.len() < at_once && self.begun < images {
            let picture = Picture::begin(&self.request, self.begun, self.size, description)?;
            self.pictures.push(picture);
            self.begun += 1;
        }
        Ok(())
    }

    /// What is to be done next.
    pub(super) fn work(&self) -> Work {
        if !self.finished.is_empty() {
            return Work::Wait;
        }
        if self.prompts.is_none() {
            return Work::Prompts;
        }
        let at = |stage| {
            self.pictures
                .iter()
                .position(|picture| picture.stage() == stage)
        };
        // What is done in one go is done first: the pictures then come further together.
        if let Some(place) = at(Stage::Decode) {
            return Work::Decode(place);
        }
        if let Some(place) = at(Stage::Encode) {
            return Work::EncodePicture(place);
        }
        Work::Denoise
    }

    /// Tells the reader of a step, if he has room.
    pub(super) fn tell_step(
        &self,
        place: usize,
        description: &DiffusionDescription,
        outbox: &mut Outbox<'_, TextToImage>,
    ) {
        let Some(picture) = self.pictures.get(place) else {
            return;
        };
        if !outbox.has_room(self.slot) {
            return;
        }
        let (step, of) = (picture.scheduler.done(), picture.scheduler.steps());
        let every = self.request.preview_every;
        let shown = description
            .preview
            .as_ref()
            .filter(|_| every > 0 && step.is_multiple_of(every));
        let [width, height] = self.size;
        let preview =
            shown.and_then(|preview| preview.picture(picture.scheduler.estimate(), width, height));
        let image = picture.image;
        outbox.tell(
            self.slot,
            ImageChunk::Step {
                image,
                step,
                of,
                preview,
            },
        );
    }

    /// A picture of those in work is finished.
    pub(super) fn finish(&mut self, place: usize, painting: Painting) {
        self.pictures.remove(place);
        self.finished.push_back(painting);
    }

    /// Sends what is finished, as far as the reader has room.
    pub(super) fn deliver(&mut self, outbox: &mut Outbox<'_, TextToImage>) -> Delivery {
        let images = self.images.unwrap_or(1);
        while let Some(painting) = self.finished.pop_front() {
            if self.sent + 1 == images {
                outbox.finish(self.slot, ImageChunk::Image(painting));
                return Delivery::Ended;
            }
            if !outbox.has_room(self.slot) {
                self.finished.push_front(painting);
                return Delivery::Waits;
            }
            outbox.emit(self.slot, ImageChunk::Image(painting));
            self.sent += 1;
        }
        Delivery::Done
    }
}
