//! What is to be done in a step.

use std::ops::Range;

use super::step::SequenceId;

/// Some tokens of a sequence that are to run in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Whose.
    pub sequence: SequenceId,
    /// Which of its tokens, by position.
    pub positions: Range<usize>,
    /// These are its last ones: its next token is to be chosen.
    pub last: bool,
}

/// What is to be done in a step.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What runs: first the sequences that go on by one token, then pieces of prompts.
    pub chunks: Vec<Planned>,
    /// How many of the chunks are of sequences that go on by one token.
    pub decoding: usize,
    /// How many tokens the others have.
    pub prefilling: usize,
    /// The sequences that lost their blocks, to be computed anew later.
    pub put_off: Vec<SequenceId>,
}
