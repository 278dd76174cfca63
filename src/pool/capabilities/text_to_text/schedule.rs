//! Which sequences run in a step. Pure: no model, no clock, no readers.

use std::collections::BTreeMap;

use super::blocks::Blocks;
use super::entry::Entry;
use super::plan::{Plan, Planned};
use super::shares::share_out;
use super::step::{DecoderLimits, SequenceChunk, SequenceId, WantedLogits};

/// Decides for each step which sequences run and how far, and owns the blocks of all.
///
/// * Running sequences go on by one token each before anything else; a quarter of the step is
///   kept for prompts, if there are any, and sequences that find no place take turns.
/// * The rest of the step goes to prompts, in pieces: half to the oldest, half in equal shares
///   to the others, so that a long prompt is neither starved nor makes short ones wait.
/// * A waiting sequence begins, in the order of arrival, when its whole text fits beside the
///   running ones and leaves each of those a block to grow by. It takes blocks from nobody but
///   sequences whose readers have no room.
/// * When a running sequence needs a block and there is none, the newest of those whose readers
///   have no room loses its blocks, or else the newest of all. It is computed anew later.
///
/// So the oldest sequence with a reader always goes on, and everybody finishes.
#[derive(Debug)]
pub struct Scheduler {
    limits: DecoderLimits,
    max_running: usize,
    blocks: Blocks,
    /// In the order of arrival: ids rise.
    entries: BTreeMap<SequenceId, Entry>,
    /// The sequence that went on last where not all could.
    turn: SequenceId,
}

impl Scheduler {
    /// No sequences yet; at most `max_running` (and at least 1) are to run at once.
    pub fn new(limits: DecoderLimits, max_running: usize) -> Self {
        Self {
            blocks: Blocks::new(limits.blocks, limits.block_tokens),
            max_running: max_running.max(1),
            limits,
            entries: BTreeMap::new(),
            turn: SequenceId(0),
        }
    }

    /// The most tokens that a sequence can have, were it alone.
    pub fn capacity_tokens(&self) -> usize {
        let cached = self.blocks.count() * self.limits.block_tokens.max(1);
        self.limits.context_tokens.min(cached)
    }

    /// The cache's blocks.
    pub fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// How many sequences there are.
    pub fn sequences(&self) -> usize {
        self.entries.len()
    }

    /// Whether a sequence of these tokens could begin at once, or can never begin and is best told
    /// so at once.
    pub fn has_room_for(&self, tokens: &[u32]) -> bool {
        let wanting = self.entries.values().filter(|entry| !entry.paused).count();
        let waits = |entry: &Entry| !entry.running && !entry.paused && entry.after.is_none();
        let growing = self.active().count();
        self.entries.is_empty()
            || tokens.len() >= self.capacity_tokens()
            || (wanting < self.max_running
                && !self.entries.values().any(waits)
                && self.blocks.cost(tokens) + growing <= self.blocks.available())
    }

    /// Takes a sequence in, which begins with `prompt`: between 1 and
    /// [`capacity_tokens`](Self::capacity_tokens) tokens. Its id must be higher than all before.
    /// While the prompt of `after` is on its way into the cache, it waits for that.
    pub fn add(&mut self, id: SequenceId, prompt: &[u32], after: Option<SequenceId>) {
        self.entries.insert(id, Entry::new(prompt, after));
    }

    /// Forgets a sequence; its blocks are free for others.
    pub fn remove(&mut self, id: SequenceId) {
        if let Some(mut entry) = self.entries.remove(&id) {
            self.blocks.release(&mut entry.table);
        }
    }

    /// Forgets a sequence that was computed wrongly: what its blocks hold is not found again.
    pub fn discard(&mut self, id: SequenceId) {
        if let Some(mut entry) = self.entries.remove(&id) {
            self.blocks.discard(&mut entry.table);
        }
    }

    /// Says whether a sequence's reader has no room.
    pub fn set_paused(&mut self, id: SequenceId, paused: bool) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.paused = paused;
        }
    }

    /// A sequence's tokens, prompt and answer.
    pub fn tokens(&self, id: SequenceId) -> &[u32] {
        self.entries
            .get(&id)
            .map_or(&[], |entry| entry.tokens.as_slice())
    }

    /// How many tokens of its prompt a sequence found in the cache.
    pub fn reused_tokens(&self, id: SequenceId) -> usize {
        self.entries.get(&id).map_or(0, |entry| entry.reused)
    }

    /// How many tokens a sequence's prompt has, and how many of them it found in the cache: the
    /// first time; zeros later.
    pub fn take_prompt_count(&mut self, id: SequenceId) -> (usize, usize) {
        match self.entries.get_mut(&id) {
            Some(entry) if !entry.counted => {
                entry.counted = true;
                (entry.prompt_tokens, entry.reused)
            }
            _ => (0, 0),
        }
    }

    /// The planned tokens with all that a model needs to know of their sequence; `None` once the
    /// sequence is gone.
    pub fn chunk(&self, planned: &Planned) -> Option<SequenceChunk<'_>> {
        let entry = self.entries.get(&planned.sequence)?;
        Some(SequenceChunk {
            sequence: planned.sequence,
            tokens: entry.tokens.get(planned.positions.clone())?,
            position: planned.positions.start,
            blocks: entry.table.blocks(),
            logits: if planned.last {
                WantedLogits::Last
            } else {
                WantedLogits::None
            },
            picture: None,
        })
    }

    /// What was planned has run.
    pub fn ran(&mut self, planned: &Planned) {
        if let Some(entry) = self.entries.get_mut(&planned.sequence) {
            entry.computed = planned.positions.end;
            self.blocks
                .remember(&mut entry.table, &entry.tokens, entry.computed);
        }
    }

    /// A sequence goes on with `token`. `false` if it has reached the
    /// [capacity](Self::capacity_tokens) and cannot.
    pub fn push(&mut self, id: SequenceId, token: u32) -> bool {
        let capacity = self.capacity_tokens();
        match self.entries.get_mut(&id) {
            Some(entry) if entry.tokens.len() < capacity => {
                entry.tokens.push(token);
                true
            }
            _ => false,
        }
    }

    /// Decides the next step. `prefill_tokens` says how many tokens of prompts (at least 1) may go
    /// beside so many sequences that go on by one.
    pub fn plan(&mut self, prefill_tokens: impl FnOnce(usize) -> usize) -> Plan {
        let mut plan = Plan::default();
        let step_tokens = self.limits.step_tokens.max(2);
        let prompts_wait = self
            .entries
            .values()
            .any(|entry| !entry.paused && !entry.is_decoding());
        let for_prompts = if prompts_wait {
            step_tokens.div_ceil(4)
        } else {
            0
        };
        self.plan_decoding(step_tokens - for_prompts, &mut plan);
        plan.decoding = plan.chunks.len();
        let prefill_tokens = prefill_tokens(plan.decoding).max(1);
        let room = prefill_tokens.min(step_tokens - plan.decoding);
        let begun = self.let_in(room, &mut plan);
        self.plan_prefilling(room, &begun, &mut plan);
        plan
    }

    fn active(&self) -> impl DoubleEndedIterator<Item = (&SequenceId, &Entry)> {
        self.entries.iter().filter(|(_, entry)| entry.is_active())
    }

    /// One token of each sequence that goes on, of at most `most` in turn.
    fn plan_decoding(&mut self, most: usize, plan: &mut Plan) {
        let mut ready: Vec<SequenceId> = self
            .active()
            .filter(|(_, entry)| entry.is_decoding())
            .map(|(id, _)| *id)
            .collect();
        if ready.len() > most {
            let first = ready.partition_point(|id| *id <= self.turn);
            ready.rotate_left(first);
            ready.truncate(most);
            self.turn = ready.last().copied().unwrap_or(self.turn);
            // The oldest first again: it is the newest that have to give way.
            ready.sort_unstable();
        }
        for id in ready {
            // It may have had to give way to an older one.
            if self.entries.get(&id).is_some_and(Entry::is_active) && self.grow(id, plan) {
                plan.chunks.extend(self.next_chunk(id, 1));
            }
        }
    }

    /// Sees to it that a running sequence has a block for its newest token. `false` if it had to
    /// give way itself.
    fn grow(&mut self, id: SequenceId, plan: &mut Plan) -> bool {
        loop {
            let Some(entry) = self.entries.get_mut(&id) else {
                return false;
            };
            let positions = entry.tokens.len();
            if self.blocks.extend(&mut entry.table, positions) {
                return true;
            }
            let newest = self.active().next_back().map(|(id, _)| *id);
            let Some(victim) = self.newest_paused().or(newest) else {
                return false;
            };
            self.put_off(victim, plan);
            if victim == id {
                return false;
            }
        }
    }

    fn newest_paused(&self) -> Option<SequenceId> {
        let holds_blocks = |entry: &Entry| entry.running && entry.paused;
        let mut newest_first = self.entries.iter().rev();
        newest_first
            .find(|(_, entry)| holds_blocks(entry))
            .map(|(id, _)| *id)
    }

    fn put_off(&mut self, id: SequenceId, plan: &mut Plan) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        self.blocks.release(&mut entry.table);
        entry.computed = 0;
        entry.running = false;
        entry.put_off = true;
        plan.chunks.retain(|planned| planned.sequence != id);
        plan.put_off.push(id);
    }

    /// Gives waiting sequences their blocks, in order, while there are some and the step has
    /// `room` tokens left for them, and tells which those are.
    fn let_in(&mut self, room: usize, plan: &mut Plan) -> Vec<SequenceId> {
        let mut begun = Vec::new();
        let waiting: Vec<SequenceId> = self
            .entries
            .iter()
            .filter(|(id, entry)| !entry.running && !entry.paused && !plan.put_off.contains(id))
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            let prefilling = self.active().filter(|(_, entry)| !entry.is_decoding());
            if self.active().count() >= self.max_running || prefilling.count() >= room {
                break;
            }
            if self.follows_unready(id) {
                continue;
            }
            if !self.let_one_in(id, plan) {
                break;
            }
            begun.push(id);
        }
        begun
    }

    /// Whether the sequence is to begin after another's prompt, which is on its way into the cache.
    fn follows_unready(&self, id: SequenceId) -> bool {
        let leader = self.entries.get(&id).and_then(|entry| entry.after);
        leader
            .and_then(|leader| self.entries.get(&leader))
            .filter(|leader| !leader.paused && !leader.put_off)
            .is_some_and(|leader| leader.computed < leader.prompt_tokens)
    }

    fn let_one_in(&mut self, id: SequenceId, plan: &mut Plan) -> bool {
        let growing = self.active().count();
        loop {
            let Some(entry) = self.entries.get_mut(&id) else {
                return true;
            };
            if self.blocks.cost(&entry.tokens) + growing <= self.blocks.available() {
                let found = self.blocks.adopt(&mut entry.table, &entry.tokens, 0);
                entry.found(found);
                entry.running = self.blocks.extend(&mut entry.table, entry.tokens.len());
                return entry.running;
            }
            let Some(victim) = self.newest_paused() else {
                return false;
            };
            self.put_off(victim, plan);
        }
    }

    /// Pieces of the prompts that are being taken in, `room` tokens in all. Those that have just
    /// `begun` are among them even if the cache holds all but their last token.
    fn plan_prefilling(&mut self, room: usize, begun: &[SequenceId], plan: &mut Plan) {
        let mut wanting: Vec<(SequenceId, usize)> = Vec::new();
        for (id, entry) in &mut self.entries {
            if entry.is_active() && (!entry.is_decoding() || begun.contains(id)) {
                // Another one may have computed what comes next, meanwhile.
                let found = self
                    .blocks
                    .adopt(&mut entry.table, &entry.tokens, entry.computed);
                entry.found(found);
                wanting.push((*id, entry.remaining()));
            }
        }
        let wanted: Vec<usize> = wanting.iter().map(|(_, remaining)| *remaining).collect();
        for ((id, _), share) in wanting.into_iter().zip(share_out(room, &wanted)) {
            plan.prefilling += share;
            plan.chunks.extend(self.next_chunk(id, share));
        }
    }

    fn next_chunk(&self, id: SequenceId, tokens: usize) -> Option<Planned> {
        let entry = self.entries.get(&id)?;
        let end = entry.computed + tokens;
        (tokens > 0).then_some(Planned {
            sequence: id,
            positions: entry.computed..end,
            last: end == entry.tokens.len(),
        })
    }
}
