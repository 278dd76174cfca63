//! Attention of all queries to all keys, on the threads of the current pool.

use rayon::prelude::*;

use super::Cpu;
use super::elementwise::softmax;
use super::gemm::{Packed, gemm, pack_columns, pack_transposed, packed_len};

/// Queries whose scores are held at once by a thread.
const QUERIES: usize = 64;

/// Attention of several heads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads {
    pub(crate) queries: usize,
    pub(crate) keys: usize,
    /// Of a head's rows.
    pub(crate) width: usize,
    pub(crate) scale: f32,
    /// A query sees the key of its own place, and those before.
    pub(crate) causal: bool,
}

impl Heads {
    /// `softmax(scale · q · kᵀ) · v` for each head: `q` and `out` are `[heads, queries, width]`, `k` and
    /// `v` are `[heads, keys, width]`. A row of the result is the same, bit for bit, on any number of
    /// threads.
    pub(crate) fn attend(self, cpu: Cpu, q: &[f32], k: &[f32], v: &[f32], out: &mut [f32]) {
        let Self {
            queries,
            keys,
            width,
            ..
        } = self;
        if queries * width == 0 || keys == 0 {
            out.fill(0.0);
            return;
        }
        let heads = out.par_chunks_mut(queries * width).enumerate();
        heads.for_each(|(head, out)| {
            let q = &q[head * queries * width..][..queries * width];
            let k = &k[head * keys * width..][..keys * width];
            let v = &v[head * keys * width..][..keys * width];
            let mut by_key = vec![0.0; packed_len(cpu, width, keys)];
            pack_transposed(cpu, &mut by_key, width, keys, 0, keys, k, width);
            let by_key = Packed {
                data: &by_key,
                k: width,
                n: keys,
            };
            let mut values = vec![0.0; packed_len(cpu, keys, width)];
            pack_columns(cpu, &mut values, keys, width, v, width);
            let values = Packed {
                data: &values,
                k: keys,
                n: width,
            };
            let at_once = QUERIES * width;
            out.par_chunks_mut(at_once)
                .zip(q.par_chunks(at_once))
                .enumerate()
                .for_each(|(block, (out, q))| {
                    let rows = q.len() / width;
                    let mut scores = vec![0.0; rows * keys];
                    gemm(cpu, rows, q, width, by_key, &[], &mut scores, keys);
                    for (row, scores) in scores.chunks_exact_mut(keys).enumerate() {
                        let seen = match self.causal {
                            true => keys.min(block * QUERIES + row + 1),
                            false => keys,
                        };
                        let (seen, hidden) = scores.split_at_mut(seen);
                        softmax(cpu, seen, self.scale, &[]);
                        hidden.fill(0.0);
                    }
                    gemm(cpu, rows, &scores, keys, values, &[], out, width);
                });
        });
    }
}
