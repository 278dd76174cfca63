//! Text to text in steps: one step is one token for every running sequence, and a piece of the
//! prompts that are being read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::answer::{FinishReason, GenerationRequest};
use super::outlet::Outlet;
use super::pace::Pace;
use super::params::{GenerationParams, Overlong};
use super::picture::{PictureRows, is_mark};
use super::plan::Plan;
use super::running::{Delivery, Running};
use super::schedule::Scheduler;
use super::step::{LogitRows, SequenceChunk, SequenceId};
use super::{LanguageModel, TextToText};
use crate::models::ModelError;
use crate::pool::core::{
    CacheStatus, Engine, EngineReport, Outbox, Slot, StepContext, TokenCounts,
};

/// The most sequences that one worker runs at once.
pub(crate) const MAX_RUNNING: usize = 64;

/// Drives a decoder: the scheduler says what runs, the decoder computes, and each sequence's own
/// sampler chooses its token.
pub struct TextToTextEngine {
    model: LanguageModel,
    scheduler: Scheduler,
    pace: Pace,
    logits: LogitRows,
    running: BTreeMap<Slot, Running>,
    slots: BTreeMap<SequenceId, Slot>,
    step_tokens: usize,
    /// Requests that were found to be impossible, to be told so in the next step.
    refused: Vec<(Slot, ModelError)>,
    next_sequence: u64,
    counted: TokenCounts,
}

impl fmt::Debug for TextToTextEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextToTextEngine")
            .field("model", &self.model)
            .field("requests", &self.running.len())
            .field("sequences", &self.slots.len())
            .finish_non_exhaustive()
    }
}

impl TextToTextEngine {
    pub(in crate::pool::capabilities) fn new(model: LanguageModel) -> Self {
        let limits = model.decoder().limits();
        Self {
            scheduler: Scheduler::new(limits, MAX_RUNNING),
            pace: Pace::default(),
            logits: LogitRows::new(limits.vocabulary),
            model,
            running: BTreeMap::new(),
            slots: BTreeMap::new(),
            step_tokens: limits.step_tokens,
            refused: Vec::new(),
            next_sequence: 1,
            counted: TokenCounts::default(),
        }
    }

    /// The prompt as the decoder is given it, if it can be, and the place of the picture in it.
    fn fitted(
        &self,
        prompt: &[u32],
        params: &GenerationParams,
        rows: usize,
    ) -> Result<(Vec<u32>, usize), ModelError> {
        let vocabulary = self.logits.vocabulary();
        let refuse = |detail: String| Err(ModelError::Tokenize { detail });
        if prompt.is_empty() {
            return refuse("it has no tokens".to_owned());
        }
        let first_mark = prompt.iter().position(|token| is_mark(*token));
        let start = first_mark.filter(|_| rows > 0).unwrap_or(prompt.len());
        let marks = prompt[start..].iter().take_while(|token| is_mark(**token));
        let marks = marks.count();
        if marks != rows {
            return refuse(format!("it has {marks} marks for a picture of {rows} rows"));
        }
        let mut text = prompt[..start].iter().chain(&prompt[start + marks..]);
        if let Some(token) = text.find(|token| **token as usize >= vocabulary) {
            return refuse(format!(
                "token {token} is outside the vocabulary of {vocabulary}"
            ));
        }
        // One place is for the first token of the answer.
        let most = self.longest_prompt();
        if prompt.len() <= most {
            return Ok((prompt.to_vec(), start));
        }
        // A part of a picture means nothing.
        if most == 0 || rows > 0 || params.overlong == Overlong::Refuse {
            return Err(ModelError::PromptTooLong {
                tokens: prompt.len(),
                most,
            });
        }
        let for_answer = params.max_tokens.saturating_sub(1);
        let kept = most.saturating_sub(for_answer).max(most.div_ceil(2));
        let language = self.model.language();
        let bos = language.and_then(|language| language.tokenizer().special().bos);
        let stays = usize::from(kept > 1 && prompt.first().copied() == bos);
        let (beginning, end) = (&prompt[..stays], &prompt[prompt.len() - (kept - stays)..]);
        Ok(([beginning, end].concat(), kept))
    }

    /// Takes up a prompt, and the picture that it has marks for.
    pub(in crate::pool::capabilities) fn begin(
        &mut self,
        slot: Slot,
        prompt: &[u32],
        params: &GenerationParams,
        picture: Option<Arc<PictureRows>>,
    ) -> Result<(), ModelError> {
        let rows = picture.as_ref().map_or(0, |picture| picture.places());
        let (prompt, start) = self.fitted(prompt, params, rows)?;
        let picture = picture.map(|picture| (picture, start));
        let first = SequenceId(self.next_sequence);
        let language = self.model.language();
        let running = Running::new(slot, &prompt, params, picture, first, language)?;
        for sequence in running.sequences() {
            let after = (sequence != first).then_some(first);
            self.scheduler.add(sequence, &prompt, after);
            self.slots.insert(sequence, slot);
            self.next_sequence = sequence.0 + 1;
        }
        self.running.insert(slot, running);
        Ok(())
    }

    /// Forgets a request: its blocks are free for others.
    fn end(&mut self, slot: Slot) {
        let Some(running) = self.running.remove(&slot) else {
            return;
        };
        for sequence in running.sequences() {
            self.end_sequence(sequence);
        }
    }

    fn end_sequence(&mut self, sequence: SequenceId) {
        if self.slots.remove(&sequence).is_some() {
            self.scheduler.remove(sequence);
            self.model.decoder_mut().forget(sequence);
        }
    }

    /// Sends what could not be sent before, and leaves those alone whose readers have no room.
    fn look_after_readers(&mut self, outbox: &mut dyn Outlet) {
        let slots: Vec<Slot> = self.running.keys().copied().collect();
        for slot in slots {
            let sent = self.deliver(slot, outbox);
            let Some(running) = self.running.get_mut(&slot) else {
                continue;
            };
            running.begins(outbox.age(slot));
            let is_slow = outbox.is_stream(slot) && !outbox.has_room(slot);
            let paused = sent == Delivery::Waits || is_slow;
            for sequence in running.sequences() {
                self.scheduler.set_paused(sequence, paused);
            }
        }
    }

    fn deliver(&mut self, slot: Slot, outbox: &mut dyn Outlet) -> Delivery {
        let Some(running) = self.running.get_mut(&slot) else {
            return Delivery::Done;
        };
        let delivery = running.deliver(outbox);
        if delivery == Delivery::Ended {
            self.end(slot);
        }
        delivery
    }

    fn run(&mut self, plan: &Plan, context: &StepContext) -> Result<(), ModelError> {
        let chunks: Vec<SequenceChunk<'_>> = plan
            .chunks
            .iter()
            .filter_map(|planned| {
                let chunk = self.scheduler.chunk(planned)?;
                let slot = self.slots.get(&planned.sequence)?;
                let picture = self.running.get(slot)?.picture();
                Some(SequenceChunk { picture, ..chunk })
            })
            .collect();
        let wanted: usize = chunks.iter().map(SequenceChunk::wanted_rows).sum();
        let started = Instant::now();
        self.model
            .decoder_mut()
            .forward(&chunks, &mut self.logits, context)?;
        self.pace
            .observe(plan.decoding, plan.prefilling, started.elapsed());
        if wanted > 0 && self.logits.rows() != wanted {
            let detail = format!("{} rows of logits, not {wanted}", self.logits.rows());
            return Err(ModelError::Other(format!("the model gave {detail}")));
        }
        Ok(())
    }

    /// Chooses the next token of a sequence from its row of logits.
    fn choose(
        &mut self,
        sequence: SequenceId,
        row: usize,
        outbox: &mut dyn Outlet,
    ) -> Option<Slot> {
        let slot = *self.slots.get(&sequence)?;
        let running = self.running.get_mut(&slot)?;
        let logits = self.logits.row_mut(row)?;
        running.chose(outbox.age(slot), self.scheduler.reused_tokens(sequence));
        let choice = running.choice_mut(sequence)?;
        self.counted.generated += 1;
        match choice.go_on(logits, self.scheduler.tokens(sequence)) {
            Ok(Some(token)) => {
                if !self.scheduler.push(sequence, token) {
                    choice.finish(FinishReason::Length);
                    self.end_sequence(sequence);
                }
            }
            Ok(None) => self.end_sequence(sequence),
            Err(error) => {
                outbox.fail(slot, error);
                // Perhaps what lies in its blocks is to blame: nobody else is to find it.
                self.scheduler.discard(sequence);
                self.end(slot);
            }
        }
        Some(slot)
    }

    /// Counts a prompt, once, when it is in the cache.
    fn count_prompt(&mut self, sequence: SequenceId) {
        let (tokens, reused) = self.scheduler.take_prompt_count(sequence);
        self.counted.prompt += tokens as u64;
        self.counted.reused += reused as u64;
    }
}

impl TextToTextEngine {
    /// The model.
    pub(in crate::pool::capabilities) fn model_mut(&mut self) -> &mut LanguageModel {
        &mut self.model
    }

    /// As [`Engine::has_room_for`].
    pub(in crate::pool::capabilities) fn has_room_for_prompt(&self, prompt: &[u32]) -> bool {
        self.scheduler.has_room_for(prompt)
    }

    /// The most tokens that a prompt can have.
    pub(in crate::pool::capabilities) fn longest_prompt(&self) -> usize {
        self.scheduler.capacity_tokens().saturating_sub(1)
    }

    /// As [`Engine::step`], whatever capability the requests belong to.
    pub(in crate::pool::capabilities) fn advance(
        &mut self,
        context: &StepContext,
        outbox: &mut dyn Outlet,
    ) -> Result<(), ModelError> {
        for (slot, error) in std::mem::take(&mut self.refused) {
            outbox.fail(slot, error);
        }
        self.look_after_readers(outbox);
        let (pace, step_tokens) = (&self.pace, self.step_tokens);
        let plan = self
            .scheduler
            .plan(|decoding| pace.prefill_tokens(decoding, step_tokens));
        self.counted.put_off += plan.put_off.len() as u64;
        for sequence in &plan.put_off {
            self.model.decoder_mut().forget(*sequence);
        }
        if plan.chunks.is_empty() {
            if plan.put_off.is_empty() && !self.running.is_empty() {
                outbox.stall();
            }
            return Ok(());
        }
        self.run(&plan, context)?;
        let mut rows = 0..;
        for planned in &plan.chunks {
            self.scheduler.ran(planned);
            if !planned.last {
                continue;
            }
            self.count_prompt(planned.sequence);
            let Some(row) = rows.next() else { break };
            if let Some(slot) = self.choose(planned.sequence, row, outbox) {
                self.deliver(slot, outbox);
            }
        }
        Ok(())
    }
}

impl Engine<TextToText> for TextToTextEngine {
    fn has_room_for(&self, request: &GenerationRequest) -> bool {
        self.has_room_for_prompt(&request.prompt)
    }

    fn admit(&mut self, slot: Slot, request: Arc<GenerationRequest>) {
        if let Err(error) = self.begin(slot, &request.prompt, &request.params, None) {
            self.refused.push((slot, error));
        }
    }

    fn remove(&mut self, slot: Slot) {
        self.refused.retain(|(refused, _)| *refused != slot);
        self.end(slot);
    }

    fn step(
        &mut self,
        context: &StepContext,
        outbox: &mut Outbox<'_, TextToText>,
    ) -> Result<(), ModelError> {
        self.advance(context, outbox)
    }

    fn report(&mut self) -> EngineReport {
        let blocks = self.scheduler.blocks();
        EngineReport {
            tokens: std::mem::take(&mut self.counted),
            cache: Some(CacheStatus {
                blocks: blocks.count() as u64,
                used: blocks.used() as u64,
                kept: blocks.kept() as u64,
            }),
        }
    }
}
