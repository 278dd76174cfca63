//! From a checkpoint's tensors to weights in the order of the kernels.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::description::{Description, DistanceBias, Placement, Positions};
use super::weights::{Layer, Layout, Linear, Norm, Tensors, Weight};
use crate::kernels::{self, Cpu};
use crate::models::ModelError;
use crate::models::checkpoint::{Checkpoint, Entry};

/// Builds [`Tensors`]; or with `measure`, checks names, types and shapes in the headers and counts
/// what loading will hold, without reading a weight.
pub(super) struct Builder<'a> {
    pub(super) cpu: Cpu,
    /// Of the linear layers; floats, unless it is set.
    pub(super) layout: Layout,
    checkpoint: &'a Checkpoint,
    /// What stands before every name of the part that is built, such as "bert.".
    prefix: String,
    pub(super) measure: bool,
    /// How many values the loaded weights take.
    pub(super) values: u64,
    used: BTreeSet<String>,
    /// Where rows are read to that are laid out anew and forgotten.
    buffer: Vec<f32>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(cpu: Cpu, checkpoint: &'a Checkpoint, measure: bool) -> Self {
        Self {
            cpu,
            layout: Layout::Floats,
            checkpoint,
            prefix: String::new(),
            measure,
            values: 0,
            used: BTreeSet::new(),
            buffer: Vec::new(),
        }
    }

    /// One like this, for a part that is built on another thread.
    fn part(&self) -> Self {
        Self {
            layout: self.layout,
            prefix: self.prefix.clone(),
            ..Self::new(self.cpu, self.checkpoint, self.measure)
        }
    }

    /// Counts what such a part has built.
    fn add(&mut self, mut part: Self) {
        self.values = self.values.saturating_add(part.values);
        self.used.append(&mut part.used);
    }

    /// Turns to the part of the checkpoint that has a weight called `name`: what stands before that
    /// name stands before the part's others too.
    pub(super) fn enter(&mut self, name: &str) {
        let suffix = format!("{name}.weight");
        self.prefix = self
            .checkpoint
            .names()
            .filter_map(|name| name.strip_suffix(&suffix))
            .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
            .min_by_key(|prefix| prefix.len())
            .unwrap_or_default()
            .to_owned();
    }

    /// The layers, with what stands before and after them. Loaded in parallel by the threads that
    /// rayon has where it is called.
    pub(super) fn transformer(&mut self, description: &Description) -> Result<Tensors, ModelError> {
        let mut around = self.part();
        let mut inside = self.part();
        let (tensors, layers) = if self.measure {
            (around.around(description), inside.layers(description))
        } else {
            rayon::join(|| around.around(description), || inside.layers(description))
        };
        let mut tensors = tensors?;
        tensors.layers = layers?;
        self.add(around);
        self.add(inside);
        Ok(tensors)
    }

    fn layers(&mut self, description: &Description) -> Result<Vec<Layer>, ModelError> {
        let numbers = 0..description.layers.len();
        if self.measure {
            // A configuration can claim any number of layers: the first that is not there is told.
            return numbers
                .map(|number| self.layer(description, number))
                .collect();
        }
        let build = |number| {
            let mut part = self.part();
            (part.layer(description, number), part)
        };
        let built: Vec<_> = numbers.into_par_iter().map(build).collect();
        let add = |(layer, part)| {
            self.add(part);
            layer
        };
        built.into_iter().map(add).collect()
    }

    /// What stands before the layers and after them.
    fn around(&mut self, description: &Description) -> Result<Tensors, ModelError> {
        let names = description.names;
        let hidden = description.hidden;
        let words = match names.word {
            "" => Vec::new(),
            name => self.table(
                &self.full(name, "weight"),
                &[description.vocabulary, hidden],
            )?,
        };
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
        let final_norm = match names.final_norm {
            "" => None,
            name => Some(self.norm(description, name.to_owned(), hidden)?),
        };
        Ok(Tensors {
            words,
            positions,
            embedding_norm,
            distance_buckets,
            layers: Vec::new(),
            final_norm,
            head: Vec::new(),
        })
    }

    /// Fails where a layer of the checkpoint has a weight that this architecture has no use for:
    /// it is another architecture than its configuration says, and would give wrong vectors.
    pub(super) fn require_all_used(
        &self,
        description: &Description,
        supported: &[&'static str],
    ) -> Result<(), ModelError> {
        let layer = format!("{}{}.", self.prefix, description.names.layer);
        // Not weights, but values that some versions of the libraries stored beside them.
        let is_buffer = |name: &str| name.ends_with("inv_freq") || name.ends_with("position_ids");
        let unknown = self.checkpoint.names().find(|name| {
            name.starts_with(&layer) && !self.used.contains(*name) && !is_buffer(name)
        });
        match unknown {
            Some(name) => Err(ModelError::UnsupportedArchitecture {
                found: format!("{} with a tensor {name}", description.architecture),
                supported: supported.to_vec(),
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
        let attention_out = self.scaled_linear(
            at(names.attention_out),
            [context, hidden],
            biases.attention_out,
            (!names.attention_scale.is_empty()).then(|| at(names.attention_scale)),
        )?;
        let parts: &[usize] = match names.mlp_in.len() {
            1 => &[description.mlp_width()],
            _ => &[description.intermediate, description.intermediate],
        };
        let mlp_in = self.linear(&all(names.mlp_in), hidden, parts, biases.mlp_in)?;
        let mlp_out = self.scaled_linear(
            at(names.mlp_out),
            [description.intermediate, hidden],
            biases.mlp_out,
            (!names.mlp_scale.is_empty()).then(|| at(names.mlp_scale)),
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

    pub(super) fn norm(
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
    pub(super) fn linear(
        &mut self,
        names: &[String],
        inputs: usize,
        parts: &[usize],
        has_bias: bool,
    ) -> Result<Linear, ModelError> {
        let before = self.values;
        let mut linear = Linear::new(inputs, parts.iter().sum());
        let mut first = 0;
        for (name, part) in names.iter().zip(parts) {
            let name = self.full(name, "weight");
            let entry = self.take(&name, &[*part, inputs])?;
            if !self.measure {
                let mut buffer = std::mem::take(&mut self.buffer);
                let pack = |row, weight: &[f32]| {
                    let count = weight.len() / inputs.max(1);
                    self.pack(&mut linear, first + row, count, weight);
                };
                let checkpoint = self.checkpoint;
                checkpoint.read_rows(&name, entry, inputs, &mut buffer, pack)?;
                self.buffer = buffer;
            }
            first += part;
        }
        self.values = before;
        self.hold(&linear);
        if has_bias {
            for (name, part) in names.iter().zip(parts) {
                let bias = self.tensor(&self.full(name, "bias"), &[*part])?;
                linear.bias.extend(bias);
            }
        }
        Ok(linear)
    }

    /// A linear layer each of whose results is taken times a factor, which goes into the weights.
    fn scaled_linear(
        &mut self,
        name: String,
        [inputs, outputs]: [usize; 2],
        has_bias: bool,
        scale: Option<String>,
    ) -> Result<Linear, ModelError> {
        let Some(scale) = scale else {
            return self.linear(&[name], inputs, &[outputs], has_bias);
        };
        let before = self.values;
        let factors = self.tensor(&self.within(&scale), &[outputs])?;
        let mut weight = self.tensor(&self.full(&name, "weight"), &[outputs, inputs])?;
        for (row, factor) in weight.chunks_exact_mut(inputs).zip(&factors) {
            row.iter_mut().for_each(|value| *value *= factor);
        }
        let mut linear = Linear::new(inputs, outputs);
        self.pack(&mut linear, 0, outputs, &weight);
        self.values = before;
        self.hold(&linear);
        if has_bias {
            linear.bias = self.tensor(&self.full(&name, "bias"), &[outputs])?;
            let biases = linear.bias.iter_mut().zip(&factors);
            biases.for_each(|(bias, factor)| *bias *= factor);
        }
        Ok(linear)
    }

    /// Lays rows of a weight out for the kernels, as outputs of `linear` from `first` on; nothing when
    /// measuring.
    pub(super) fn pack(&self, linear: &mut Linear, first: usize, count: usize, weight: &[f32]) {
        if self.measure {
            return;
        }
        let (inputs, outputs) = (linear.inputs, linear.outputs);
        // Room is made only now, when the file has shown that it holds what the configuration says.
        if first == 0 {
            linear.weight = self.layout.room(self.cpu, inputs, outputs);
        }
        match &mut linear.weight {
            Weight::Terms(matrix) => matrix.put(self.cpu, first, weight),
            Weight::Bytes(matrix) => matrix.put(first, weight),
            Weight::Floats(data) => kernels::pack_transposed(
                self.cpu, data, inputs, outputs, first, count, weight, inputs,
            ),
        }
    }

    /// Counts a linear layer's packed weight.
    pub(super) fn hold(&mut self, linear: &Linear) {
        let (inputs, outputs) = (linear.inputs, linear.outputs);
        let bytes = self.layout.bytes(self.cpu, inputs, outputs);
        self.values = self.values.saturating_add(bytes.div_ceil(4));
    }

    /// The full name of a tensor of the part that is built.
    pub(super) fn within(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The full name of a weight or a bias.
    pub(super) fn full(&self, name: &str, kind: &str) -> String {
        format!("{}{name}.{kind}", self.prefix)
    }

    /// A tensor of a given shape, by its full name; empty when measuring.
    pub(super) fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let entry = self.take(name, shape)?;
        if self.measure {
            Ok(Vec::new())
        } else {
            self.checkpoint.read(name, entry)
        }
    }

    /// The same of a large tensor.
    fn table(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let entry = self.take(name, shape)?;
        if self.measure {
            Ok(Vec::new())
        } else {
            self.checkpoint.read_in_parallel(name, entry)
        }
    }

    /// A tensor's entry, once it is found to be as it should, and counted.
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<&'a Entry, ModelError> {
        let entry = self
            .checkpoint
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
        Ok(entry)
    }
}
