//! The pass through the layers: all tokens of a step as the rows of one matrix.
//!
//! A step's rows are divided among its threads. Between two layers each thread needs the others'
//! keys and values, so the threads meet once a layer; the rest of a layer touches a thread's own
//! rows only, a block at a time that stays in its caches.

use std::ops::Range;

use super::attention::{Attention, AttentionScratch, Span, grow};
use super::description::{Description, Placement, Positions};
use super::source::Source;
use super::tables::Tables;
use super::weights::{LinearScratch, Tensors};
use crate::kernels::{self, Cpu, Team};

/// Rows that pass through a layer's linear parts together.
pub(super) const BLOCK: usize = 128;

/// Rows of a pass up to which its threads share the columns of each product, and not the rows.
const FEW: usize = 32;
/// Multiplications of a product for which they do.
const WORTH_A_FORK: usize = 1 << 19;

/// Rows are divided among threads in multiples of this, the kernels' tile.
pub(super) const TILE: usize = 8;

/// A model's unchanging parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Network<'a> {
    pub(super) cpu: Cpu,
    pub(super) description: &'a Description,
    pub(super) tensors: &'a Tensors,
}

/// How far a pass goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// How many layers are run, from the first on.
    pub(super) layers: usize,
    /// Whether the norm after the last layer follows, of models that have one.
    pub(super) norm: bool,
}

/// Buffers kept from step to step.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    tables: Tables,
    spans: Vec<Span>,
    hidden: Vec<f32>,
    /// Of this layer and of the next.
    qkv: [Vec<f32>; 2],
    threads: Vec<ThreadScratch>,
}

#[derive(Debug, Default)]
struct ThreadScratch {
    attention: AttentionScratch,
    context: Vec<f32>,
    mlp: Vec<f32>,
    side: Vec<f32>,
    linear: LinearScratch,
}

impl Scratch {
    /// The vectors [rows, hidden] that the last pass made of each sequence.
    pub(super) fn sequences(&self) -> impl Iterator<Item = &[f32]> {
        let total = self.spans.last().map_or(0, |span| span.start + span.length);
        let width = self.hidden.len().checked_div(total).unwrap_or(0);
        self.spans
            .iter()
            .map(move |span| &self.hidden[span.start * width..][..span.length * width])
    }

    /// What all buffers take, in bytes, without tables.
    #[cfg(feature = "testing")]
    pub(super) fn held_bytes(&self) -> u64 {
        let buffers = [&self.hidden, &self.qkv[0], &self.qkv[1]];
        let own = self.threads.iter().map(|own| {
            let buffers = [&own.context, &own.mlp, &own.side];
            buffers.map(Vec::capacity).iter().sum::<usize>() + own.attention.held_values()
        });
        let linear = self.threads.iter().map(|own| own.linear.held_bytes());
        let values = buffers.map(Vec::capacity).iter().sum::<usize>() + own.sum::<usize>();
        4 * values as u64 + linear.sum::<u64>()
    }
}

impl Network<'_> {
    /// All layers, and the norm after them.
    pub(super) fn whole(self) -> Extent {
        Extent {
            layers: self.description.layers.len(),
            norm: true,
        }
    }

    /// Runs the layers over what `source` gives. The result lies in `scratch`.
    pub(super) fn run(
        self,
        source: &impl Source,
        extent: Extent,
        team: &Team,
        scratch: &mut Scratch,
    ) {
        scratch.spans.clear();
        let (mut total, mut longest) = (0, 0);
        for length in source.lengths() {
            scratch.spans.push(Span {
                start: total,
                length,
            });
            total += length;
            longest = longest.max(length);
        }
        let buckets = &self.tensors.distance_buckets;
        scratch.tables.ensure(self.description, buckets, longest);
        grow(&mut scratch.hidden, total * self.description.hidden);
        scratch.hidden.truncate(total * self.description.hidden);
        // Few rows are not worth dividing: each thread would read all weights for its own.
        let width = self.description.hidden;
        let by_columns = total <= FEW && total * width * width >= WORTH_A_FORK;
        let threads = team.threads();
        let by_rows = match by_columns {
            true => 1,
            false => threads.clamp(1, total.div_ceil(TILE).max(1)),
        };
        if scratch.threads.len() < by_rows {
            scratch.threads.resize_with(by_rows, Default::default);
        }
        for own in &mut scratch.threads {
            own.linear.cut(if by_columns { threads } else { 1 });
        }
        if by_rows == 1 && !(by_columns && threads > 1) {
            team.run_alone(|| self.layers(source, extent, total, 1, scratch));
        } else {
            // On the team's threads from here on, where meeting often is cheap.
            team.run(|| self.layers(source, extent, total, by_rows, scratch));
        }
    }

    fn layers(
        self,
        source: &impl Source,
        extent: Extent,
        total: usize,
        threads: usize,
        scratch: &mut Scratch,
    ) {
        let Scratch {
            tables,
            spans,
            hidden,
            qkv: [now, next],
            threads: buffers,
        } = scratch;
        let width = self.description.qkv_width();
        let size = total.div_ceil(threads).next_multiple_of(TILE);
        let mut now = grow(now, total * width);
        let mut next = grow(next, total * width);
        let pass = Pass {
            network: self,
            extent,
            tables,
            spans,
        };
        for layer in 0..=extent.layers {
            let qkv: &[f32] = now;
            let chunks = hidden
                .chunks_mut(size * self.description.hidden)
                .zip(next.chunks_mut(size * width))
                .zip(buffers.iter_mut())
                .enumerate();
            let work = |number: usize,
                        hidden: &mut [f32],
                        next: &mut [f32],
                        buffers: &mut ThreadScratch| {
                let start = number * size;
                let rows = start..total.min(start + size);
                if let Some(layer) = layer.checked_sub(1) {
                    pass.layer(layer, rows, qkv, hidden, next, buffers);
                } else {
                    pass.embed(source, rows, hidden, next, buffers);
                }
            };
            if threads == 1 {
                for (number, ((hidden, next), buffers)) in chunks {
                    work(number, hidden, next, buffers);
                }
            } else {
                let work = &work;
                rayon::scope(|scope| {
                    for (number, ((hidden, next), buffers)) in chunks {
                        scope.spawn(move |_| work(number, hidden, next, buffers));
                    }
                });
            }
            std::mem::swap(&mut now, &mut next);
        }
    }
}

/// What all threads of a step read.
struct Pass<'a> {
    network: Network<'a>,
    extent: Extent,
    tables: &'a Tables,
    spans: &'a [Span],
}

impl Pass<'_> {
    /// Makes the rows' vectors and projects them for the first layer.
    fn embed(
        &self,
        source: &impl Source,
        rows: Range<usize>,
        hidden: &mut [f32],
        qkv: &mut [f32],
        buffers: &mut ThreadScratch,
    ) {
        let Network {
            cpu,
            description,
            tensors,
        } = self.network;
        let width = description.hidden;
        for (number, span) in self.spans.iter().enumerate() {
            let first = rows.start.max(span.start);
            let last = rows.end.min(span.start + span.length);
            if first < last {
                let lines = block(hidden, width, first - rows.start, last - rows.start);
                let within = first - span.start..last - span.start;
                source.fill(number, within, lines, &mut buffers.mlp);
            }
        }
        if let Some(norm) = &tensors.embedding_norm {
            norm.apply(cpu, hidden);
        }
        if self.extent.layers == 0 {
            return;
        }
        for from in (0..rows.len()).step_by(BLOCK) {
            let to = rows.len().min(from + BLOCK);
            let place = rows.start + from..rows.start + to;
            let x = &hidden[from * width..to * width];
            self.project(
                0,
                place,
                x,
                block(qkv, description.qkv_width(), from, to),
                &mut buffers.side,
                &mut buffers.linear,
            );
        }
    }

    /// One layer for some rows, and the next layer's projection of the result.
    fn layer(
        &self,
        number: usize,
        rows: Range<usize>,
        qkv: &[f32],
        hidden: &mut [f32],
        next: &mut [f32],
        buffers: &mut ThreadScratch,
    ) {
        let Network {
            cpu,
            description,
            tensors,
        } = self.network;
        let layer = &tensors.layers[number];
        let width = description.hidden;
        let context_width = description.context_width();
        let context = grow(&mut buffers.context, rows.len() * context_width);
        let attention = Attention {
            cpu,
            description,
            layer: description.layers[number],
            tables: self.tables,
            spans: self.spans,
            qkv,
        };
        attention.run(rows.clone(), context, &mut buffers.attention);

        for from in (0..rows.len()).step_by(BLOCK) {
            let to = rows.len().min(from + BLOCK);
            let count = to - from;
            let x = block(hidden, width, from, to);
            let side = grow(&mut buffers.side, count * width);
            let mlp = grow(&mut buffers.mlp, count * description.mlp_width());
            let context = &context[from * context_width..];
            let linear = &mut buffers.linear;

            layer
                .attention_out
                .apply(cpu, linear, count, context, context_width, side);
            kernels::add(cpu, x, side);
            match description.placement {
                Placement::Post => {
                    if let Some(norm) = &layer.attention_norm {
                        norm.apply(cpu, x);
                    }
                    layer.mlp_in.apply(cpu, linear, count, x, width, mlp);
                }
                Placement::Pre => {
                    side.copy_from_slice(x);
                    layer.mlp_norm.apply(cpu, side);
                    layer.mlp_in.apply(cpu, linear, count, side, width, mlp);
                }
            }
            if description.gated {
                kernels::gate(cpu, description.activation, mlp, description.intermediate);
            } else {
                kernels::activate(cpu, description.activation, mlp);
            }
            let stride = description.mlp_width();
            layer.mlp_out.apply(cpu, linear, count, mlp, stride, side);
            kernels::add(cpu, x, side);
            if description.placement == Placement::Post {
                layer.mlp_norm.apply(cpu, x);
            }
            if number + 1 < self.extent.layers {
                let place = rows.start + from..rows.start + to;
                let next = block(next, description.qkv_width(), from, to);
                self.project(number + 1, place, x, next, &mut buffers.side, linear);
            } else if let Some(norm) = tensors.final_norm.as_ref().filter(|_| self.extent.norm) {
                norm.apply(cpu, x);
            }
        }
    }

    /// Queries, keys and values of a block of rows for layer `number`.
    fn project(
        &self,
        number: usize,
        rows: Range<usize>,
        x: &[f32],
        qkv: &mut [f32],
        side: &mut Vec<f32>,
        linear: &mut LinearScratch,
    ) {
        let Network {
            cpu,
            description,
            tensors,
        } = self.network;
        let layer = &tensors.layers[number];
        let width = description.hidden;
        let norm = layer
            .attention_norm
            .as_ref()
            .filter(|_| description.placement == Placement::Pre);
        if let Some(norm) = norm {
            let side = grow(side, x.len());
            side.copy_from_slice(x);
            norm.apply(cpu, side);
            layer.qkv.apply(cpu, linear, rows.len(), side, width, qkv);
        } else {
            layer.qkv.apply(cpu, linear, rows.len(), x, width, qkv);
        }
        let is_rotary = description.positions == Positions::Rotary;
        if layer.query_norm.is_none() && layer.key_norm.is_none() && !is_rotary {
            return;
        }
        let theta = description.layers[number].theta;
        let query_width = description.context_width();
        let key_width = description.kv_heads * description.head_width;
        let lines = qkv.chunks_exact_mut(description.qkv_width());
        for (line, place) in lines.zip(self.places(rows)) {
            let (queries, rest) = line.split_at_mut(query_width);
            if let Some(norm) = &layer.query_norm {
                norm.apply(cpu, queries);
            }
            if let Some(norm) = &layer.key_norm {
                norm.apply(cpu, &mut rest[..key_width]);
            }
            if is_rotary {
                self.tables
                    .rotate(cpu, theta, place, &mut line[..query_width + key_width]);
            }
        }
    }

    /// Each row's place in its text.
    fn places(&self, rows: Range<usize>) -> impl Iterator<Item = usize> {
        let mut text = self
            .spans
            .partition_point(|span| span.start + span.length <= rows.start);
        rows.map(move |row| {
            while row >= self.spans[text].start + self.spans[text].length {
                text += 1;
            }
            row - self.spans[text].start
        })
    }
}

fn block(matrix: &mut [f32], width: usize, from: usize, to: usize) -> &mut [f32] {
    &mut matrix[from * width..to * width]
}
