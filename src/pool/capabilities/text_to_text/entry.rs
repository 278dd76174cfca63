//! One sequence as the scheduler keeps it.

use super::blocks::BlockTable;
use super::step::SequenceId;

/// A sequence as the scheduler keeps it.
#[derive(Debug)]
pub(super) struct Entry {
    /// Prompt and answer so far.
    pub(super) tokens: Vec<u32>,
    pub(super) prompt_tokens: usize,
    /// How many of the tokens are in the cache.
    pub(super) computed: usize,
    pub(super) table: BlockTable,
    /// It has its blocks; otherwise it waits for them.
    pub(super) running: bool,
    /// Its reader has no room: it is left alone, and gives its blocks up if others need them.
    pub(super) paused: bool,
    /// Waits while this one's prompt is on its way into the cache, to share it.
    pub(super) after: Option<SequenceId>,
    /// How many tokens of its prompt it found in the cache when it first ran.
    pub(super) reused: usize,
    /// Its prompt was counted.
    pub(super) counted: bool,
    /// It has lost its blocks once: what it finds in the cache is no longer counted.
    pub(super) put_off: bool,
}

impl Entry {
    /// A sequence that has not begun.
    pub(super) fn new(prompt: &[u32], after: Option<SequenceId>) -> Self {
        Self {
            tokens: prompt.to_vec(),
            prompt_tokens: prompt.len(),
            computed: 0,
            table: BlockTable::default(),
            running: false,
            paused: false,
            after,
            reused: 0,
            counted: false,
            put_off: false,
        }
    }

    pub(super) fn remaining(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Everything but its newest token is in the cache.
    pub(super) fn is_decoding(&self) -> bool {
        self.computed > 0 && self.remaining() == 1
    }

    pub(super) fn is_active(&self) -> bool {
        self.running && !self.paused
    }

    pub(super) fn found(&mut self, computed: usize) {
        if !self.put_off {
            self.reused += computed - self.computed;
        }
        self.computed = computed;
    }
}
