//! What a step's rows are before the first layer.

use std::ops::Range;

use super::description::Positions;
use super::forward::Network;
use crate::kernels;

/// Where the rows of a step come from.
pub(super) trait Source: Sync {
    /// How many rows each sequence has, none of them 0.
    fn lengths(&self) -> impl Iterator<Item = usize>;

    /// Writes the vectors of the rows `rows` of a sequence into `lines`, [rows, hidden]; `buffer` is
    /// for whatever it likes.
    fn fill(&self, sequence: usize, rows: Range<usize>, lines: &mut [f32], buffer: &mut Vec<f32>);
}

/// Texts: the vectors of their tokens, each within the vocabulary, and of their places.
pub(super) struct Words<'a> {
    pub(super) network: Network<'a>,
    pub(super) texts: &'a [&'a [u32]],
}

impl Source for Words<'_> {
    fn lengths(&self) -> impl Iterator<Item = usize> {
        self.texts.iter().map(|text| text.len())
    }

    fn fill(&self, sequence: usize, rows: Range<usize>, lines: &mut [f32], _buffer: &mut Vec<f32>) {
        let Network {
            cpu,
            description,
            tensors,
        } = self.network;
        let width = description.hidden;
        let text = self.texts[sequence];
        for (place, line) in rows.zip(lines.chunks_exact_mut(width)) {
            let word = text[place] as usize * width;
            line.copy_from_slice(&tensors.words[word..word + width]);
            if !tensors.positions.is_empty() {
                let position = match description.positions {
                    Positions::Learned { offset, .. } => (place + offset) * width,
                    _ => 0,
                };
                kernels::add(cpu, line, &tensors.positions[position..position + width]);
            }
        }
    }
}
