//! Takes tensors out of a checkpoint, checked, in the layouts that the kernels read.

use std::collections::BTreeSet;

use crate::kernels::{self, Cpu, GgmlType, LinearScratch, Matrix, Team};
use crate::models::ModelError;
use crate::models::checkpoint::Checkpoint;
use crate::models::decoder::is_finite;

/// The element types that weights may have.
const SUPPORTED: &str = "F32, F16 and BF16";

/// A linear layer: its bias is empty where it has none.
#[derive(Debug)]
pub(super) struct Linear {
    pub(super) weight: Matrix,
    pub(super) bias: Vec<f32>,
}

impl Linear {
    pub(super) fn bytes(&self) -> usize {
        self.weight.bytes() + 4 * self.bias.len()
    }

    /// Adds the bias to all rows.
    pub(super) fn add_bias(&self, cpu: Cpu, rows: &mut [f32]) {
        if !self.bias.is_empty() {
            for row in rows.chunks_exact_mut(self.bias.len()) {
                kernels::add(cpu, row, &self.bias);
            }
        }
    }

    /// Runs it on `count` rows of `x`.
    pub(super) fn apply(
        &self,
        cpu: Cpu,
        team: &Team,
        scratch: &mut LinearScratch,
        x: &[f32],
        count: usize,
        out: &mut [f32],
    ) {
        kernels::linear(
            cpu,
            team,
            scratch,
            x,
            count,
            &mut [(&self.weight, &mut *out)],
        );
        self.add_bias(cpu, out);
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
    pub(super) fn bytes(&self) -> usize {
        4 * (self.weight.len() + self.bias.len())
    }

    /// Normalises all rows of `x`.
    pub(super) fn apply(&self, cpu: Cpu, x: &mut [f32]) {
        kernels::norm(cpu, x, &self.weight, &self.bias, self.epsilon, self.rms);
    }
}

/// Takes a checkpoint's tensors by their names.
pub(super) struct Builder<'a> {
    pub(super) cpu: Cpu,
    checkpoint: &'a Checkpoint,
    /// What stands before the names of the part that is built, such as "visual.".
    prefix: String,
    /// Count what loading would hold, and read no weight.
    pub(super) measure: bool,
    pub(super) bytes: u64,
    used: BTreeSet<String>,
}

impl<'a> Builder<'a> {
    /// One that reads; or with `measure`, one that looks at headers only and counts.
    pub(super) fn new(cpu: Cpu, checkpoint: &'a Checkpoint, measure: bool) -> Self {
        Self {
            cpu,
            checkpoint,
            prefix: String::new(),
            measure,
            bytes: 0,
            used: BTreeSet::new(),
        }
    }

    /// What the tensors that were taken so far take in memory.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Goes to the part of this prefix.
    pub(super) fn enter_at(&mut self, prefix: &str) {
        self.prefix = prefix.to_owned();
    }

    /// Finds the prefix of a part by one of its tensors.
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

    pub(super) fn norm(
        &mut self,
        name: &str,
        width: usize,
        rms: bool,
        epsilon: f32,
    ) -> Result<Norm, ModelError> {
        Ok(Norm {
            weight: self.vector(&format!("{name}.weight"), &[width])?,
            bias: match rms {
                true => Vec::new(),
                false => self.vector(&format!("{name}.bias"), &[width])?,
            },
            epsilon,
            rms,
        })
    }

    pub(super) fn linear(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
        has_bias: bool,
    ) -> Result<Linear, ModelError> {
        let [linear] = self.linears(name, inputs, [outputs], has_bias)?;
        Ok(linear)
    }

    /// Linear layers whose weights lie one below the other in one tensor.
    pub(super) fn linears<const N: usize>(
        &mut self,
        name: &str,
        inputs: usize,
        parts: [usize; N],
        has_bias: bool,
    ) -> Result<[Linear; N], ModelError> {
        let (full, kind) = self.check(&format!("{name}.weight"), &[parts.iter().sum(), inputs])?;
        let (mut bytes, mut row_bytes) = (Vec::new(), 0);
        if !self.measure {
            bytes = self.read(&full, kind)?;
            row_bytes = kind.row_bytes(inputs).unwrap_or_default();
        }
        let mut bias = match has_bias {
            true => self.vector(&format!("{name}.bias"), &[parts.iter().sum()])?,
            false => Vec::new(),
        }
        .into_iter();
        let mut rest = bytes.as_slice();
        let mut made = Vec::with_capacity(N);
        for outputs in parts {
            let size = Matrix::estimated_bytes(self.cpu, kind, outputs, inputs);
            self.bytes = self.bytes.saturating_add(size.unwrap_or(u64::MAX));
            let rows = if self.measure { 0 } else { outputs };
            let (part, left) = rest
                .split_at_checked(rows * row_bytes)
                .unwrap_or((rest, &[]));
            made.push(Linear {
                weight: self.make(&full, kind, rows, inputs, part)?,
                bias: bias.by_ref().take(outputs).collect(),
            });
            rest = left;
        }
        // As many were made as there are parts.
        made.try_into()
            .map_err(|_| ModelError::Other(format!("tensor {full} has other parts")))
    }

    /// A matrix [rows, columns] whose rows are looked up and multiplied with.
    pub(super) fn matrix(
        &mut self,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<Matrix, ModelError> {
        Ok(self.linear(name, columns, rows, false)?.weight)
    }

    pub(super) fn shape_of(&self, name: &str) -> Option<&[usize]> {
        let name = format!("{}{name}", self.prefix);
        Some(self.checkpoint.entry(&name)?.shape.as_slice())
    }

    /// Whether the part has this tensor.
    pub(super) fn has(&self, name: &str) -> bool {
        let name = format!("{}{name}", self.prefix);
        self.checkpoint.entry(&name).is_some()
    }

    /// Fails where the part has a tensor of this beginning that was not taken: it is another architecture
    /// than it says, and would give wrong text.
    pub(super) fn require_all_used(&self, beginning: &str) -> Result<(), ModelError> {
        let beginning = format!("{}{beginning}", self.prefix);
        let unknown = self
            .checkpoint
            .names()
            .find(|name| name.starts_with(&beginning) && !self.used.contains(*name));
        match unknown {
            Some(name) => Err(ModelError::UnsupportedArchitecture {
                found: format!("a model with a tensor {name}"),
                supported: super::families::SUPPORTED.to_vec(),
            }),
            None => Ok(()),
        }
    }

    pub(super) fn make(
        &self,
        name: &str,
        kind: GgmlType,
        rows: usize,
        columns: usize,
        bytes: &[u8],
    ) -> Result<Matrix, ModelError> {
        Matrix::from_ggml(self.cpu, kind, rows, columns, bytes)
            .map_err(|error| ModelError::Other(format!("tensor {name}: {error}")))
    }

    /// A tensor as `f32`, empty when measuring.
    pub(super) fn vector(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let (name, _) = self.check(name, shape)?;
        let values = shape.iter().map(|side| *side as u64);
        let bytes = values.fold(4, u64::saturating_mul);
        self.bytes = self.bytes.saturating_add(bytes);
        match self.measure {
            true => Ok(Vec::new()),
            false => self.floats(&name),
        }
    }

    /// Checks a tensor's shape, in which sides of 1 at the front do not count, and gives its full name and
    /// its type.
    pub(super) fn check(
        &mut self,
        name: &str,
        shape: &[usize],
    ) -> Result<(String, GgmlType), ModelError> {
        let name = format!("{}{name}", self.prefix);
        let entry = self.checkpoint.entry(&name);
        let entry = entry.ok_or_else(|| ModelError::MissingTensor {
            tensor: name.clone(),
        })?;
        let kind = match entry.dtype.as_str() {
            "F32" => GgmlType::F32,
            "F16" => GgmlType::F16,
            "BF16" => GgmlType::Bf16,
            other => {
                return Err(ModelError::WrongDtype {
                    tensor: name,
                    found: other.to_owned(),
                    supported: SUPPORTED,
                });
            }
        };
        if without_ones(&entry.shape) != without_ones(shape) {
            return Err(ModelError::WrongShape {
                tensor: name,
                expected: shape.to_vec(),
                found: entry.shape.clone(),
            });
        }
        self.used.insert(name.clone());
        Ok((name, kind))
    }

    pub(super) fn floats(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        let missing = || ModelError::MissingTensor {
            tensor: name.to_owned(),
        };
        let entry = self.checkpoint.entry(name).ok_or_else(missing)?;
        self.checkpoint.read(name, entry)
    }

    /// A tensor's bytes, which hold no number that is not finite.
    fn read(&self, name: &str, kind: GgmlType) -> Result<Vec<u8>, ModelError> {
        let missing = || ModelError::MissingTensor {
            tensor: name.to_owned(),
        };
        let entry = self.checkpoint.entry(name).ok_or_else(missing)?;
        let bytes = self.checkpoint.read_bytes(entry)?;
        if is_finite(kind, &bytes) {
            Ok(bytes)
        } else {
            Err(ModelError::NotFiniteWeights {
                tensor: name.to_owned(),
            })
        }
    }
}

fn without_ones(shape: &[usize]) -> &[usize] {
    let ones = shape.iter().take_while(|side| **side == 1).count();
    &shape[ones..]
}
