//! Attention that makes one vector of all rows (SigLIP's head).
//!
//! What asks is a learned vector, the same for every picture, and so is its query. A key's product with it is
//! therefore a product of the row itself with one vector a head, made when the weights are loaded; and as
//! weights add up to 1, a head's values are mixed before they are projected. Of the two projections of all
//! rows that attention otherwise takes, nothing is left.

use super::super::builder::Builder;
use super::super::description::Description;
use super::super::weights::{Linear, Norm};
use crate::kernels::{self, Activation, Cpu};
use crate::models::ModelError;

#[derive(Debug)]
pub(super) struct AttentionPooling {
    /// From a row to each head's score.
    scores: Linear,
    /// From each head's mixed row to its part of the result.
    values: Vec<Linear>,
    out: Linear,
    norm: Norm,
    mlp_in: Linear,
    mlp_out: Linear,
    activation: Activation,
}

/// Values held for a picture of `rows` rows.
pub(super) fn buffer_values(description: &Description, rows: usize) -> usize {
    let width = description.hidden;
    rows * (width + 64 + 2 * description.heads) + description.heads * width
}

impl AttentionPooling {
    /// Takes the weights of the part called `name`.
    pub(super) fn build(
        builder: &mut Builder<'_>,
        description: &Description,
        name: &str,
    ) -> Result<Self, ModelError> {
        let hidden = description.hidden;
        let at = |part: &str| format!("{name}.{part}");
        let before = builder.values;
        let probe = builder.tensor(&builder.within(&at("probe")), &[1, 1, hidden])?;
        let triple = hidden.saturating_mul(3);
        let weight = builder.within(&at("attention.in_proj_weight"));
        let weight = builder.tensor(&weight, &[triple, hidden])?;
        let bias = builder.within(&at("attention.in_proj_bias"));
        let bias = builder.tensor(&bias, &[triple])?;
        builder.values = before;

        let mut scores = Linear::new(hidden, description.heads);
        let rows = asking(description, &probe, &weight, &bias);
        builder.pack(&mut scores, 0, description.heads, &rows);
        builder.hold(&scores);
        let width = description.head_width;
        let mut values = Vec::with_capacity(description.heads);
        for head in 0..description.heads {
            let mut linear = Linear::new(hidden, width);
            let first = 2 * hidden + head * width;
            let rows = weight.get(first * hidden..(first + width) * hidden);
            builder.pack(&mut linear, 0, width, rows.unwrap_or_default());
            builder.hold(&linear);
            let bias = bias.get(first..first + width).unwrap_or_default();
            linear.bias = bias.to_vec();
            values.push(linear);
        }
        builder.values = builder.values.saturating_add(hidden as u64);

        let inside = description.intermediate;
        Ok(Self {
            scores,
            values,
            out: builder.linear(&[at("attention.out_proj")], hidden, &[hidden], true)?,
            norm: builder.norm(description, at("layernorm"), hidden)?,
            mlp_in: builder.linear(&[at("mlp.fc1")], hidden, &[inside], true)?,
            mlp_out: builder.linear(&[at("mlp.fc2")], inside, &[hidden], true)?,
            activation: description.activation,
        })
    }

    pub(super) fn values(&self) -> usize {
        let linears = [&self.scores, &self.out, &self.mlp_in, &self.mlp_out];
        let linears = linears.into_iter().chain(&self.values);
        linears.map(Linear::values).sum::<usize>() + self.norm.values()
    }

    /// Makes a vector of each picture's rows, [rows, hidden]; all of them are put end to end.
    pub(super) fn apply<'a>(
        &self,
        cpu: Cpu,
        pictures: impl Iterator<Item = &'a [f32]>,
    ) -> Vec<f32> {
        let hidden = self.scores.inputs;
        let mut mixed = Vec::new();
        for rows in pictures {
            self.mix(cpu, rows, &mut mixed);
        }
        let count = mixed.len() / hidden;
        let mut pooled = vec![0.0; count * hidden];
        self.out.apply_once(cpu, count, &mixed, &mut pooled);
        let mut normed = pooled.clone();
        self.norm.apply(cpu, &mut normed);
        let inside = self.mlp_in.outputs;
        let mut within = vec![0.0; count * inside];
        self.mlp_in.apply_once(cpu, count, &normed, &mut within);
        kernels::activate(cpu, self.activation, &mut within);
        self.mlp_out.apply_once(cpu, count, &within, &mut normed);
        kernels::add(cpu, &mut pooled, &normed);
        pooled
    }

    /// Appends what all heads see of one picture.
    fn mix(&self, cpu: Cpu, rows: &[f32], mixed: &mut Vec<f32>) {
        let hidden = self.scores.inputs;
        let heads = self.scores.outputs;
        let count = rows.len() / hidden;
        let mut scores = vec![0.0; count * heads];
        self.scores.apply_once(cpu, count, rows, &mut scores);
        let mut weights = vec![0.0; heads * count];
        for (head, line) in weights.chunks_exact_mut(count).enumerate() {
            let column = scores.iter().skip(head).step_by(heads);
            line.iter_mut()
                .zip(column)
                .for_each(|(to, from)| *to = *from);
            kernels::softmax(cpu, line, 1.0, &[]);
        }
        let mut packed = vec![0.0; kernels::packed_len(cpu, count, hidden)];
        kernels::pack_columns(cpu, &mut packed, count, hidden, rows, hidden);
        let packed = kernels::Packed {
            data: &packed,
            k: count,
            n: hidden,
        };
        let mut seen = vec![0.0; heads * hidden];
        kernels::gemm(cpu, heads, &weights, count, packed, &[], &mut seen, hidden);
        for (linear, seen) in self.values.iter().zip(seen.chunks_exact(hidden)) {
            let from = mixed.len();
            mixed.resize(from + linear.outputs, 0.0);
            linear.apply_once(cpu, 1, seen, &mut mixed[from..]);
        }
    }
}

/// For each head what a row's product with it is the score of, [heads, hidden]. What the keys' bias adds is
/// the same for all rows, and changes no weight.
fn asking(description: &Description, probe: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let Description {
        hidden,
        heads,
        head_width,
        ..
    } = *description;
    if weight.is_empty() {
        return Vec::new();
    }
    let scale = 1.0 / (head_width as f32).sqrt();
    let mut asking = vec![0.0; heads * hidden];
    for row in 0..hidden {
        let line = &weight[row * hidden..(row + 1) * hidden];
        let query: f32 = line.iter().zip(probe).map(|(a, b)| a * b).sum();
        let factor = (query + bias[row]) * scale;
        let key = &weight[(hidden + row) * hidden..][..hidden];
        let place = &mut asking[row / head_width * hidden..][..hidden];
        for (sum, value) in place.iter_mut().zip(key) {
            *sum += factor * value;
        }
    }
    asking
}
