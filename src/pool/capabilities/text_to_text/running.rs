//! A request that a worker has in hand.

use std::sync::Arc;
use std::time::Duration;

use super::answer::{FinishReason, Summary, TextChunk, Timings, Usage};
use super::choice::Choice;
use super::loaded::Language;
use super::outlet::Outlet;
use super::params::GenerationParams;
use super::picture::{PictureRows, PlacedPicture};
use super::step::SequenceId;
use crate::language::LanguageError;
use crate::pool::core::Slot;

/// A request's answers, and the account of it.
pub(super) struct Running {
    slot: Slot,
    /// The picture that the prompt is about, and the place of its first row.
    picture: Option<(Arc<PictureRows>, usize)>,
    choices: Vec<Choice>,
    finish: Vec<Option<FinishReason>>,
    usage: Usage,
    queued: Option<Duration>,
    first_token: Option<Duration>,
    last_token: Duration,
}

/// What became of what there was to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// All of it was sent, and the answers go on.
    Done,
    /// The reader has no room.
    Waits,
    /// The last item was sent.
    Ended,
}

impl Running {
    /// A request whose answers are the sequences from `first` on.
    pub(super) fn new(
        slot: Slot,
        prompt: &[u32],
        params: &GenerationParams,
        picture: Option<(Arc<PictureRows>, usize)>,
        first: SequenceId,
        language: Option<&Arc<Language>>,
    ) -> Result<Self, LanguageError> {
        let seed = params.sampling.seed.unwrap_or_else(|| fastrand::u64(..));
        let choices = (0..params.n)
            .map(|number| {
                let sequence = SequenceId(first.0 + number as u64);
                Choice::new(number, sequence, prompt, params, seed, language)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            slot,
            picture,
            finish: vec![None; choices.len()],
            choices,
            usage: Usage {
                prompt_tokens: prompt.len(),
                ..Usage::default()
            },
            queued: None,
            first_token: None,
            last_token: Duration::ZERO,
        })
    }

    /// The picture in its place in each of the sequences.
    pub(super) fn picture(&self) -> Option<PlacedPicture<'_>> {
        let (rows, start) = self.picture.as_ref()?;
        Some(PlacedPicture {
            rows,
            start: *start,
        })
    }

    pub(super) fn sequences(&self) -> impl Iterator<Item = SequenceId> + '_ {
        self.choices.iter().map(|choice| choice.sequence)
    }

    pub(super) fn choice_mut(&mut self, sequence: SequenceId) -> Option<&mut Choice> {
        let first = self.choices.first()?.sequence;
        let number = usize::try_from(sequence.0.checked_sub(first.0)?).ok()?;
        self.choices.get_mut(number)
    }

    /// The request was accepted `age` ago, and its first step begins.
    pub(super) fn begins(&mut self, age: Duration) {
        self.queued.get_or_insert(age);
    }

    /// A token was chosen, `age` after the request was accepted; `reused` tokens of the prompt had
    /// been found in the cache.
    pub(super) fn chose(&mut self, age: Duration, reused: usize) {
        if self.first_token.is_none() {
            self.first_token = Some(age);
            // The other answers find all of the prompt, which this one has computed.
            self.usage.cached_tokens = reused;
        }
        self.last_token = age;
    }

    /// Sends what there is to send, as far as the reader has room.
    pub(super) fn deliver(&mut self, outbox: &mut dyn Outlet) -> Delivery {
        if !outbox.is_stream(self.slot) {
            return self.deliver_whole(outbox);
        }
        for number in 0..self.choices.len() {
            if !self.choices[number].has_news() {
                continue;
            }
            let is_done = |(index, choice): (usize, &Choice)| {
                choice.is_finished() && (index == number || !choice.has_news())
            };
            let is_last = self.choices.iter().enumerate().all(is_done);
            if !is_last && !outbox.has_room(self.slot) {
                return Delivery::Waits;
            }
            let mut chunk = self.choices[number].take_chunk();
            self.usage.completion_tokens += chunk.tokens.len();
            self.finish[number] = chunk.finish.clone();
            if is_last {
                chunk.summary = Some(self.summary());
                outbox.finish(self.slot, chunk);
                return Delivery::Ended;
            }
            outbox.emit(self.slot, chunk);
        }
        Delivery::Done
    }

    /// To who asked for one item: all of the first answer, when all are finished.
    fn deliver_whole(&mut self, outbox: &mut dyn Outlet) -> Delivery {
        if !self.choices.iter().all(Choice::is_finished) {
            return Delivery::Done;
        }
        let mut first = TextChunk::default();
        for (number, choice) in self.choices.iter_mut().enumerate() {
            let chunk = choice.take_chunk();
            self.usage.completion_tokens += chunk.tokens.len();
            self.finish[number] = chunk.finish.clone();
            if number == 0 {
                first = chunk;
            }
        }
        first.summary = Some(self.summary());
        outbox.finish(self.slot, first);
        Delivery::Ended
    }

    fn summary(&self) -> Summary {
        Summary {
            usage: self.usage,
            finish: self.finish.iter().flatten().cloned().collect(),
            timings: Timings {
                queued: self.queued.unwrap_or_default(),
                first_token: self.first_token.unwrap_or_default(),
                total: self.last_token,
            },
        }
    }
}
