//! A language model as small as can be: it babbles, but what it says depends on all that it is
//! given and on where its cache says that this lies.

use std::fmt;

use crate::language::TextTokenizer;
use crate::model::{CandleModel, ModelInfo};
use crate::models::ModelError;
use crate::pool::capabilities::text_to_text::{
    DecoderLimits, Language, LogitRows, SequenceChunk, TextToTextCapable,
};
use crate::pool::core::StepContext;

/// What a cell of the cache holds that was never written.
const EMPTY: u64 = 0;

/// A model whose next token is a hash of the cells that it reads through the block table: one for
/// each earlier position, each of them made of its token, its position and all cells before it. A
/// wrong block, a wrong position or a stale cell changes everything that follows.
///
/// Its tokens are bytes, and the end of the text is [`Babbler::END`].
pub struct Babbler {
    info: ModelInfo,
    limits: DecoderLimits,
    cells: Vec<u64>,
}

impl fmt::Debug for Babbler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Babbler")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Babbler {
    /// The token with which a text ends.
    pub const END: u32 = 256;
    /// How many tokens there are.
    pub const VOCABULARY: usize = 257;

    /// A cache of 64 blocks of 4 positions, a context of 200 tokens, steps of 16.
    pub const LIMITS: DecoderLimits = DecoderLimits {
        context_tokens: 200,
        vocabulary: Self::VOCABULARY,
        block_tokens: 4,
        blocks: 64,
        step_tokens: 16,
    };

    /// A model with an empty cache. Its vocabulary is always [`Babbler::VOCABULARY`].
    pub fn new(info: ModelInfo, limits: DecoderLimits) -> Self {
        Self {
            info,
            limits: DecoderLimits {
                vocabulary: Self::VOCABULARY,
                ..limits
            },
            cells: vec![EMPTY; limits.blocks * limits.block_tokens],
        }
    }

    /// Its tokenizer, whose tokens are bytes.
    ///
    /// # Errors
    /// None that is known.
    pub fn language() -> Result<Language, ModelError> {
        Ok(Language::new(TextTokenizer::of_bytes()?))
    }

    /// What it says by itself, always taking the likeliest token: `count` tokens, or fewer if the
    /// text ends before.
    pub fn continuation(prompt: &[u32], count: usize) -> Vec<u32> {
        let mut cells = Vec::new();
        let mut said = Vec::new();
        let mut logits = vec![0.0; Self::VOCABULARY];
        let mut coming = prompt.to_vec();
        while said.len() < count {
            for token in coming.drain(..) {
                let cell = cell(token, cells.len(), state(cells.iter().copied()));
                cells.push(cell);
            }
            write_logits(state(cells.iter().copied()), &mut logits);
            let next = likeliest(&logits);
            if next == Self::END {
                break;
            }
            said.push(next);
            coming.push(next);
        }
        said
    }

    fn place(&self, chunk: &SequenceChunk<'_>, position: usize) -> Result<usize, ModelError> {
        let block = chunk.blocks.get(position / self.limits.block_tokens);
        let place = block.map(|block| {
            block.index() * self.limits.block_tokens + position % self.limits.block_tokens
        });
        place
            .filter(|&place| place < self.cells.len())
            .ok_or_else(|| ModelError::Other(format!("position {position} has no block")))
    }

    fn run(&mut self, chunk: &SequenceChunk<'_>) -> Result<Vec<u64>, ModelError> {
        let mut states = Vec::with_capacity(chunk.tokens.len());
        let mut before = Vec::with_capacity(chunk.position + chunk.tokens.len());
        for position in 0..chunk.position {
            before.push(self.cells[self.place(chunk, position)?]);
        }
        for (position, &token) in (chunk.position..).zip(chunk.tokens) {
            let cell = cell(token, position, state(before.iter().copied()));
            let place = self.place(chunk, position)?;
            self.cells[place] = cell;
            before.push(cell);
            states.push(state(before.iter().copied()));
        }
        Ok(states)
    }
}

impl CandleModel for Babbler {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl TextToTextCapable for Babbler {
    fn limits(&self) -> DecoderLimits {
        self.limits
    }

    fn forward(
        &mut self,
        chunks: &[SequenceChunk<'_>],
        logits: &mut LogitRows,
        _context: &StepContext,
    ) -> Result<(), ModelError> {
        let mut wanted = Vec::new();
        for chunk in chunks {
            let states = self.run(chunk)?;
            wanted.extend(&states[states.len() - chunk.wanted_rows().min(states.len())..]);
        }
        let rows = logits.rows_mut(wanted.len());
        for (row, state) in rows.chunks_exact_mut(Self::VOCABULARY).zip(wanted) {
            write_logits(state, row);
        }
        Ok(())
    }
}

fn mix(a: u64, b: u64) -> u64 {
    let mixed = (a ^ b.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ (mixed >> 29)
}

fn cell(token: u32, position: usize, before: u64) -> u64 {
    mix(mix(u64::from(token) + 1, position as u64 + 1), before) | 1
}

fn state(cells: impl Iterator<Item = u64>) -> u64 {
    cells.fold(0x243F_6A88_85A3_08D3, mix)
}

/// Likely are small letters and the space; now and then, the end.
fn write_logits(state: u64, row: &mut [f32]) {
    for (token, logit) in (0u64..).zip(row) {
        let noise = (mix(state, token + 1) >> 40) as f32 / (1 << 24) as f32;
        let likely = match u8::try_from(token) {
            Ok(b'a'..=b'z' | b' ') => 4.0,
            Ok(_) => -4.0,
            Err(_) if state.is_multiple_of(61) => 12.0,
            Err(_) => -4.0,
        };
        *logit = likely + 4.0 * noise;
    }
}

fn likeliest(logits: &[f32]) -> u32 {
    let best = (0u32..)
        .zip(logits)
        .max_by(|(_, one), (_, other)| one.total_cmp(other));
    best.map_or(0, |(token, _)| token)
}
