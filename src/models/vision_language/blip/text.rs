//! The pass through BERT's layers: all rows of a step as those of one matrix.

use super::attention::{AttentionScratch, Heads, Stored};
use super::config::Text;
use super::weights::{AttentionTensors, HeadTensors, TextTensors};
use crate::kernels::{self, Cpu, LinearScratch, Team};

/// What a pass reads besides its rows.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) cpu: Cpu,
    pub(super) team: &'a Team,
    pub(super) text: &'a Text,
    pub(super) tensors: &'a TextTensors,
}

/// Buffers kept from step to step.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) linear: LinearScratch,
    pub(super) attention: AttentionScratch,
    pub(super) hidden: Vec<f32>,
    query: Vec<f32>,
    pub(super) key: Vec<f32>,
    pub(super) value: Vec<f32>,
    context: Vec<f32>,
    side: Vec<f32>,
    inside: Vec<f32>,
}

/// Some rows of one text in a pass.
pub(super) struct Rows<'a> {
    pub(super) tokens: &'a [u32],
    /// The place of the first of them in the text.
    pub(super) position: usize,
    /// The rows beside the text: of each, all layers' keys and values.
    pub(super) beside: &'a [f32],
}

/// What one text's rows see of their own text in one layer.
pub(super) trait Own {
    /// Computes `context` of `query`; `key` and `value` are those of the same rows.
    fn attend(
        &mut self,
        text: usize,
        layer: usize,
        rows: [&[f32]; 3],
        scratch: &mut AttentionScratch,
        context: &mut [f32],
    );
}

impl Pass<'_> {
    /// Runs all layers; the result lies in `scratch.hidden`.
    pub(super) fn run(self, texts: &[Rows<'_>], own: &mut impl Own, scratch: &mut Scratch) {
        let width = self.text.hidden;
        let total: usize = texts.iter().map(|text| text.tokens.len()).sum();
        self.embed(texts, total, scratch);
        let stride = self.text.row_values();
        for (number, layer) in self.tensors.layers.iter().enumerate() {
            let Scratch {
                linear,
                hidden,
                query,
                key,
                value,
                ..
            } = scratch;
            for (weights, out) in [
                (&layer.own.query, &mut *query),
                (&layer.own.key, &mut *key),
                (&layer.own.value, &mut *value),
            ] {
                out.resize(total * width, 0.0);
                weights.apply(self.cpu, self.team, linear, hidden, total, out);
            }
            scratch.context.resize(total * width, 0.0);
            let mut first = 0;
            for (index, text) in texts.iter().enumerate() {
                let range = first * width..(first + text.tokens.len()) * width;
                first += text.tokens.len();
                let rows = [&scratch.query, &scratch.key, &scratch.value];
                let rows = rows.map(|rows| &rows[range.clone()]);
                let context = &mut scratch.context[range];
                own.attend(index, number, rows, &mut scratch.attention, context);
            }
            self.close(&layer.own, total, scratch);

            let query = &mut scratch.query;
            let linear = &mut scratch.linear;
            let weights = &layer.beside.query;
            weights.apply(self.cpu, self.team, linear, &scratch.hidden, total, query);
            let mut first = 0;
            for text in texts {
                let range = first * width..(first + text.tokens.len()) * width;
                first += text.tokens.len();
                let count = text.beside.len() / stride;
                let at = 2 * number * width;
                let stored = Stored {
                    keys: &text.beside[at..],
                    values: &text.beside[at + width..],
                    stride,
                    count,
                };
                scratch.attention.attend(
                    self.cpu,
                    self.text.heads(),
                    &scratch.query[range.clone()],
                    stored,
                    |_| count,
                    &mut scratch.context[range],
                );
            }
            self.close(&layer.beside, total, scratch);

            let Scratch {
                linear,
                hidden,
                side,
                inside,
                ..
            } = scratch;
            inside.resize(total * self.text.intermediate, 0.0);
            let weights = &layer.mlp_in;
            weights.apply(self.cpu, self.team, linear, hidden, total, inside);
            kernels::activate(self.cpu, self.text.activation, inside);
            side.resize(total * width, 0.0);
            let weights = &layer.mlp_out;
            weights.apply(self.cpu, self.team, linear, inside, total, side);
            kernels::add(self.cpu, hidden, side);
            layer.mlp_norm.apply(self.cpu, hidden);
        }
    }

    fn embed(self, texts: &[Rows<'_>], total: usize, scratch: &mut Scratch) {
        let width = self.text.hidden;
        scratch.hidden.resize(total * width, 0.0);
        let mut rows = scratch.hidden.chunks_exact_mut(width);
        for text in texts {
            for ((place, token), row) in (text.position..).zip(text.tokens).zip(&mut rows) {
                self.tensors.words.read_row(*token as usize, row);
                let position = &self.tensors.positions[place * width..(place + 1) * width];
                kernels::add(self.cpu, row, position);
            }
        }
        self.tensors.norm.apply(self.cpu, &mut scratch.hidden);
    }

    /// `x = norm(x + out(context))`.
    fn close(self, attention: &AttentionTensors, total: usize, scratch: &mut Scratch) {
        let Scratch {
            linear,
            hidden,
            context,
            side,
            ..
        } = scratch;
        side.resize(total * self.text.hidden, 0.0);
        let weights = &attention.out;
        weights.apply(self.cpu, self.team, linear, context, total, side);
        kernels::add(self.cpu, hidden, side);
        attention.norm.apply(self.cpu, hidden);
    }

    /// All layers' keys and values of rows [count, seen] that stand beside a text.
    pub(super) fn beside(self, rows: &[f32], count: usize, scratch: &mut Scratch) -> Vec<f32> {
        let width = self.text.hidden;
        let stride = self.text.row_values();
        let mut all = vec![0.0; count * stride];
        for (number, layer) in self.tensors.layers.iter().enumerate() {
            for (part, weights) in [&layer.beside.key, &layer.beside.value]
                .into_iter()
                .enumerate()
            {
                let (side, linear) = (&mut scratch.side, &mut scratch.linear);
                side.resize(count * width, 0.0);
                weights.apply(self.cpu, self.team, linear, rows, count, side);
                let at = (2 * number + part) * width;
                for (row, side) in all.chunks_exact_mut(stride).zip(side.chunks_exact(width)) {
                    row[at..at + width].copy_from_slice(side);
                }
            }
        }
        all
    }

    /// The logits of some of the rows, whose numbers are given.
    pub(super) fn head(
        self,
        head: &HeadTensors,
        wanted: &[usize],
        scratch: &mut Scratch,
        logits: &mut [f32],
    ) {
        if wanted.is_empty() {
            return;
        }
        let width = self.text.hidden;
        let Scratch {
            linear,
            hidden,
            context,
            side,
            ..
        } = scratch;
        context.clear();
        for row in wanted {
            context.extend_from_slice(&hidden[row * width..(row + 1) * width]);
        }
        side.resize(context.len(), 0.0);
        let count = wanted.len();
        let weights = &head.transform;
        weights.apply(self.cpu, self.team, linear, context, count, side);
        kernels::activate(self.cpu, self.text.activation, side);
        head.norm.apply(self.cpu, side);
        let words = head.words.as_ref().unwrap_or(&self.tensors.words);
        let outputs = &mut [(words, &mut *logits)];
        kernels::linear(self.cpu, self.team, linear, side, count, outputs);
        for row in logits.chunks_exact_mut(head.bias.len()) {
            kernels::add(self.cpu, row, &head.bias);
        }
    }
}

/// A text that is read as a whole: all of its rows see all.
pub(super) struct Whole {
    pub(super) cpu: Cpu,
    pub(super) heads: Heads,
}

impl Own for Whole {
    fn attend(
        &mut self,
        _text: usize,
        _layer: usize,
        [query, key, value]: [&[f32]; 3],
        scratch: &mut AttentionScratch,
        context: &mut [f32],
    ) {
        let hidden = self.heads.hidden;
        let count = key.len() / hidden;
        let stored = Stored {
            keys: key,
            values: value,
            stride: hidden,
            count,
        };
        let (cpu, heads) = (self.cpu, self.heads);
        scratch.attend(cpu, heads, query, stored, |_| count, context);
    }
}
