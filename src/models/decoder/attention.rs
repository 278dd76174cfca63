//! Attention of a step's tokens over the cache.
//!
//! The work is divided into units: some query rows of one sequence that share a head of keys and
//! values. A unit reads its sequence's blocks twice, first the keys for the scores, then the values
//! for their mean. A row's result does not depend on which unit it is in.

use std::ops::Range;

use super::cache::{BLOCK_TOKENS, HeadCache, Tile};
use super::description::{Description, LayerKind};
use super::forward::Span;
use crate::kernels::{self, Cpu, Product};

/// Scores that a unit holds at once, unless its rows are few.
const SCORES: usize = 1 << 16;

/// A unit's fixed work, in the measure of a row's work on a position.
const READING: usize = 4;

/// Work that is worth a fork: rows by positions by components.
const WORTH_A_FORK: usize = 1 << 17;

/// Some query rows of one sequence. A chunk's rows are its tokens' query heads that share a head of
/// keys and values, token by token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    span: usize,
    kv_head: usize,
    first: usize,
    count: usize,
    /// About what it takes, to divide units fairly.
    cost: usize,
}

/// Buffers of one thread.
#[derive(Debug, Default)]
pub(super) struct AttentionScratch {
    tile: Tile,
    queries: Vec<f32>,
    scores: Vec<f32>,
}

impl AttentionScratch {
    /// Bytes held after sequences of up to `context` tokens and steps of up to `tokens`.
    pub(super) fn bytes(description: &Description, context: usize, tokens: usize) -> usize {
        let group = description.group();
        let longest = (context + 2 * BLOCK_TOKENS).next_multiple_of(BLOCK_TOKENS);
        let rows = (SCORES / longest).max(group).min(tokens * group);
        Tile::bytes(description.head_width) + 4 * rows * (description.head_width + longest)
    }
}

/// What all units of one layer read.
pub(super) struct Attention<'a> {
    pub(super) cpu: Cpu,
    pub(super) description: &'a Description,
    pub(super) layer: LayerKind,
    pub(super) spans: &'a [Span<'a>],
    /// [tokens, query_width].
    pub(super) queries: &'a [f32],
    pub(super) cache: &'a [HeadCache],
}

/// Divides a step's attention into units, in the order of their results: by head, then by sequence.
pub(super) fn plan(
    description: &Description,
    spans: &[Span<'_>],
    threads: usize,
    units: &mut Vec<Unit>,
) {
    units.clear();
    let group = description.group();
    let wholes = spans.len() * description.kv_heads;
    // With fewer sequences and heads than threads, rows that share a head part.
    let shares = threads.div_ceil(wholes.max(1));
    for kv_head in 0..description.kv_heads {
        for (number, span) in spans.iter().enumerate() {
            let rows = span.tokens * group;
            let length = span.position + span.tokens;
            let most = (SCORES / length.max(1)).max(group);
            let size = most.min(rows.div_ceil(shares)).max(1);
            for first in (0..rows).step_by(size) {
                let count = size.min(rows - first);
                units.push(Unit {
                    span: number,
                    kv_head,
                    first,
                    count,
                    cost: (count + READING) * length,
                });
            }
        }
    }
}

impl Attention<'_> {
    /// Computes the units' results, one after the other in `out`, with as many threads as there
    /// are scratches.
    pub(super) fn run(&self, units: &[Unit], out: &mut [f32], scratches: &mut [AttentionScratch]) {
        let width = self.description.head_width;
        let total: usize = units.iter().map(|unit| unit.cost).sum();
        if scratches.len() <= 1 || units.len() <= 1 || total * width < WORTH_A_FORK {
            let Some(scratch) = scratches.first_mut() else {
                return;
            };
            let mut rest = out;
            for unit in units {
                let (out, left) = rest.split_at_mut(unit.count * width);
                self.unit(*unit, out, scratch);
                rest = left;
            }
            return;
        }
        let (mine, theirs) = scratches.split_at_mut(scratches.len() / 2);
        let share = total * mine.len() / (mine.len() + theirs.len());
        let mut sum = 0;
        let mut middle = 0;
        for unit in units {
            if sum + unit.cost / 2 > share {
                break;
            }
            sum += unit.cost;
            middle += 1;
        }
        let (first, second) = units.split_at(middle);
        let rows: usize = first.iter().map(|unit| unit.count).sum();
        let (left, right) = out.split_at_mut(rows * width);
        rayon::join(
            || self.run(first, left, mine),
            || self.run(second, right, theirs),
        );
    }

    /// The positions that the query at `position` sees.
    fn seen(&self, position: usize) -> Range<usize> {
        let window = self.layer.window.unwrap_or(position + 1);
        (position + 1).saturating_sub(window)..position + 1
    }

    fn unit(&self, unit: Unit, out: &mut [f32], scratch: &mut AttentionScratch) {
        let Self {
            cpu, description, ..
        } = *self;
        let span = &self.spans[unit.span];
        let head = &self.cache[unit.kv_head];
        let (group, width) = (description.group(), description.head_width);
        let rows = unit.first..unit.first + unit.count;
        let m = unit.count;
        let position = |row: usize| span.position + row / group;

        let AttentionScratch {
            tile,
            queries,
            scores,
        } = scratch;
        queries.resize(m * width, 0.0);
        for (row, query) in rows.clone().zip(queries.chunks_exact_mut(width)) {
            let token = span.first + row / group;
            let at = unit.kv_head * group + row % group;
            let from = token * description.query_width() + at * width;
            query.copy_from_slice(&self.queries[from..from + width]);
        }

        let begin = self.seen(position(rows.start)).start;
        let end = position(rows.end - 1) + 1;
        let blocks = begin / BLOCK_TOKENS..end.div_ceil(BLOCK_TOKENS);
        let base = blocks.start * BLOCK_TOKENS;
        let stride = blocks.len() * BLOCK_TOKENS;
        scores.resize(m * stride, 0.0);
        for block in blocks.clone() {
            let keys = head.keys(cpu, span.blocks[block].index(), tile);
            let product = Product {
                a: queries,
                lda: width,
                b: keys,
                c: &mut scores[block * BLOCK_TOKENS - base..],
                ldc: stride,
                m,
                k: width,
                n: BLOCK_TOKENS,
                add: false,
            };
            kernels::multiply(cpu, product);
        }

        for (row, line) in rows.zip(scores.chunks_exact_mut(stride)) {
            let seen = self.seen(position(row));
            let (low, high) = (seen.start - base, seen.end - base);
            line[..low].fill(0.0);
            line[high..].fill(0.0);
            let mut scale = description.attention_scale;
            if let Some(cap) = description.attention_cap {
                kernels::soft_cap(cpu, &mut line[low..high], scale, cap);
                scale = 1.0;
            }
            kernels::softmax(cpu, &mut line[low..high], scale, &[]);
        }

        out.fill(0.0);
        for block in blocks {
            let first = block * BLOCK_TOKENS;
            // Beyond the end lies what an earlier sequence has left.
            let from = begin.saturating_sub(first);
            let to = BLOCK_TOKENS.min(end - first);
            let values = head.values(cpu, span.blocks[block].index(), tile);
            let product = Product {
                a: &scores[first - base + from..],
                lda: stride,
                b: &values[from * width..to * width],
                c: out,
                ldc: width,
                m,
                k: to - from,
                n: width,
                add: true,
            };
            kernels::multiply(cpu, product);
        }
    }
}
