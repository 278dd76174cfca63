//! Self-attention of packed texts: each text sees itself only, and nothing is padded.

use std::ops::Range;

use super::description::{Description, LayerKind};
use super::tables::Tables;
use crate::kernels::{self, Cpu, Packed};

/// Scores held at once.
const SCORES: usize = 1 << 16;

/// A text's rows in the packed matrices.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) length: usize,
}

/// Buffers of one thread.
#[derive(Debug, Default)]
pub(super) struct AttentionScratch {
    keys: Vec<f32>,
    values: Vec<f32>,
    scores: Vec<f32>,
}

#[cfg(feature = "testing")]
impl AttentionScratch {
    pub(super) fn held_values(&self) -> usize {
        self.keys.capacity() + self.values.capacity() + self.scores.capacity()
    }
}

/// What one thread reads while it computes its rows of one layer.
pub(super) struct Attention<'a> {
    pub(super) cpu: Cpu,
    pub(super) description: &'a Description,
    pub(super) layer: LayerKind,
    pub(super) tables: &'a Tables,
    pub(super) spans: &'a [Span],
    /// [tokens, qkv_width].
    pub(super) qkv: &'a [f32],
}

impl Attention<'_> {
    /// Computes `context` [rows, context_width] of the packed rows `rows`.
    pub(super) fn run(
        &self,
        rows: Range<usize>,
        context: &mut [f32],
        scratch: &mut AttentionScratch,
    ) {
        for span in self.spans {
            let first = rows.start.max(span.start);
            let last = rows.end.min(span.start + span.length);
            if first >= last {
                continue;
            }
            let stretch = self.stretch(last - first);
            for from in (first..last).step_by(stretch) {
                let to = last.min(from + stretch);
                self.stretch_of_text(*span, from..to, rows.start, context, scratch);
            }
        }
    }

    /// How many queries are served by one packing of keys and values: all of them where all see
    /// all, else few enough that little is packed and multiplied which the mask then hides.
    fn stretch(&self, queries: usize) -> usize {
        match self.layer.window {
            Some(window) => (2 * window).max(64),
            None if self.description.causal => 256,
            None => queries,
        }
    }

    /// The keys that the query at `query` sees, of a text with `length` tokens.
    fn seen(&self, query: usize, length: usize) -> Range<usize> {
        let window = self.layer.window.unwrap_or(length);
        let last = if self.description.causal {
            query + 1
        } else {
            length.min(query.saturating_add(window).saturating_add(1))
        };
        query.saturating_sub(window)..last
    }

    fn stretch_of_text(
        &self,
        span: Span,
        queries: Range<usize>,
        base: usize,
        context: &mut [f32],
        scratch: &mut AttentionScratch,
    ) {
        let (description, cpu) = (self.description, self.cpu);
        let width = description.head_width;
        let row = description.qkv_width();
        let out = description.context_width();
        let scale = match description.scaled {
            true => 1.0 / (width as f32).sqrt(),
            false => 1.0,
        };
        let first_key = self.seen(queries.start - span.start, span.length).start;
        let last_key = self.seen(queries.end - 1 - span.start, span.length).end;
        let count = last_key - first_key;

        let keys = grow(&mut scratch.keys, kernels::packed_len(cpu, width, count));
        let values = grow(&mut scratch.values, kernels::packed_len(cpu, count, width));
        let block = (SCORES / count / 8).clamp(1, 8) * 8;
        let scores = grow(&mut scratch.scores, block * count);
        let group = description.heads / description.kv_heads;

        for kv in 0..description.kv_heads {
            let key_at = (span.start + first_key) * row + (description.heads + kv) * width;
            let value_at = key_at + description.kv_heads * width;
            kernels::pack_transposed(cpu, keys, width, count, 0, count, &self.qkv[key_at..], row);
            kernels::pack_columns(cpu, values, count, width, &self.qkv[value_at..], row);
            for head in kv * group..(kv + 1) * group {
                for from in queries.clone().step_by(block) {
                    let to = queries.end.min(from + block);
                    let packed = Packed {
                        data: keys,
                        k: width,
                        n: count,
                    };
                    let query = &self.qkv[from * row + head * width..];
                    kernels::gemm(cpu, to - from, query, row, packed, &[], scores, count);
                    for (line, at) in scores.chunks_exact_mut(count).zip(from..to) {
                        let query = at - span.start;
                        let seen = self.seen(query, span.length);
                        let bias = self.tables.bias(head, query, seen.start, seen.end);
                        let (low, high) = (seen.start - first_key, seen.end - first_key);
                        line[..low].fill(0.0);
                        line[high..].fill(0.0);
                        kernels::softmax(cpu, &mut line[low..high], scale, bias);
                    }
                    let packed = Packed {
                        data: values,
                        k: count,
                        n: width,
                    };
                    let result = &mut context[(from - base) * out + head * width..];
                    kernels::gemm(cpu, to - from, scores, count, packed, &[], result, out);
                }
            }
        }
    }
}

/// The first `length` values of a buffer that only ever grows.
pub(super) fn grow(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        // No more than is asked for: it is what a worker's estimate counts.
        buffer.reserve_exact(length - buffer.len());
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}
