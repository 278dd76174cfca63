//! The pass of a picture through the tower and the projector.

use rayon::prelude::*;

use super::attention::Attention;
use super::description::{Places, Sight, Tower};
use super::layout::Layout;
use super::weights::{Layer, SightTensors};
use crate::images::PixelTensor;
use crate::kernels::{self, Cpu, LinearScratch, Team};
use crate::models::ModelError;

/// Rows that pass through a layer's linear parts together.
const BLOCK: usize = 512;

/// The seeing half's unchanging parts.
#[derive(Clone, Copy)]
pub(super) struct Eye<'a> {
    pub(super) cpu: Cpu,
    pub(super) sight: &'a Sight,
    pub(super) tensors: &'a SightTensors,
}

/// Buffers kept from picture to picture; they only ever grow.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    linear: LinearScratch,
    hidden: Vec<f32>,
    qkv: [Vec<f32>; 3],
    /// The attention's result, head by head.
    attended: Vec<f32>,
    /// Of one block of rows.
    block: Vec<f32>,
    mlp: [Vec<f32>; 2],
}

/// Bytes that a picture of `rows` rows holds besides the weights, and that stay held after it.
pub(super) fn activation_bytes(sight: &Sight, rows: usize, threads: usize) -> u64 {
    let Sight {
        tower, projector, ..
    } = sight;
    let block = rows.min(BLOCK);
    let wide = 5 * tower.hidden + tower.head_width();
    let inner = tower.hidden + 2 * tower.intermediate;
    let cut = rows * tower.patch_values();
    let squares = rows / (tower.merge * tower.merge);
    let projected = projector.as_ref().map_or(0, |projector| {
        squares * (projector.inside + projector.outputs)
    });
    let scores = threads * super::attention::scratch_values(tower.head_width(), rows);
    4 * (rows * wide + block * inner + cut + projected + scores) as u64
}

/// What the seeing half makes of a picture.
#[derive(Debug)]
pub(super) struct Seen {
    /// [rows, outputs].
    pub(super) rows: Vec<f32>,
    /// Lines of rows, and rows of a line.
    pub(super) grid: [usize; 2],
}

impl Eye<'_> {
    /// Looks at a picture.
    pub(super) fn look(
        self,
        team: &Team,
        pixels: &PixelTensor,
        scratch: &mut Scratch,
    ) -> Result<Seen, ModelError> {
        let layout = Layout::new(&self.sight.tower, pixels)?;
        team.run(|| {
            self.tower(team, &layout, pixels, scratch);
            Ok(Seen {
                rows: self.project(team, &layout, scratch),
                grid: layout.grid,
            })
        })
    }

    /// Runs the tower: its rows are left in the buffer.
    pub(super) fn tower(
        self,
        team: &Team,
        layout: &Layout,
        pixels: &PixelTensor,
        scratch: &mut Scratch,
    ) {
        let Self {
            cpu,
            sight,
            tensors,
        } = self;
        let tower = &sight.tower;
        let patches = layout.cut(tower.patch, pixels);
        let before = usize::from(tower.has_class());
        let count = layout.patches.len() + before;
        let hidden = &mut scratch.hidden;
        hidden.clear();
        hidden.resize(count * tower.hidden, 0.0);
        let (class, rows) = hidden.split_at_mut(before * tower.hidden);
        class.copy_from_slice(&tensors.class);
        tensors.patches.apply(
            cpu,
            team,
            &mut scratch.linear,
            &patches,
            layout.patches.len(),
            rows,
        );
        if !tensors.positions.is_empty() {
            // Such pictures have no windows, so that the patches lie line by line, as the table does.
            kernels::add(cpu, hidden, &tensors.positions);
        }
        if let Some(norm) = &tensors.first_norm {
            norm.apply(cpu, hidden);
        }
        let angles = Angles::new(tower, layout);
        let whole = 0..count;
        for (layer, sees_all) in tensors.layers.iter().zip(&tower.layers) {
            let spans = match sees_all {
                true => std::slice::from_ref(&whole),
                false => layout.windows.as_slice(),
            };
            let pass = Pass {
                eye: self,
                team,
                layer,
                count,
            };
            pass.queries_keys_values(angles.as_ref(), scratch);
            pass.attend(spans, scratch);
            pass.feed_forward(scratch);
        }
        if let Some(norm) = &tensors.last_norm {
            norm.apply(cpu, &mut scratch.hidden);
        }
    }

    /// The tower's rows, without the one that stands for the whole picture where that is left out.
    pub(super) fn rows(self, scratch: &Scratch) -> &[f32] {
        let dropped = usize::from(self.sight.drops_class());
        &scratch.hidden[dropped * self.sight.tower.hidden..]
    }

    /// Makes the decoder's rows of the tower's, line by line.
    fn project(self, team: &Team, layout: &Layout, scratch: &mut Scratch) -> Vec<f32> {
        let mut rows = self.rows(scratch).to_vec();
        let cpu = self.cpu;
        let tower = &self.sight.tower;
        let (Some(projector), Some(tensors)) = (&self.sight.projector, &self.tensors.projector)
        else {
            return rows;
        };
        if let Some(norm) = &tensors.norm {
            norm.apply(cpu, &mut rows);
        }
        // The patches of a square lie one after the other: together they are one row.
        let count = rows.len() / (tower.hidden * tower.merge * tower.merge);
        let [first, second] = &tensors.layers;
        let mut inside = vec![0.0; count * projector.inside];
        let linear = &mut scratch.linear;
        first.apply(cpu, team, linear, &rows, count, &mut inside);
        kernels::activate(cpu, projector.activation, &mut inside);
        let width = projector.outputs;
        let mut projected = vec![0.0; count * width];
        second.apply(cpu, team, linear, &inside, count, &mut projected);
        if layout.windows.len() <= 1 {
            return projected;
        }
        let mut ordered = vec![0.0; projected.len()];
        for (row, place) in projected.chunks_exact(width).zip(&layout.squares) {
            ordered[place * width..(place + 1) * width].copy_from_slice(row);
        }
        ordered
    }
}

/// Cosines and sines of each row, [rows, head_width / 2] each: lines first, then columns.
struct Angles {
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl Angles {
    fn new(tower: &Tower, layout: &Layout) -> Option<Self> {
        let Places::Rotary { theta } = tower.places else {
            return None;
        };
        let share = tower.head_width() / 4;
        // In single precision, as the reference has them.
        let frequencies: Vec<f32> = (0..share)
            .map(|pair| 1.0 / (theta as f32).powf((2 * pair) as f32 / (2 * share) as f32))
            .collect();
        let angles = layout.patches.iter().flat_map(|place| {
            let turned = |axis: usize| frequencies.iter().map(move |f| place[axis] as f32 * f);
            turned(0).chain(turned(1))
        });
        let (cosines, sines) = angles
            .map(|angle| {
                let (sine, cosine) = f64::from(angle).sin_cos();
                (cosine as f32, sine as f32)
            })
            .unzip();
        Some(Self { cosines, sines })
    }
}

/// One layer's work on all rows.
struct Pass<'a> {
    eye: Eye<'a>,
    team: &'a Team,
    layer: &'a Layer,
    count: usize,
}

impl Pass<'_> {
    /// Blocks of rows, as ranges of values of rows of `width`.
    fn blocks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let count = self.count;
        (0..count)
            .step_by(BLOCK)
            .map(move |first| (first, count.min(first + BLOCK)))
    }

    fn queries_keys_values(&self, angles: Option<&Angles>, scratch: &mut Scratch) {
        let Eye { cpu, sight, .. } = self.eye;
        let width = sight.tower.hidden;
        for buffer in &mut scratch.qkv {
            buffer.resize(self.count * width, 0.0);
        }
        for (from, to) in self.blocks() {
            let range = from * width..to * width;
            scratch.block.clear();
            scratch.block.extend(&scratch.hidden[range.clone()]);
            self.layer.attention_norm.apply(cpu, &mut scratch.block);
            let [query, key, value] = scratch.qkv.each_mut().map(|qkv| &mut qkv[range.clone()]);
            let weights = self.layer.qkv.each_ref().map(|linear| &linear.weight);
            let mut outputs = [
                (weights[0], &mut *query),
                (weights[1], &mut *key),
                (weights[2], &mut *value),
            ];
            let x = scratch.block.as_slice();
            let linear = &mut scratch.linear;
            kernels::linear(cpu, self.team, linear, x, to - from, &mut outputs);
            for (linear, out) in self.layer.qkv.iter().zip([&mut *query, &mut *key, value]) {
                linear.add_bias(cpu, out);
            }
            if let Some(Angles { cosines, sines }) = angles {
                let pairs = sight.tower.head_width() / 2;
                for rows in [query, key] {
                    for (row, x) in (from..to).zip(rows.chunks_exact_mut(width)) {
                        let place = row * pairs..(row + 1) * pairs;
                        kernels::rope(cpu, x, &cosines[place.clone()], &sines[place]);
                    }
                }
            }
        }
    }

    /// `x + attention(x)`.
    fn attend(&self, spans: &[std::ops::Range<usize>], scratch: &mut Scratch) {
        let Eye { cpu, sight, .. } = self.eye;
        let tower = &sight.tower;
        let (width, head_width) = (tower.hidden, tower.head_width());
        scratch.attended.resize(self.count * width, 0.0);
        let [queries, keys, values] = scratch.qkv.each_ref().map(Vec::as_slice);
        let attention = Attention {
            cpu,
            head_width,
            stride: width,
            queries,
            keys,
            values,
        };
        let work = |(head, out): (usize, &mut [f32])| attention.head(head, spans, out);
        let share = self.count * head_width;
        match self.team.threads() {
            1 => scratch
                .attended
                .chunks_mut(share)
                .enumerate()
                .for_each(work),
            _ => scratch
                .attended
                .par_chunks_mut(share)
                .enumerate()
                .for_each(work),
        }
        for (from, to) in self.blocks() {
            scratch.block.clear();
            for row in from..to {
                for head in scratch.attended.chunks_exact(share) {
                    scratch
                        .block
                        .extend(&head[row * head_width..(row + 1) * head_width]);
                }
            }
            let side = &mut scratch.mlp[0];
            side.resize((to - from) * width, 0.0);
            let (x, linear) = (scratch.block.as_slice(), &mut scratch.linear);
            self.layer
                .attention_out
                .apply(cpu, self.team, linear, x, to - from, side);
            kernels::add(cpu, &mut scratch.hidden[from * width..to * width], side);
        }
    }

    /// `x + mlp(x)`.
    fn feed_forward(&self, scratch: &mut Scratch) {
        let Eye { cpu, sight, .. } = self.eye;
        let tower = &sight.tower;
        let Scratch {
            linear,
            hidden,
            block,
            mlp: [inside, up],
            ..
        } = scratch;
        let Layer {
            mlp_norm,
            mlp_in,
            mlp_up,
            mlp_out,
            ..
        } = self.layer;
        for (from, to) in self.blocks() {
            let count = to - from;
            let range = from * tower.hidden..to * tower.hidden;
            block.clear();
            block.extend(&hidden[range.clone()]);
            mlp_norm.apply(cpu, block);
            inside.resize(count * tower.intermediate, 0.0);
            mlp_in.apply(cpu, self.team, linear, block, count, inside);
            if let Some(layer) = mlp_up {
                up.resize(count * tower.intermediate, 0.0);
                layer.apply(cpu, self.team, linear, block, count, up);
                kernels::gate_by(cpu, tower.activation, inside, up);
            } else {
                kernels::activate(cpu, tower.activation, inside);
            }
            mlp_out.apply(cpu, self.team, linear, inside, count, block);
            kernels::add(cpu, &mut hidden[range], block);
        }
    }
}
