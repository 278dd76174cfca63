//! Attention among a picture's rows, one head at a time: each row sees those of its span.

use std::ops::Range;

use crate::kernels::{self, Cpu, Packed};

/// Queries whose scores are held at once.
const QUERIES: usize = 64;

/// What all heads of one layer read: [rows, stride] each, a head's columns side by side.
pub(super) struct Attention<'a> {
    pub(super) cpu: Cpu,
    pub(super) head_width: usize,
    pub(super) stride: usize,
    pub(super) queries: &'a [f32],
    pub(super) keys: &'a [f32],
    pub(super) values: &'a [f32],
}

/// How many values a head's work holds while it goes on.
pub(super) fn scratch_values(head_width: usize, rows: usize) -> usize {
    (rows + 64) * 2 * (head_width + 64) + QUERIES * rows
}

impl Attention<'_> {
    /// Computes one head's result, [rows, head_width].
    pub(super) fn head(&self, head: usize, spans: &[Range<usize>], out: &mut [f32]) {
        let (cpu, width, stride) = (self.cpu, self.head_width, self.stride);
        let scale = 1.0 / (width as f32).sqrt();
        let column = head * width;
        let longest = spans.iter().map(Range::len).max().unwrap_or(0);
        let mut keys = vec![0.0; kernels::packed_len(cpu, width, longest)];
        let mut values = vec![0.0; kernels::packed_len(cpu, longest, width)];
        let mut scores = vec![0.0; QUERIES.min(longest) * longest];
        for span in spans.iter().filter(|span| !span.is_empty()) {
            let count = span.len();
            let at = span.start * stride + column;
            kernels::pack_transposed(
                cpu,
                &mut keys,
                width,
                count,
                0,
                count,
                &self.keys[at..],
                stride,
            );
            kernels::pack_columns(cpu, &mut values, count, width, &self.values[at..], stride);
            for from in span.clone().step_by(QUERIES) {
                let m = QUERIES.min(span.end - from);
                let packed = Packed {
                    data: &keys,
                    k: width,
                    n: count,
                };
                let query = &self.queries[from * stride + column..];
                kernels::gemm(cpu, m, query, stride, packed, &[], &mut scores, count);
                for line in scores[..m * count].chunks_exact_mut(count) {
                    kernels::softmax(cpu, line, scale, &[]);
                }
                let packed = Packed {
                    data: &values,
                    k: count,
                    n: width,
                };
                let result = &mut out[from * width..];
                kernels::gemm(cpu, m, &scores, count, packed, &[], result, width);
            }
        }
    }
}
