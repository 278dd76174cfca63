//! A decoder's weights, laid out once for the kernels that read them.

use std::collections::BTreeSet;

use super::description::{Description, HeadNorm, Norms, Parts};
use super::store::{Store, UNKNOWN, floats};
use crate::kernels::{Cpu, GgmlType, Matrix, MatrixError};
use crate::models::ModelError;

/// A linear layer: its bias is empty where it has none.
#[derive(Debug)]
pub(super) struct Linear {
    pub(super) weight: Matrix,
    pub(super) bias: Vec<f32>,
}

/// One layer's weights. Norms that the architecture does not have are empty.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) attention_norm: Vec<f32>,
    pub(super) attention_norm_bias: Vec<f32>,
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) query_norm: Vec<f32>,
    pub(super) key_norm: Vec<f32>,
    pub(super) attention_out: Linear,
    pub(super) attention_post_norm: Vec<f32>,
    pub(super) mlp_norm: Vec<f32>,
    pub(super) gate: Linear,
    /// `None` where the network has no gate.
    pub(super) up: Option<Linear>,
    pub(super) down: Linear,
    pub(super) mlp_post_norm: Vec<f32>,
}

impl Layer {
    fn bytes(&self) -> usize {
        let linears = [
            &self.query,
            &self.key,
            &self.value,
            &self.attention_out,
            &self.gate,
            &self.down,
        ];
        let norms = [
            &self.attention_norm,
            &self.attention_norm_bias,
            &self.query_norm,
            &self.key_norm,
            &self.attention_post_norm,
            &self.mlp_norm,
            &self.mlp_post_norm,
        ];
        let linears = linears
            .into_iter()
            .chain(&self.up)
            .map(|linear| linear.weight.bytes() + 4 * linear.bias.len());
        linears.sum::<usize>() + norms.iter().map(|norm| 4 * norm.len()).sum::<usize>()
    }
}

/// All weights of a model.
#[derive(Debug)]
pub(super) struct Tensors {
    /// [vocabulary, hidden].
    pub(super) words: Matrix,
    pub(super) layers: Vec<Layer>,
    pub(super) final_norm: Vec<f32>,
    pub(super) final_norm_bias: Vec<f32>,
    /// [vocabulary, hidden]; `None` where it is the word embeddings.
    pub(super) head: Option<Matrix>,
    /// [vocabulary]; empty where there is none.
    pub(super) head_bias: Vec<f32>,
}

impl Tensors {
    /// What all weights take in memory.
    pub(super) fn bytes(&self) -> u64 {
        let tables = self.words.bytes() + self.head.as_ref().map_or(0, Matrix::bytes);
        let layers: usize = self.layers.iter().map(Layer::bytes).sum();
        let vectors = [&self.final_norm, &self.final_norm_bias, &self.head_bias];
        let vectors: usize = vectors.iter().map(|vector| 4 * vector.len()).sum();
        (tables + layers + vectors) as u64
    }
}

/// Checks a file's tensors against their description and counts the bytes that they will take, by
/// the header alone.
pub(super) fn measure(
    cpu: Cpu,
    description: &Description,
    store: &Store,
) -> Result<u64, ModelError> {
    let mut builder = Builder::new(cpu, description, store, true);
    builder.transformer()?;
    builder.require_all_used()?;
    Ok(builder.bytes)
}

/// Loads all weights; with `exact`, quantised ones as the single-precision numbers that they mean.
pub(super) fn load(
    cpu: Cpu,
    description: &Description,
    store: &Store,
    exact: bool,
) -> Result<Tensors, ModelError> {
    let mut builder = Builder::new(cpu, description, store, false);
    builder.exact = exact;
    builder.transformer()
}

struct Builder<'a> {
    cpu: Cpu,
    description: &'a Description,
    store: &'a Store,
    /// Count what loading would hold, and read no weight.
    measure: bool,
    exact: bool,
    bytes: u64,
    used: BTreeSet<String>,
}

impl<'a> Builder<'a> {
    fn new(cpu: Cpu, description: &'a Description, store: &'a Store, measure: bool) -> Self {
        Self {
            cpu,
            description,
            store,
            measure,
            exact: false,
            bytes: 0,
            used: BTreeSet::new(),
        }
    }

    fn transformer(&mut self) -> Result<Tensors, ModelError> {
        let Description {
            names,
            hidden,
            vocabulary,
            ..
        } = *self.description;
        let words = self.store.full(names.words, "weight");
        let words = self.matrix(&words, vocabulary, hidden)?;
        let head = if self.description.tied {
            None
        } else {
            let head = self.store.head(names.head);
            Some(self.matrix(&head, vocabulary, hidden)?)
        };
        let head_bias = if self.description.biases.head {
            let name = self.store.head(names.head);
            let name = name.strip_suffix("weight").unwrap_or(&name);
            self.vector(&format!("{name}bias"), vocabulary)?
        } else {
            Vec::new()
        };
        let layers = (0..self.description.layers.len())
            .map(|number| self.layer(number))
            .collect::<Result<_, _>>()?;
        let final_norm = self.norm(names.final_norm, hidden)?;
        let final_norm_bias = self.norm_bias(names.final_norm, hidden)?;
        Ok(Tensors {
            words,
            layers,
            final_norm,
            final_norm_bias,
            head,
            head_bias,
        })
    }

    /// Fails where a layer of the file has a weight that this architecture has no use for: it is
    /// another architecture than it says, and would give wrong text.
    fn require_all_used(&self) -> Result<(), ModelError> {
        let layer = format!("{}.", self.description.names.layer);
        let layer = match self.store {
            Store::Gguf(_) => layer,
            Store::Hub { prefix, .. } => format!("{prefix}{layer}"),
        };
        // Not weights, but values that some versions of the libraries stored beside them.
        let is_buffer = |name: &str| name.ends_with("inv_freq");
        let unknown = self.store.names().find(|name| {
            name.starts_with(&layer) && !self.used.contains(*name) && !is_buffer(name)
        });
        match unknown {
            Some(name) => Err(ModelError::UnsupportedArchitecture {
                found: format!("{} with a tensor {name}", self.description.architecture),
                supported: match self.store {
                    Store::Gguf(_) => super::gguf::SUPPORTED.to_vec(),
                    Store::Hub { .. } => super::families::SUPPORTED.to_vec(),
                },
            }),
            None => Ok(()),
        }
    }

    fn layer(&mut self, number: usize) -> Result<Layer, ModelError> {
        let description = self.description;
        let names = description.names;
        let at = |name: &str| format!("{}.{number}.{name}", names.layer);
        let hidden = description.hidden;
        let (queries, keys) = (description.query_width(), description.key_width());
        let biases = description.biases;
        let inside = description.intermediate;

        let [query, key, value] = match description.parts {
            Parts::Apart => [
                self.linear(&at(names.query), [queries], hidden, biases.qkv, true)?,
                self.linear(&at(names.key), [keys], hidden, biases.qkv, true)?,
                self.linear(&at(names.value), [keys], hidden, biases.qkv, false)?,
            ]
            .map(|[linear]| linear),
            Parts::Fused => {
                let parts = [queries, keys, keys];
                self.linear(&at(names.qkv), parts, hidden, biases.qkv, false)?
            }
        };
        let one = |builder: &mut Self, name: &str| {
            let [linear] = builder.linear(&at(name), [inside], hidden, biases.mlp, false)?;
            Ok::<_, ModelError>(linear)
        };
        let (gate, up) = match (description.gated, description.parts) {
            (false, _) => (one(self, names.gate)?, None),
            (true, Parts::Apart) => (one(self, names.gate)?, Some(one(self, names.up)?)),
            (true, Parts::Fused) => {
                let parts = [inside, inside];
                let [gate, up] =
                    self.linear(&at(names.gate_up), parts, hidden, biases.mlp, false)?;
                (gate, Some(up))
            }
        };
        let bias = biases.attention_out;
        let [attention_out] =
            self.linear(&at(names.attention_out), [hidden], queries, bias, false)?;
        let [down] = self.linear(&at(names.down), [hidden], inside, biases.mlp, false)?;

        let before = description.norms != Norms::After;
        let after = matches!(description.norms, Norms::Around | Norms::After);
        let inner = before && description.norms != Norms::Shared;
        let attention_norm_bias = self.norm_bias(&at(names.attention_norm), hidden)?;
        let widths = match description.head_norm {
            HeadNorm::None => None,
            HeadNorm::PerHead => Some((description.head_width, description.head_width)),
            HeadNorm::Whole => Some((queries, keys)),
        };
        let mut optional = |name: &str, width: usize, wanted: bool| {
            if wanted {
                self.norm(&at(name), width)
            } else {
                Ok(Vec::new())
            }
        };
        let (query_width, key_width) = widths.unwrap_or_default();
        Ok(Layer {
            attention_norm: optional(names.attention_norm, hidden, before)?,
            query_norm: optional(names.query_norm, query_width, widths.is_some())?,
            key_norm: optional(names.key_norm, key_width, widths.is_some())?,
            attention_post_norm: optional(names.attention_post_norm, hidden, after)?,
            attention_norm_bias,
            mlp_norm: optional(names.mlp_norm, hidden, inner)?,
            mlp_post_norm: optional(names.mlp_post_norm, hidden, after)?,
            query,
            key,
            value,
            attention_out,
            gate,
            up,
            down,
        })
    }

    fn norm(&mut self, name: &str, width: usize) -> Result<Vec<f32>, ModelError> {
        let name = self.store.full(name, "weight");
        let mut weight = self.vector(&name, width)?;
        for value in &mut weight {
            *value += self.description.norm_shift;
        }
        Ok(weight)
    }

    /// The bias of a layer norm; of another norm, empty.
    fn norm_bias(&mut self, name: &str, width: usize) -> Result<Vec<f32>, ModelError> {
        match self.description.layer_norms {
            true => self.vector(&self.store.full(name, "bias"), width),
            false => Ok(Vec::new()),
        }
    }

    /// Linear layers whose weights lie one below the other in one tensor; `turned` says that their
    /// rows are queries' or keys'.
    fn linear<const N: usize>(
        &mut self,
        name: &str,
        parts: [usize; N],
        inputs: usize,
        has_bias: bool,
        turned: bool,
    ) -> Result<[Linear; N], ModelError> {
        let order = self.order(turned);
        let full = self.store.full(name, "weight");
        let weights = self.matrices(&full, parts, inputs, order)?;
        let mut bias = Vec::new();
        if has_bias {
            let name = self.store.full(name, "bias");
            bias = self.vector(&name, parts.iter().sum())?;
            if let (Some(order), false) = (order, self.measure) {
                bias = order.apply(&bias, 1);
            }
        }
        let mut first = 0;
        Ok(weights.map(|weight| {
            let part = bias.get(first..first + weight.rows()).unwrap_or_default();
            first += weight.rows();
            Linear {
                weight,
                bias: part.to_vec(),
            }
        }))
    }

    /// How rows of queries and keys are to be put in the order of halves.
    fn order(&self, turned: bool) -> Option<Order> {
        let rotary = self.description.rotaries.first()?;
        (turned && self.description.interleaved).then_some(Order {
            head: self.description.head_width,
            turned: rotary.width,
        })
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<Matrix, ModelError> {
        let [matrix] = self.matrices(name, [rows], columns, None)?;
        Ok(matrix)
    }

    /// A tensor's rows as several matrices; when measuring, matrices without rows.
    fn matrices<const N: usize>(
        &mut self,
        name: &str,
        parts: [usize; N],
        columns: usize,
        order: Option<Order>,
    ) -> Result<[Matrix; N], ModelError> {
        let kind = self.check(name, &[parts.iter().sum(), columns])?;
        for rows in parts {
            let bytes = Matrix::estimated_bytes(self.cpu, kind, rows, columns);
            let bytes = bytes.ok_or_else(|| unsupported(name, kind))?;
            self.bytes = self.bytes.saturating_add(bytes);
        }
        let (cpu, exact) = (self.cpu, self.exact);
        let make = |rows: usize, bytes: &[u8]| {
            let made = Matrix::from_ggml(cpu, kind, rows, columns, bytes);
            let made = made.and_then(|matrix| match exact {
                true => dequantised(cpu, &matrix),
                false => Ok(matrix),
            });
            made.map_err(|error| match error {
                MatrixError::Unsupported { .. } => unsupported(name, kind),
                MatrixError::NotFinite { .. } => ModelError::NotFiniteWeights {
                    tensor: name.to_owned(),
                },
                other => ModelError::Other(format!("tensor {name}: {other}")),
            })
        };
        let mut bytes = Vec::new();
        let mut row_bytes = 0;
        if !self.measure {
            bytes = self.store.read(name, kind)?;
            row_bytes = kind.row_bytes(columns).unwrap_or_default();
            if let Some(order) = order {
                bytes = order.apply(&bytes, row_bytes);
            }
        }
        let mut rest = bytes.as_slice();
        let mut made = Vec::with_capacity(N);
        for rows in parts {
            let rows = if self.measure { 0 } else { rows };
            let (part, left) = rest
                .split_at_checked(rows * row_bytes)
                .unwrap_or((rest, &[]));
            made.push(make(rows, part)?);
            rest = left;
        }
        // As many were made as there are parts.
        made.try_into()
            .map_err(|_| ModelError::Other(format!("tensor {name} has other parts")))
    }

    /// A vector as `f32`, empty when measuring.
    fn vector(&mut self, name: &str, width: usize) -> Result<Vec<f32>, ModelError> {
        let kind = self.check(name, &[width])?;
        if !matches!(kind, GgmlType::F32 | GgmlType::F16 | GgmlType::Bf16) {
            return Err(ModelError::WrongDtype {
                tensor: name.to_owned(),
                found: kind.to_string(),
                supported: "F32, F16 and BF16",
            });
        }
        self.bytes = self.bytes.saturating_add(4 * width as u64);
        if self.measure {
            return Ok(Vec::new());
        }
        let bytes = self.store.read(name, kind)?;
        Ok(floats(kind, &bytes).unwrap_or_default())
    }

    /// Checks a tensor's shape and gives its type.
    fn check(&mut self, name: &str, shape: &[usize]) -> Result<GgmlType, ModelError> {
        let found = self.store.find(name)?;
        if found.shape != shape {
            return Err(ModelError::WrongShape {
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                found: found.shape,
            });
        }
        self.used.insert(name.to_owned());
        Ok(found.kind)
    }
}

/// The same matrix in single precision.
fn dequantised(cpu: Cpu, matrix: &Matrix) -> Result<Matrix, MatrixError> {
    let (rows, columns) = (matrix.rows(), matrix.columns());
    let mut bytes = Vec::with_capacity(4 * rows * columns);
    let mut values = vec![0.0; columns];
    for row in 0..rows {
        matrix.read_row(row, &mut values);
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    Matrix::from_ggml(cpu, GgmlType::F32, rows, columns, &bytes)
}

fn unsupported(name: &str, kind: GgmlType) -> ModelError {
    ModelError::WrongDtype {
        tensor: name.to_owned(),
        found: kind.to_string(),
        supported: UNKNOWN,
    }
}

/// From pairs of neighbours to pairs of halves: within each head of `head` rows, of the first
/// `turned` rows those with even numbers come first, then those with odd ones.
#[derive(Debug, Clone, Copy)]
struct Order {
    head: usize,
    turned: usize,
}

impl Order {
    /// Rows of `width` elements each, in the new order.
    fn apply<T: Copy>(self, rows: &[T], width: usize) -> Vec<T> {
        let Self { head, turned } = self;
        let source = |row: usize| {
            let (first, place) = (row - row % head, row % head);
            let half = turned / 2;
            first
                + match place {
                    place if place < half => 2 * place,
                    place if place < turned => 2 * (place - half) + 1,
                    place => place,
                }
        };
        let count = rows.len() / width.max(1);
        (0..count)
            .flat_map(|row| rows[source(row) * width..][..width].iter().copied())
            .collect()
    }
}
