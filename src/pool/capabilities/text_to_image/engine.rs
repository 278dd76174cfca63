//! Text to image in steps: one step is one piece of work for one request, or one denoising step for
//! all pictures of one size that the model takes at once.

use std::fmt;
use std::sync::Arc;

use super::denoise::Group;
use super::model::TextToImageCapable;
use super::request::{Painting, PaintingRequest};
use super::running::{Delivery, Prompts, Running, Work};
use super::{DiffusionDescription, TextToImage};
use crate::models::ModelError;
use crate::pool::core::{Engine, Outbox, Slot, StepContext};

/// So many pictures are in work at once, even where the model takes fewer together: a short painting
/// need not wait for the end of a long one.
const LEAST_IN_WORK: usize = 4;

/// Drives a model that paints.
///
/// Requests are served in turn: whoever has waited longest since his last step is next, and who can
/// step together with him does. So with `n` requests in hand, each is served at least every `n` steps.
pub struct TextToImageEngine {
    model: Box<dyn TextToImageCapable>,
    description: DiffusionDescription,
    running: Vec<Running>,
    /// Requests that were found to be impossible, to be told so in the next step.
    refused: Vec<(Slot, ModelError)>,
    steps: u64,
}

impl fmt::Debug for TextToImageEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextToImageEngine")
            .field("model", &self.model.info().name)
            .field("requests", &self.running.len())
            .finish_non_exhaustive()
    }
}

impl TextToImageEngine {
    pub(super) fn new(model: Box<dyn TextToImageCapable>) -> Self {
        Self {
            description: model.description().clone(),
            model,
            running: Vec::new(),
            refused: Vec::new(),
            steps: 0,
        }
    }

    /// How many pictures of so many entries each the model takes at once.
    fn at_once(&self, entries: usize) -> usize {
        (self.description.max_batch / entries).max(1)
    }

    fn end(&mut self, slot: Slot) {
        self.running.retain(|running| running.slot != slot);
        if self.running.is_empty() {
            self.model.finished();
        }
    }

    fn fail(&mut self, slot: Slot, error: ModelError, outbox: &mut Outbox<'_, TextToImage>) {
        outbox.fail(slot, error);
        self.end(slot);
    }

    /// Begins what is new, and sends what could not be sent before.
    fn look_after_all(&mut self, outbox: &mut Outbox<'_, TextToImage>) {
        let slots: Vec<Slot> = self.running.iter().map(|running| running.slot).collect();
        for slot in slots {
            self.deliver(slot, outbox);
            let Some(place) = self.running.iter().position(|running| running.slot == slot) else {
                continue;
            };
            let at_once = self.at_once(self.running[place].entries());
            let running = &mut self.running[place];
            running.begins(outbox.age(slot), outbox.is_stream(slot));
            if let Err(error) = running.begin_pictures(at_once, &self.description) {
                self.fail(slot, error, outbox);
            }
        }
    }

    fn deliver(&mut self, slot: Slot, outbox: &mut Outbox<'_, TextToImage>) {
        let running = self.running.iter_mut().find(|running| running.slot == slot);
        if running.is_some_and(|running| running.deliver(outbox) == Delivery::Ended) {
            self.end(slot);
        }
    }

    /// Does a piece of work that is one request's own.
    fn serve(
        &mut self,
        place: usize,
        work: Work,
        context: &StepContext,
        outbox: &mut Outbox<'_, TextToImage>,
    ) {
        let model = &mut *self.model;
        let running = &mut self.running[place];
        let slot = running.slot;
        let done = match work {
            Work::Prompts => encode_prompts(model, running, context, outbox),
            Work::EncodePicture(picture) => encode_picture(model, running, picture, context),
            Work::Decode(picture) => decode(model, running, picture, context, outbox),
            Work::Denoise | Work::Wait => Ok(()),
        };
        match done {
            Ok(()) => self.deliver(slot, outbox),
            Err(error) => self.fail(slot, error, outbox),
        }
    }

    /// A denoising step for the pictures of the request at `first` and those that fit to them.
    fn denoise(
        &mut self,
        first: usize,
        context: &StepContext,
        outbox: &mut Outbox<'_, TextToImage>,
    ) -> Result<(), ModelError> {
        let group = Group::around(first, &self.running, self.description.max_batch);
        for &(place, picture) in group.pictures() {
            let running = &mut self.running[place];
            running.turn = self.steps;
            let age = outbox.age(running.slot);
            running.pictures[picture].begun.get_or_insert(age);
        }
        let failed = group.walk(
            &mut *self.model,
            &mut self.running,
            &self.description,
            context,
        )?;
        for &(place, picture) in group.pictures() {
            let running = &mut self.running[place];
            running.pictures[picture].denoised = outbox.age(running.slot);
            if !failed.iter().any(|(slot, _)| *slot == running.slot) {
                running.tell_step(picture, &self.description, outbox);
            }
        }
        for (slot, error) in failed {
            self.fail(slot, error, outbox);
        }
        Ok(())
    }
}

fn encode_prompts(
    model: &mut dyn TextToImageCapable,
    running: &mut Running,
    context: &StepContext,
    outbox: &mut Outbox<'_, TextToImage>,
) -> Result<(), ModelError> {
    let request = Arc::clone(&running.request);
    let positive = model.encode_prompt(&request.prompt, context)?;
    let negative = request.negative.as_ref().filter(|_| running.is_guided);
    let negative = negative
        .map(|negative| model.encode_prompt(negative, context))
        .transpose()?;
    running.prompts = Some(Prompts { positive, negative });
    running.timings.encoded = outbox.age(running.slot);
    Ok(())
}

fn encode_picture(
    model: &mut dyn TextToImageCapable,
    running: &mut Running,
    place: usize,
    context: &StepContext,
) -> Result<(), ModelError> {
    let request = Arc::clone(&running.request);
    let (Some(init), Some(picture)) = (&request.init, running.pictures.get_mut(place)) else {
        return Ok(());
    };
    let latents = model.encode_picture(init, &picture.picture_noise(), context)?;
    picture.begin_from(latents)
}

fn decode(
    model: &mut dyn TextToImageCapable,
    running: &mut Running,
    place: usize,
    context: &StepContext,
    outbox: &mut Outbox<'_, TextToImage>,
) -> Result<(), ModelError> {
    let [width, height] = running.size;
    let Some(picture) = running.pictures.get(place) else {
        return Ok(());
    };
    let (image, seed) = (picture.image, picture.seed);
    let mut timings = running.timings;
    timings.begun = picture.begun.unwrap_or_default();
    timings.denoised = picture.denoised;
    let made = model.decode(&picture.latents, width, height, context)?;
    let (wanted_width, wanted_height) = (running.request.width, running.request.height);
    if (made.width() as usize, made.height() as usize) != (wanted_width, wanted_height) {
        return Err(ModelError::Other(format!(
            "the model gave a picture of {}x{}, not {wanted_width}x{wanted_height}",
            made.width(),
            made.height()
        )));
    }
    let png = made.to_png()?;
    timings.total = outbox.age(running.slot);
    let painting = Painting {
        image,
        picture: made,
        png,
        seed,
        timings,
    };
    running.finish(place, painting);
    Ok(())
}

impl Engine<TextToImage> for TextToImageEngine {
    fn has_room_for(&self, request: &PaintingRequest) -> bool {
        let most = |entries| self.at_once(entries);
        let in_work: usize = self
            .running
            .iter()
            .map(|running| running.request.images.min(most(running.entries())))
            .sum();
        let entries = 1 + usize::from(request.is_guided(&self.description));
        let wanted = request.images.min(most(entries));
        in_work.saturating_add(wanted) <= LEAST_IN_WORK.max(2 * most(entries))
    }

    fn admit(&mut self, slot: Slot, request: Arc<PaintingRequest>) {
        match Running::new(slot, request, &self.description, self.steps) {
            Ok(running) => self.running.push(running),
            Err(error) => self.refused.push((slot, error)),
        }
    }

    fn remove(&mut self, slot: Slot) {
        self.refused.retain(|(refused, _)| *refused != slot);
        self.end(slot);
    }

    fn step(
        &mut self,
        context: &StepContext,
        outbox: &mut Outbox<'_, TextToImage>,
    ) -> Result<(), ModelError> {
        for (slot, error) in std::mem::take(&mut self.refused) {
            outbox.fail(slot, error);
        }
        self.look_after_all(outbox);
        self.steps += 1;
        // Of those who have waited equally long, the one that was admitted first.
        let next = (0..self.running.len())
            .filter(|&place| self.running[place].work() != Work::Wait)
            .min_by_key(|&place| self.running[place].turn);
        let Some(next) = next else {
            if !self.running.is_empty() {
                outbox.stall();
            }
            return Ok(());
        };
        match self.running[next].work() {
            Work::Denoise => self.denoise(next, context, outbox),
            work => {
                self.running[next].turn = self.steps;
                self.serve(next, work, context, outbox);
                Ok(())
            }
        }
    }
}
