//! Pictures that come a step further together.

use super::description::{DiffusionDescription, GuidanceKind};
use super::model::{Conditioning, Denoise, TextToImageCapable};
use super::running::{Running, Work};
use crate::models::ModelError;
use crate::pool::core::{Slot, StepContext};

/// Pictures of one size that come a step further together: the places of their requests among those
/// running, and their own within these.
#[derive(Debug)]
pub(super) struct Group {
    pictures: Vec<(usize, usize)>,
}

/// What one picture is of a call.
struct Entry<'a> {
    /// Its place in the group.
    member: usize,
    is_negative: bool,
    conditioning: &'a Conditioning,
    timestep: f32,
}

impl Group {
    /// The pictures of the request at `first`, and while `max_batch` entries are not exceeded those of
    /// others of the same size, who have waited longest first.
    pub(super) fn around(first: usize, running: &[Running], max_batch: usize) -> Self {
        let size = running[first].size;
        let mut places: Vec<usize> = (0..running.len())
            .filter(|&place| place != first)
            .filter(|&place| running[place].size == size)
            .filter(|&place| running[place].work() == Work::Denoise)
            .collect();
        places.sort_by_key(|&place| running[place].turn);
        places.insert(0, first);
        let mut room = max_batch;
        let mut pictures = Vec::new();
        for place in places {
            let entries = running[place].entries();
            for picture in 0..running[place].pictures.len() {
                // One picture is walked even where its two entries need two calls.
                if entries > room && !pictures.is_empty() {
                    break;
                }
                room = room.saturating_sub(entries);
                pictures.push((place, picture));
            }
        }
        Self { pictures }
    }

    pub(super) fn pictures(&self) -> &[(usize, usize)] {
        &self.pictures
    }

    /// Comes a step further. Gives the requests that can't go on, and why.
    pub(super) fn walk(
        &self,
        model: &mut dyn TextToImageCapable,
        running: &mut [Running],
        description: &DiffusionDescription,
        context: &StepContext,
    ) -> Result<Vec<(Slot, ModelError)>, ModelError> {
        let mut timesteps = Vec::with_capacity(self.pictures.len());
        for &(place, picture) in &self.pictures {
            timesteps.push(running[place].pictures[picture].look().unwrap_or_default());
        }
        let mut predictions = self.predict(model, running, &timesteps, description, context)?;
        let mut failed: Vec<(Slot, ModelError)> = Vec::new();
        for (&(place, picture), [predicted, negative]) in self.pictures.iter().zip(&mut predictions)
        {
            let running = &mut running[place];
            if running.is_guided {
                guide(predicted, negative, running.request.guidance);
            }
            if let Err(error) = running.pictures[picture].walk(predicted)
                && failed.iter().all(|(slot, _)| *slot != running.slot)
            {
                failed.push((running.slot, error));
            }
        }
        Ok(failed)
    }

    /// For each picture, what is predicted with its prompt and, where that is needed, with its negative
    /// prompt.
    fn predict(
        &self,
        model: &mut dyn TextToImageCapable,
        running: &[Running],
        timesteps: &[f32],
        description: &DiffusionDescription,
        context: &StepContext,
    ) -> Result<Vec<[Vec<f32>; 2]>, ModelError> {
        let mut entries = Vec::new();
        for (member, (&(place, _), &timestep)) in self.pictures.iter().zip(timesteps).enumerate() {
            let Some(prompts) = &running[place].prompts else {
                continue;
            };
            let sides = [
                (false, Some(&prompts.positive)),
                (true, prompts.negative.as_ref()),
            ];
            for (is_negative, conditioning) in sides {
                if let Some(conditioning) = conditioning {
                    entries.push(Entry {
                        member,
                        is_negative,
                        conditioning,
                        timestep,
                    });
                }
            }
        }
        // Only entries of equally many tokens go into one call; the order is kept otherwise.
        entries.sort_by_key(|entry| entry.conditioning.tokens);
        let mut predictions = vec![[Vec::new(), Vec::new()]; self.pictures.len()];
        for same in
            entries.chunk_by(|one, other| one.conditioning.tokens == other.conditioning.tokens)
        {
            for call in same.chunks(description.max_batch.max(1)) {
                let batch: Vec<Denoise<'_>> = call
                    .iter()
                    .map(|entry| self.denoise(entry, running, description))
                    .collect();
                let predicted = model.predict(&batch, context)?;
                check(&batch, &predicted)?;
                for (entry, predicted) in call.iter().zip(predicted) {
                    predictions[entry.member][usize::from(entry.is_negative)] = predicted;
                }
            }
        }
        Ok(predictions)
    }

    fn denoise<'a>(
        &self,
        entry: &Entry<'a>,
        running: &'a [Running],
        description: &DiffusionDescription,
    ) -> Denoise<'a> {
        let (place, picture) = self.pictures[entry.member];
        let running = &running[place];
        let [width, height] = running.size;
        let embeds = description.guidance == GuidanceKind::Embedded;
        Denoise {
            latents: &running.pictures[picture].input,
            width,
            height,
            timestep: entry.timestep,
            conditioning: entry.conditioning,
            guidance: embeds.then_some(running.request.guidance),
        }
    }
}

fn check(batch: &[Denoise<'_>], predicted: &[Vec<f32>]) -> Result<(), ModelError> {
    let lengths = batch.iter().map(|denoise| denoise.latents.len());
    if predicted.len() == batch.len() && lengths.eq(predicted.iter().map(Vec::len)) {
        return Ok(());
    }
    let (found, wanted) = (predicted.len(), batch.len());
    let detail = format!("{found} predictions for {wanted} entries, or of another length");
    Err(ModelError::Other(format!("the model gave {detail}")))
}

/// Goes beyond the difference that the prompt makes.
fn guide(predicted: &mut [f32], negative: &[f32], guidance: f32) {
    for (predicted, negative) in predicted.iter_mut().zip(negative) {
        *predicted = negative + guidance * (*predicted - negative);
    }
}
