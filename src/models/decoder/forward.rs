//! The pass through the layers: all tokens of a step as the rows of one matrix, whatever sequences
//! they belong to.

use rayon::prelude::*;

use super::attention::{self, Attention, AttentionScratch, Unit};
use super::cache::{BLOCK_TOKENS, Cache, HeadCache};
use super::description::{Description, HeadNorm, LayerKind, Norms};
use super::rope::{Angles, Rope};
use super::weights::{Layer, Linear, Tensors};
use crate::kernels::{self, Cpu, LinearScratch, Matrix, Team};
use crate::pool::capabilities::text_to_text::{
    BlockId, LogitRows, SequenceChunk, WantedLogits, is_mark,
};

/// Values below which a pass over them is not worth a second thread.
const FORK: usize = 1 << 15;

/// A model's unchanging parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Network<'a> {
    pub(super) cpu: Cpu,
    pub(super) description: &'a Description,
    pub(super) tensors: &'a Tensors,
    /// One for each of the description's rotary positions.
    pub(super) ropes: &'a [Rope],
}

/// One sequence's rows in the step's matrices.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span<'a> {
    pub(super) first: usize,
    pub(super) tokens: usize,
    /// The position of the first of them in the sequence.
    pub(super) position: usize,
    pub(super) blocks: &'a [BlockId],
}

/// Buffers kept from step to step; they only ever grow.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    positions: Vec<[usize; 3]>,
    angles: Vec<Angles>,
    units: Vec<Unit>,
    linear: LinearScratch,
    attention: Vec<AttentionScratch>,
    hidden: Vec<f32>,
    normed: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    /// The attention's result by head, then as the rows of a matrix.
    attended: Vec<f32>,
    context: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    /// What both halves of a layer read, where they share a norm.
    shared: Vec<f32>,
}

/// Bytes that steps of `tokens` tokens hold besides weights and cache, their sequences being up to
/// `context` long, and that stay held after them.
pub(super) fn activation_bytes(
    description: &Description,
    tokens: usize,
    context: usize,
    threads: usize,
) -> u64 {
    let row = 3 * description.hidden
        + 3 * description.query_width()
        + 2 * description.key_width()
        + 2 * description.intermediate;
    let angles: usize = description.rotaries.iter().map(|rotary| rotary.width).sum();
    // The linear layers hold their input once more, in eight bits and with its scales.
    let widest = description
        .hidden
        .max(description.intermediate)
        .max(description.query_width());
    let attention = AttentionScratch::bytes(description, context, tokens);
    (tokens * (4 * (row + angles) + 2 * widest) + threads * attention) as u64
}

impl Network<'_> {
    /// Runs the chunks of one step: checked before, so that each has tokens of the vocabulary and
    /// blocks of the cache for all its positions.
    pub(super) fn run(
        self,
        team: &Team,
        chunks: &[SequenceChunk<'_>],
        cache: &mut Cache,
        scratch: &mut Scratch,
        logits: &mut LogitRows,
    ) {
        let wanted: usize = chunks.iter().map(SequenceChunk::wanted_rows).sum();
        let logits = logits.rows_mut(wanted);
        let mut spans = Vec::with_capacity(chunks.len());
        let mut total = 0;
        scratch.positions.clear();
        for chunk in chunks {
            let tokens = chunk.tokens.len();
            spans.push(Span {
                first: total,
                tokens,
                position: chunk.position,
                blocks: chunk.blocks,
            });
            total += tokens;
            let positions = chunk.position..chunk.position + tokens;
            scratch
                .positions
                .extend(positions.map(|place| match chunk.picture {
                    Some(picture) => picture.positions(place),
                    None => [place; 3],
                }));
        }
        team.run(|| {
            let step = Step {
                network: self,
                team,
                spans: &spans,
            };
            step.layers(chunks, total, cache, scratch);
            step.head(chunks, wanted, scratch, logits);
        });
    }
}

/// What all parts of a step read.
struct Step<'a> {
    network: Network<'a>,
    team: &'a Team,
    spans: &'a [Span<'a>],
}

impl Step<'_> {
    fn layers(
        &self,
        chunks: &[SequenceChunk<'_>],
        total: usize,
        cache: &mut Cache,
        scratch: &mut Scratch,
    ) {
        let Network {
            description,
            tensors,
            ropes,
            ..
        } = self.network;
        scratch.resize(description, ropes, total, self.team.threads());
        attention::plan(
            description,
            self.spans,
            self.team.threads(),
            &mut scratch.units,
        );
        let mut rows = scratch.hidden.chunks_exact_mut(description.hidden);
        for chunk in chunks {
            for ((place, token), row) in (chunk.position..).zip(chunk.tokens).zip(&mut rows) {
                let seen = chunk.picture.filter(|_| is_mark(*token));
                match seen.as_ref().and_then(|picture| picture.row_at(place)) {
                    Some(vector) => row.copy_from_slice(vector),
                    None => {
                        tensors.words.read_row(*token as usize, row);
                        multiply(row, description.embedding_scale);
                    }
                }
            }
        }
        for (number, layer) in tensors.layers.iter().enumerate() {
            let kind = description.layers[number];
            self.attention(layer, kind, total, cache.layer_mut(number), scratch);
            self.feed_forward(layer, total, scratch);
        }
    }

    /// The first half of a layer: `x + attention(x)`.
    fn attention(
        &self,
        layer: &Layer,
        kind: LayerKind,
        total: usize,
        cache: &mut [HeadCache],
        scratch: &mut Scratch,
    ) {
        let Network {
            cpu, description, ..
        } = self.network;
        let Scratch {
            hidden,
            normed,
            query,
            key,
            value,
            ..
        } = scratch;
        let norm = (&*layer.attention_norm, &*layer.attention_norm_bias);
        let x = self.normed(norm, hidden, normed);
        if description.norms == Norms::Shared {
            scratch.shared.clear();
            scratch.shared.extend_from_slice(x);
        }
        let mut outputs: [(&Matrix, &mut [f32]); 3] = [
            (&layer.query.weight, query),
            (&layer.key.weight, key),
            (&layer.value.weight, value),
        ];
        let linear = &mut scratch.linear;
        kernels::linear(cpu, self.team, linear, x, total, &mut outputs);

        let angles = kind.rotary.map(|rotary| &scratch.angles[rotary]);
        let rope = kind.rotary.map(|rotary| &self.network.ropes[rotary]);
        let turn = |linear: &Linear, norm: &[f32], width: usize, x: &mut [f32]| {
            self.rows(width, x, |first, x| {
                for (token, row) in (first..).zip(x.chunks_exact_mut(width)) {
                    self.turn(linear, norm, row, token, rope.zip(angles));
                }
            });
        };
        turn(
            &layer.query,
            &layer.query_norm,
            description.query_width(),
            query,
        );
        turn(&layer.key, &layer.key_norm, description.key_width(), key);
        add_bias(cpu, &layer.value, value);
        self.store(cache, key, value);

        let attention = Attention {
            cpu,
            description,
            layer: kind,
            spans: self.spans,
            queries: query,
            cache,
        };
        attention.run(
            &scratch.units,
            &mut scratch.attended,
            &mut scratch.attention,
        );
        let context = &mut scratch.context;
        self.gather(&scratch.attended, total, context);
        let output = &mut [(&layer.attention_out.weight, normed.as_mut_slice())];
        kernels::linear(cpu, self.team, linear, context, total, output);
        add_bias(cpu, &layer.attention_out, normed);
        self.add(&layer.attention_post_norm, normed, hidden);
    }

    /// The second half of a layer: `x + mlp(x)`.
    fn feed_forward(&self, layer: &Layer, total: usize, scratch: &mut Scratch) {
        let Network {
            cpu, description, ..
        } = self.network;
        let Scratch {
            hidden,
            normed,
            gate,
            up,
            linear,
            ..
        } = scratch;
        let x = match description.norms {
            Norms::Shared => &*scratch.shared,
            _ => self.normed((&layer.mlp_norm, &[]), hidden, normed),
        };
        let activation = description.activation;
        let inside = description.intermediate;
        if let Some(layer_up) = &layer.up {
            let mut outputs: [(&Matrix, &mut [f32]); 2] =
                [(&layer.gate.weight, gate), (&layer_up.weight, up)];
            kernels::linear(cpu, self.team, linear, x, total, &mut outputs);
            add_bias(cpu, &layer.gate, gate);
            add_bias(cpu, layer_up, up);
            self.rows(inside, gate, |first, gate| {
                let up = &up[first * inside..first * inside + gate.len()];
                kernels::gate_by(cpu, activation, gate, up);
            });
        } else {
            let outputs = &mut [(&layer.gate.weight, gate.as_mut_slice())];
            kernels::linear(cpu, self.team, linear, x, total, outputs);
            add_bias(cpu, &layer.gate, gate);
            self.rows(inside, gate, |_, gate| {
                kernels::activate(cpu, activation, gate);
            });
        }
        let output = &mut [(&layer.down.weight, normed.as_mut_slice())];
        kernels::linear(cpu, self.team, linear, gate, total, output);
        add_bias(cpu, &layer.down, normed);
        self.add(&layer.mlp_post_norm, normed, hidden);
    }

    /// The logits of the rows that are wanted.
    fn head(
        &self,
        chunks: &[SequenceChunk<'_>],
        wanted: usize,
        scratch: &mut Scratch,
        logits: &mut [f32],
    ) {
        if wanted == 0 {
            return;
        }
        let Network {
            cpu,
            description,
            tensors,
            ..
        } = self.network;
        let width = description.hidden;
        // Of each chunk the last rows, as many as are wanted.
        let mut place = 0;
        for (chunk, span) in chunks.iter().zip(self.spans) {
            let end = span.first + span.tokens;
            let first = match chunk.logits {
                WantedLogits::None => end,
                WantedLogits::Last => end - 1,
                WantedLogits::All => span.first,
            };
            scratch
                .hidden
                .copy_within(first * width..end * width, place * width);
            place += end - first;
        }
        let rows = wanted * width;
        let x = self.normed(
            (&tensors.final_norm, &tensors.final_norm_bias),
            &scratch.hidden[..rows],
            &mut scratch.normed[..rows],
        );
        let head = tensors.head.as_ref().unwrap_or(&tensors.words);
        let output = &mut [(head, &mut *logits)];
        kernels::linear(cpu, self.team, &mut scratch.linear, x, wanted, output);
        if !tensors.head_bias.is_empty() {
            for row in logits.chunks_exact_mut(tensors.head_bias.len()) {
                kernels::add(cpu, row, &tensors.head_bias);
            }
        }
        let scale = description.logit_scale;
        match description.logit_cap {
            Some(cap) => self.rows(description.vocabulary, logits, |_, logits| {
                kernels::soft_cap(cpu, logits, scale, cap);
            }),
            None => multiply(logits, scale),
        }
    }

    /// `x` by a norm, its weight and its bias, into `out`; `x` itself where there is no norm.
    fn normed<'x>(
        &self,
        (weight, bias): (&[f32], &[f32]),
        x: &'x [f32],
        out: &'x mut [f32],
    ) -> &'x [f32] {
        if weight.is_empty() {
            return x;
        }
        let Description {
            epsilon,
            layer_norms,
            ..
        } = *self.network.description;
        let width = weight.len();
        let cpu = self.network.cpu;
        self.rows(width, out, |first, out| {
            let x = &x[first * width..first * width + out.len()];
            if layer_norms {
                out.copy_from_slice(x);
                kernels::norm(cpu, out, weight, bias, epsilon, false);
            } else {
                kernels::rms_norm(cpu, x, out, weight, epsilon);
            }
        });
        out
    }

    /// Adds `side`, by a norm where there is one, to the residual stream.
    fn add(&self, norm: &[f32], side: &mut [f32], hidden: &mut [f32]) {
        let Network {
            cpu, description, ..
        } = self.network;
        if !norm.is_empty() {
            self.rows(norm.len(), side, |_, side| {
                kernels::norm(cpu, side, norm, &[], description.epsilon, true);
            });
        }
        multiply(side, description.residual_scale);
        kernels::add(cpu, hidden, side);
    }

    /// Makes a token's queries or keys of what the linear layer gave.
    fn turn(
        &self,
        linear: &Linear,
        norm: &[f32],
        row: &mut [f32],
        token: usize,
        rope: Option<(&Rope, &Angles)>,
    ) {
        let Network {
            cpu, description, ..
        } = self.network;
        add_bias(cpu, linear, row);
        if description.head_norm != HeadNorm::None {
            kernels::norm(cpu, row, norm, &[], description.epsilon, true);
        }
        let Some((rope, angles)) = rope else {
            return;
        };
        let (cosines, sines) = angles.of(token, rope.frequencies.len());
        if rope.width() == description.head_width {
            kernels::rope(cpu, row, cosines, sines);
        } else {
            for head in row.chunks_exact_mut(description.head_width) {
                kernels::rope(cpu, &mut head[..rope.width()], cosines, sines);
            }
        }
    }

    /// Writes the step's keys and values to a layer's cache.
    fn store(&self, cache: &mut [HeadCache], key: &[f32], value: &[f32]) {
        let Description {
            head_width: width, ..
        } = *self.network.description;
        let row = self.network.description.key_width();
        let head = |number: usize, head: &mut HeadCache| {
            for span in self.spans {
                for token in 0..span.tokens {
                    let position = span.position + token;
                    let block = span.blocks[position / BLOCK_TOKENS].index();
                    let from = (span.first + token) * row + number * width;
                    let (key, value) = (&key[from..from + width], &value[from..from + width]);
                    head.write(block, position % BLOCK_TOKENS, key, value);
                }
            }
        };
        if key.len() < FORK || self.team.threads() == 1 {
            for (number, cache) in cache.iter_mut().enumerate() {
                head(number, cache);
            }
        } else {
            let heads = cache.par_iter_mut().enumerate();
            heads.for_each(|(number, cache)| head(number, cache));
        }
    }

    /// From the attention's results by head to rows with all heads.
    fn gather(&self, attended: &[f32], total: usize, context: &mut [f32]) {
        let description = self.network.description;
        let part = description.group() * description.head_width;
        let width = description.query_width();
        self.rows(width, context, |first, context| {
            for (token, row) in (first..).zip(context.chunks_exact_mut(width)) {
                for (head, place) in row.chunks_exact_mut(part).enumerate() {
                    let from = (head * total + token) * part;
                    place.copy_from_slice(&attended[from..from + part]);
                }
            }
        });
    }

    /// Works on rows of `width` values, divided among the threads where they are many; the work is
    /// told the number of its first row.
    fn rows(&self, width: usize, x: &mut [f32], work: impl Fn(usize, &mut [f32]) + Sync) {
        let threads = self.team.threads();
        if threads == 1 || x.len() < FORK {
            work(0, x);
            return;
        }
        let rows = (x.len() / width).div_ceil(threads);
        let parts = x.par_chunks_mut(rows * width).enumerate();
        parts.for_each(|(number, x)| work(number * rows, x));
    }
}

impl Scratch {
    fn resize(&mut self, description: &Description, ropes: &[Rope], total: usize, threads: usize) {
        let sizes = [
            (&mut self.hidden, description.hidden),
            (&mut self.normed, description.hidden),
            (&mut self.query, description.query_width()),
            (&mut self.attended, description.query_width()),
            (&mut self.context, description.query_width()),
            (&mut self.key, description.key_width()),
            (&mut self.value, description.key_width()),
            (&mut self.gate, description.intermediate),
            (&mut self.up, description.intermediate),
        ];
        for (buffer, width) in sizes {
            buffer.resize(total * width, 0.0);
        }
        self.attention.resize_with(threads, Default::default);
        self.angles.resize_with(ropes.len(), Default::default);
        for (angles, rope) in self.angles.iter_mut().zip(ropes) {
            angles.fill(rope, &self.positions);
        }
    }
}

fn add_bias(cpu: Cpu, linear: &Linear, x: &mut [f32]) {
    if !linear.bias.is_empty() {
        for row in x.chunks_exact_mut(linear.bias.len()) {
            kernels::add(cpu, row, &linear.bias);
        }
    }
}

/// `x · factor`, which is 1 for most models.
#[expect(clippy::float_cmp, reason = "exactly 1 is what changes nothing")]
fn multiply(x: &mut [f32], factor: f32) {
    if factor != 1.0 {
        for value in x {
            *value *= factor;
        }
    }
}
