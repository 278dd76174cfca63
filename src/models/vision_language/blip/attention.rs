//! Attention of a sequence's rows over keys and values that lie one after another.

use crate::kernels::{self, Cpu, Packed};

/// Queries whose scores are held at once.
const QUERIES: usize = 64;

/// Keys and values of a sequence: `count` rows, each `stride` after the one before.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a> {
    pub(super) keys: &'a [f32],
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
    pub(super) count: usize,
}

/// How many heads share a row of so many values.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub(super) heads: usize,
    pub(super) hidden: usize,
}

/// What a pass computes with, kept from layer to layer.
#[derive(Debug, Default)]
pub(super) struct AttentionScratch {
    keys: Vec<f32>,
    values: Vec<f32>,
    scores: Vec<f32>,
}

impl AttentionScratch {
    /// Computes `out` of `queries`, [rows, hidden] each: the query of row `r` sees the first `seen(r)`
    /// keys. What a row gets depends on no other row.
    pub(super) fn attend(
        &mut self,
        cpu: Cpu,
        Heads { heads, hidden }: Heads,
        queries: &[f32],
        stored: Stored<'_>,
        seen: impl Fn(usize) -> usize,
        out: &mut [f32],
    ) {
        let (width, count) = (hidden / heads, stored.count);
        let rows = queries.len() / hidden;
        let scale = 1.0 / (width as f32).sqrt();
        self.keys
            .resize(kernels::packed_len(cpu, width, count), 0.0);
        self.values
            .resize(kernels::packed_len(cpu, count, width), 0.0);
        self.scores.resize(QUERIES.min(rows) * count, 0.0);
        for head in 0..heads {
            let column = head * width;
            let keys = &stored.keys[column..];
            kernels::pack_transposed(
                cpu,
                &mut self.keys,
                width,
                count,
                0,
                count,
                keys,
                stored.stride,
            );
            let values = &stored.values[column..];
            kernels::pack_columns(cpu, &mut self.values, count, width, values, stored.stride);
            for first in (0..rows).step_by(QUERIES) {
                let m = QUERIES.min(rows - first);
                let packed = Packed {
                    data: &self.keys,
                    k: width,
                    n: count,
                };
                let query = &queries[first * hidden + column..];
                let scores = &mut self.scores;
                kernels::gemm(cpu, m, query, hidden, packed, &[], scores, count);
                for (row, line) in (first..).zip(scores[..m * count].chunks_exact_mut(count)) {
                    let (shown, hidden) = line.split_at_mut(seen(row));
                    kernels::softmax(cpu, shown, scale, &[]);
                    hidden.fill(0.0);
                }
                let packed = Packed {
                    data: &self.values,
                    k: count,
                    n: width,
                };
                let result = &mut out[first * hidden + column..];
                kernels::gemm(cpu, m, scores, count, packed, &[], result, hidden);
            }
        }
    }
}
