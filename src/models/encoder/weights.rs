//! A model's weights, laid out once for the kernels that read them.

use std::collections::BTreeSet;

use super::description::{Description, DistanceBias, Placement, Positions};
use super::families;
use super::modules::{Modules, Stage};
use crate::kernels::{self, Activation, Cpu, Packed};
use crate::models::ModelError;
use crate::models::checkpoint::{Checkpoint, Entry};

/// A linear layer: its weight packed as [inputs, outputs], its bias empty where it has none.
#[derive(Debug)]
pub(super) struct Linear {
    data: Vec<f32>,
    inputs: usize,
    outputs: usize,
    bias: Vec<f32>,
}

impl Linear {
    /// How many values it makes of a row.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    fn values(&self) -> usize {
        self.data.len() + self.bias.len()
    }

    /// Runs it on `rows` rows of `x`, `stride` apart; `y` has rows of [`Linear::outputs`].
    pub(super) fn apply(&self, cpu: Cpu, rows: usize, x: &[f32], stride: usize, y: &mut [f32]) {
        let weight = Packed {
            data: &self.data,
            k: self.inputs,
            n: self.outputs,
        };
        let outputs = self.outputs;
        kernels::gemm(cpu, rows, x, stride, weight, &self.bias, y, outputs);
    }
}

/// A norm's weight and its bias, empty where it has none.
#[derive(Debug)]
pub(super) struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
    rms: bool,
}

impl Norm {
    fn values(&self) -> usize {
        self.weight.len() + self.bias.len()
    }

    /// Normalises all rows of `x`.
    pub(super) fn apply(&self, cpu: Cpu, x: &mut [f32]) {
        kernels::norm(cpu, x, &self.weight, &self.bias, self.epsilon, self.rms);
    }
}

/// One layer's weights.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) qkv: Linear,
    pub(super) query_norm: Option<Norm>,
    pub(super) key_norm: Option<Norm>,
    pub(super) attention_out: Linear,
    pub(super) attention_norm: Option<Norm>,
    pub(super) mlp_in: Linear,
    pub(super) mlp_out: Linear,
    pub(super) mlp_norm: Norm,
}

impl Layer {
    fn values(&self) -> usize {
        let linears = [&self.qkv, &self.attention_out, &self.mlp_in, &self.mlp_out];
        let norms = [&self.query_norm, &self.key_norm, &self.attention_norm];
        let norms = norms.into_iter().flatten().chain([&self.mlp_norm]);
        linears.into_iter().map(Linear::values).sum::<usize>()
            + norms.map(Norm::values).sum::<usize>()
    }
}

/// What is done with the pooled vector.
#[derive(Debug)]
pub(super) enum HeadStage {
    Dense(Linear, Activation),
    Normalize,
}

/// All weights of a model.
#[derive(Debug)]
pub(super) struct Tensors {
    /// [vocabulary, hidden].
    pub(super) words: Vec<f32>,
    /// What is added to a token's vector by its position: [positions, hidden], or a single row
    /// where the position adds nothing, or empty. The vector of token type 0 is part of it.
    pub(super) positions: Vec<f32>,
    pub(super) embedding_norm: Option<Norm>,
    /// [buckets, heads]; empty where the model has none.
    pub(super) distance_buckets: Vec<f32>,
    pub(super) layers: Vec<Layer>,
    pub(super) final_norm: Option<Norm>,
    pub(super) head: Vec<HeadStage>,
}

impl Tensors {
    /// What all weights take in memory.
    pub(super) fn bytes(&self) -> u64 {
        let tables = self.words.len() + self.positions.len() + self.distance_buckets.len();
        let norms = self.embedding_norm.iter().chain(&self.final_norm);
        let head = self.head.iter().map(|stage| match stage {
            HeadStage::Dense(linear, _) => linear.values(),
            HeadStage::Normalize => 0,
        });
        let values = tables
            + norms.map(Norm::values).sum::<usize>()
            + self.layers.iter().map(Layer::values).sum::<usize>()
            + head.sum::<usize>();
        4 * values as u64
    }
}

/// Builds [`Tensors`]; or with `measure`, checks names, types and shapes in the headers and counts
/// what loading will hold, without reading a weight.
struct Builder<'a> {
    cpu: Cpu,
    checkpoint: &'a Checkpoint,
    /// What stands before every name in this checkpoint, such as "bert.".
    prefix: String,
    measure: bool,
    values: u64,
    used: BTreeSet<String>,
}

/// Checks a checkpoint against its description and counts the bytes that its weights will take.
pub(super) fn measure(
    cpu: Cpu,
    description: &Description,
    modules: &Modules,
    checkpoint: &Checkpoint,
) -> Result<u64, ModelError> {
    build(cpu, description, modules, checkpoint, true).map(|(_, bytes)| bytes)
}

/// Loads all weights.
pub(super) fn load(
    cpu: Cpu,
    description: &Description,
    modules: &Modules,
    checkpoint: &Checkpoint,
) -> Result<Tensors, ModelError> {
    build(cpu, description, modules, checkpoint, false).map(|(tensors, _)| tensors)
}

fn build(
    cpu: Cpu,
    description: &Description,
    modules: &Modules,
    checkpoint: &Checkpoint,
    measure: bool,
) -> Result<(Tensors, u64), ModelError> {
    let mut builder = Builder {
        cpu,
        checkpoint,
        prefix: prefix(checkpoint, description.names.word),
        measure,
        values: 0,
        used: BTreeSet::new(),
    };
    let mut tensors = builder.transformer(description)?;
    builder.require_all_used(description)?;
    let mut values = builder.values;
    for stage in &modules.stages {
        match stage {
            Stage::Normalize => tensors.head.push(HeadStage::Normalize),
            Stage::Dense {
                folder,
                inputs,
                outputs,
                bias,
                activation,
            } => {
                let dense = Checkpoint::open(folder)?;
                let mut builder = Builder {
                    cpu,
                    checkpoint: &dense,
                    prefix: String::new(),
                    measure,
                    values: 0,
                    used: BTreeSet::new(),
                };
                let linear = builder.linear(&["linear".to_owned()], *inputs, &[*outputs], *bias)?;
                tensors.head.push(HeadStage::Dense(linear, *activation));
                values = values.saturating_add(builder.values);
            }
        }
    }
    Ok((tensors, values.saturating_mul(4)))
}

/// What stands before the word embedding's name, which stands before all others too.
fn prefix(checkpoint: &Checkpoint, word: &str) -> String {
    let suffix = format!("{word}.weight");
    checkpoint
        .names()
        .filter_map(|name| name.strip_suffix(&suffix))
        .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
        .min_by_key(|prefix| prefix.len())
        .unwrap_or_default()
        .to_owned()
}

impl Builder<'_> {
    fn transformer(&mut self, description: &Description) -> Result<Tensors, ModelError> {
        let names = description.names;
        let hidden = description.hidden;
        let word = self.full(names.word, "weight");
        let words = self.tensor(&word, &[description.vocabulary, hidden])?;
        let embedding_norm = match names.embedding_norm {
            "" => None,
            name => Some(self.norm(description, name.to_owned(), hidden)?),
        };
        let positions = self.position_table(description)?;
        let distance_buckets = match description.distance_bias {
            DistanceBias::Buckets { count } => {
                let name = self.full(names.distance_bias, "weight");
                self.tensor(&name, &[count, description.heads])?
            }
            _ => Vec::new(),
        };
        let mut layers = Vec::new();
        for number in 0..description.layers.len() {
            layers.push(self.layer(description, number)?);
        }
        let final_norm = match names.final_norm {
            "" => None,
            name => Some(self.norm(description, name.to_owned(), hidden)?),
        };
        Ok(Tensors {
            words,
            positions,
            embedding_norm,
            distance_buckets,
            layers,
            final_norm,
            head: Vec::new(),
        })
    }

    /// Fails where a layer of the checkpoint has a weight that this architecture has no use for:
    /// it is another architecture than its configuration says, and would give wrong vectors.
    fn require_all_used(&self, description: &Description) -> Result<(), ModelError> {
        let layer = format!("{}{}.", self.prefix, description.names.layer);
        // Not weights, but values that some versions of the libraries stored beside them.
        let is_buffer = |name: &str| name.ends_with("inv_freq") || name.ends_with("position_ids");
        let unknown = self.checkpoint.names().find(|name| {
            name.starts_with(&layer) && !self.used.contains(*name) && !is_buffer(name)
        });
        match unknown {
            Some(name) => Err(ModelError::UnsupportedArchitecture {
                found: format!("{} with a tensor {name}", description.architecture),
                supported: families::SUPPORTED.to_vec(),
            }),
            None => Ok(()),
        }
    }

    fn position_table(&mut self, description: &Description) -> Result<Vec<f32>, ModelError> {
        let hidden = description.hidden;
        let mut table = match description.positions {
            Positions::Learned { count, .. } => {
                let name = self.full(description.names.position, "weight");
                self.tensor(&name, &[count, hidden])?
            }
            _ => Vec::new(),
        };
        if description.token_types > 0 {
            let name = self.full(description.names.token_type, "weight");
            let before = self.values;
            let types = self.tensor(&name, &[description.token_types, hidden])?;
            // All tokens are of type 0, so its vector goes into the positions' and the table goes.
            self.values = before;
            let first = types.get(..hidden).unwrap_or_default();
            match description.positions {
                Positions::Learned { .. } => {
                    for row in table.chunks_exact_mut(hidden) {
                        kernels::add(self.cpu, row, first);
                    }
                }
                _ => {
                    self.values = self.values.saturating_add(hidden as u64);
                    table = first.to_vec();
                }
            }
        }
        Ok(table)
    }

    fn layer(&mut self, description: &Description, number: usize) -> Result<Layer, ModelError> {
        let names = description.names;
        let at = |name: &str| format!("{}.{number}.{name}", names.layer);
        let all = |list: &[&str]| list.iter().map(|name| at(name)).collect::<Vec<_>>();
        let hidden = description.hidden;
        let width = description.head_width;
        let context = description.context_width();
        let biases = description.biases;

        let kv = description.kv_heads * width;
        let parts: &[usize] = match names.qkv.len() {
            1 => &[description.qkv_width()],
            _ => &[context, kv, kv],
        };
        let qkv = self.linear(&all(names.qkv), hidden, parts, biases.qkv)?;
        let attention_out = self.linear(
            &[at(names.attention_out)],
            context,
            &[hidden],
            biases.attention_out,
        )?;
        let parts: &[usize] = match names.mlp_in.len() {
            1 => &[description.mlp_width()],
            _ => &[description.intermediate, description.intermediate],
        };
        let mlp_in = self.linear(&all(names.mlp_in), hidden, parts, biases.mlp_in)?;
        let mlp_out = self.linear(
            &[at(names.mlp_out)],
            description.intermediate,
            &[hidden],
            biases.mlp_out,
        )?;
        let has_norm =
            description.placement == Placement::Post || description.layers[number].attention_norm;
        let mut optional = |name: &str, width: usize, wanted: bool| {
            (wanted && !name.is_empty())
                .then(|| self.norm(description, at(name), width))
                .transpose()
        };
        Ok(Layer {
            query_norm: optional(names.query_norm, width, true)?,
            key_norm: optional(names.key_norm, width, true)?,
            attention_norm: optional(names.attention_norm, hidden, has_norm)?,
            qkv,
            attention_out,
            mlp_in,
            mlp_out,
            mlp_norm: self.norm(description, at(names.mlp_norm), hidden)?,
        })
    }

    fn norm(
        &mut self,
        description: &Description,
        name: String,
        width: usize,
    ) -> Result<Norm, ModelError> {
        // Checkpoints converted from TensorFlow call a norm's weight gamma and its bias beta.
        let gamma = self.full(&name, "gamma");
        let (weight, bias) = if self.checkpoint.entry(&gamma).is_some() {
            (gamma, self.full(&name, "beta"))
        } else {
            (self.full(&name, "weight"), self.full(&name, "bias"))
        };
        Ok(Norm {
            weight: self.tensor(&weight, &[width])?,
            bias: if description.biases.norm {
                self.tensor(&bias, &[width])?
            } else {
                Vec::new()
            },
            epsilon: description.epsilon,
            rms: description.rms,
        })
    }

    /// A linear layer of the weights called `names`, one below the other, as many outputs as
    /// `parts` says.
    fn linear(
        &mut self,
        names: &[String],
        inputs: usize,
        parts: &[usize],
        has_bias: bool,
    ) -> Result<Linear, ModelError> {
        let outputs = parts.iter().sum();
        let length = kernels::packed_len(self.cpu, inputs, outputs);
        let mut linear = Linear {
            data: Vec::new(),
            inputs,
            outputs,
            bias: Vec::new(),
        };
        let before = self.values;
        let mut first = 0;
        for (name, part) in names.iter().zip(parts) {
            let weight = self.tensor(&self.full(name, "weight"), &[*part, inputs])?;
            if !self.measure {
                // Made only now, when the file has shown that it holds what the configuration says.
                linear.data.resize(length, 0.0);
                kernels::pack_transposed(
                    self.cpu,
                    &mut linear.data,
                    inputs,
                    outputs,
                    first,
                    *part,
                    &weight,
                    inputs,
                );
            }
            first += part;
        }
        self.values = before.saturating_add(length as u64);
        if has_bias {
            for (name, part) in names.iter().zip(parts) {
                let bias = self.tensor(&self.full(name, "bias"), &[*part])?;
                linear.bias.extend(bias);
            }
        }
        Ok(linear)
    }

    fn full(&self, name: &str, kind: &str) -> String {
        format!("{}{name}.{kind}", self.prefix)
    }

    /// A tensor of a given shape, empty when measuring.
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let entry: &Entry =
            self.checkpoint
                .entry(name)
                .ok_or_else(|| ModelError::MissingTensor {
                    tensor: name.to_owned(),
                })?;
        self.checkpoint.check_dtype(name, entry)?;
        if entry.shape != shape {
            return Err(ModelError::WrongShape {
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                found: entry.shape.clone(),
            });
        }
        self.used.insert(name.to_owned());
        let count = shape.iter().map(|side| *side as u64).product();
        self.values = self.values.saturating_add(count);
        if self.measure {
            Ok(Vec::new())
        } else {
            self.checkpoint.read(name, entry)
        }
    }
}
