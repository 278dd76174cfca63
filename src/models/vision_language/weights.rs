//! The weights of the seeing half, laid out once for the kernels that read them.

use std::collections::BTreeSet;

use super::description::{Places, Projector, Sight, Tower};
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
    bias: Vec<f32>,
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

/// One layer's weights.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) attention_norm: Norm,
    pub(super) qkv: [Linear; 3],
    pub(super) attention_out: Linear,
    pub(super) mlp_norm: Norm,
    pub(super) mlp_in: Linear,
    /// What the activated product is multiplied by, where there is such a gate.
    pub(super) mlp_up: Option<Linear>,
    pub(super) mlp_out: Linear,
}

impl Layer {
    fn bytes(&self) -> usize {
        let linears = [&self.attention_out, &self.mlp_in, &self.mlp_out];
        let linears = linears.into_iter().chain(&self.qkv).chain(&self.mlp_up);
        linears.map(Linear::bytes).sum::<usize>()
            + self.attention_norm.bytes()
            + self.mlp_norm.bytes()
    }
}

/// All weights of the seeing half.
#[derive(Debug)]
pub(super) struct SightTensors {
    pub(super) patches: Linear,
    /// [hidden]; empty where there is none.
    pub(super) class: Vec<f32>,
    /// [rows, hidden]; empty where there are none.
    pub(super) positions: Vec<f32>,
    pub(super) first_norm: Option<Norm>,
    pub(super) layers: Vec<Layer>,
    pub(super) last_norm: Option<Norm>,
    pub(super) projector: Option<ProjectorTensors>,
}

/// The projector's weights.
#[derive(Debug)]
pub(super) struct ProjectorTensors {
    pub(super) norm: Option<Norm>,
    pub(super) layers: [Linear; 2],
}

impl ProjectorTensors {
    fn bytes(&self) -> usize {
        let norm = self.norm.as_ref().map_or(0, Norm::bytes);
        norm + self.layers.iter().map(Linear::bytes).sum::<usize>()
    }
}

impl SightTensors {
    /// What all weights take in memory.
    pub(super) fn bytes(&self) -> u64 {
        let norms = [&self.first_norm, &self.last_norm];
        let norms = norms.into_iter().flatten().map(Norm::bytes);
        let projector = self.projector.as_ref().map_or(0, ProjectorTensors::bytes);
        let tables = 4 * (self.class.len() + self.positions.len());
        let layers = self.layers.iter().map(Layer::bytes);
        (tables + norms.sum::<usize>() + self.patches.bytes() + projector + layers.sum::<usize>())
            as u64
    }
}

/// Checks a checkpoint's tensors against their description and counts the bytes that they will take, by
/// the headers alone.
pub(super) fn measure(cpu: Cpu, sight: &Sight, checkpoint: &Checkpoint) -> Result<u64, ModelError> {
    let mut builder = Builder::new(cpu, checkpoint, true);
    builder.sight(sight)?;
    Ok(builder.bytes())
}

/// Loads all weights.
pub(super) fn load(
    cpu: Cpu,
    sight: &Sight,
    checkpoint: &Checkpoint,
) -> Result<SightTensors, ModelError> {
    Builder::new(cpu, checkpoint, false).sight(sight)
}

/// Takes a checkpoint's tensors by their names.
pub(super) struct Builder<'a> {
    cpu: Cpu,
    checkpoint: &'a Checkpoint,
    /// What stands before the names of the part that is built, such as "visual.".
    prefix: String,
    /// Count what loading would hold, and read no weight.
    measure: bool,
    bytes: u64,
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
    fn enter(&mut self, name: &str) {
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

    pub(super) fn sight(&mut self, sight: &Sight) -> Result<SightTensors, ModelError> {
        let tower = &sight.tower;
        let names = tower.names;
        let hidden = tower.hidden;
        self.enter(names.patches);
        let patches = self.patches(tower)?;
        let class = match names.class {
            "" => Vec::new(),
            name => self.vector(name, &[hidden])?,
        };
        let positions = match (tower.places, tower.fixed_rows()) {
            (Places::Learned, Some(rows)) => self.vector(names.positions, &[rows, hidden])?,
            _ => Vec::new(),
        };
        let first_norm = self.optional_norm(names.first_norm, tower)?;
        let layers = (0..tower.layers.len())
            .map(|number| self.layer(tower, number))
            .collect::<Result<_, _>>()?;
        let last_norm = self.optional_norm(names.last_norm, tower)?;
        // Layers that are not run are not looked at.
        for number in 0..tower.layers.len() {
            self.require_all_used(&format!("{}.{number}.", tower.names.layer))?;
        }

        let projector = match &sight.projector {
            Some(projector) => Some(self.projector(tower, projector)?),
            None => None,
        };
        Ok(SightTensors {
            patches,
            class,
            positions,
            first_norm,
            layers,
            last_norm,
            projector,
        })
    }

    fn projector(
        &mut self,
        tower: &Tower,
        projector: &Projector,
    ) -> Result<ProjectorTensors, ModelError> {
        let hidden = tower.hidden;
        let names = projector.names;
        self.enter(names.layers[0]);
        let inputs = hidden.saturating_mul(tower.merge * tower.merge);
        let norm = match names.norm {
            "" => None,
            name => Some(self.norm(name, hidden, tower.rms, projector.epsilon)?),
        };
        let Projector {
            inside,
            outputs,
            biases,
            ..
        } = *projector;
        let [first, second] = names.layers;
        Ok(ProjectorTensors {
            norm,
            layers: [
                self.linear(first, inputs, inside, biases)?,
                self.linear(second, inside, outputs, biases)?,
            ],
        })
    }

    /// The layer that makes rows of patches. Of a still picture all frames are the same: so the weights of
    /// the frames are added up.
    fn patches(&mut self, tower: &Tower) -> Result<Linear, ModelError> {
        let name = format!("{}.weight", tower.names.patches);
        let Tower {
            hidden,
            patch,
            frames,
            ..
        } = *tower;
        let rows_of_one = self.shape_of(&name).is_some_and(|shape| shape.len() == 2);
        let shape = match frames {
            1 if rows_of_one => vec![hidden, tower.patch_values()],
            1 => vec![hidden, 3, patch, patch],
            _ => vec![hidden, 3, frames, patch, patch],
        };
        let columns = tower.patch_values();
        let (name, _) = self.check(&name, &shape)?;
        let bytes = Matrix::estimated_bytes(self.cpu, GgmlType::F32, hidden, columns);
        self.bytes = self.bytes.saturating_add(bytes.unwrap_or(u64::MAX));
        let rows = if self.measure { 0 } else { hidden };
        let mut bytes = Vec::new();
        if !self.measure {
            let values = self.floats(&name)?;
            for frames in values.chunks_exact(frames * patch * patch) {
                for pixel in 0..patch * patch {
                    let sum: f32 = frames.iter().skip(pixel).step_by(patch * patch).sum();
                    bytes.extend(sum.to_le_bytes());
                }
            }
        }
        let weight = self.make(&name, GgmlType::F32, rows, columns, &bytes)?;
        let bias = match tower.patch_bias {
            true => self.vector(&format!("{}.bias", tower.names.patches), &[hidden])?,
            false => Vec::new(),
        };
        Ok(Linear { weight, bias })
    }

    fn layer(&mut self, tower: &Tower, number: usize) -> Result<Layer, ModelError> {
        let names = tower.names;
        let at = |name: &str| format!("{}.{number}.{name}", names.layer);
        let (hidden, inside) = (tower.hidden, tower.intermediate);
        let norm = |builder: &mut Self, name: &str| {
            builder.norm(&at(name), hidden, tower.rms, tower.epsilon)
        };
        let qkv = match names.qkv {
            [query, key, value] => [
                self.linear(&at(query), hidden, hidden, true)?,
                self.linear(&at(key), hidden, hidden, true)?,
                self.linear(&at(value), hidden, hidden, true)?,
            ],
            others => {
                let name = others.first().copied().unwrap_or_default();
                self.linears(&at(name), hidden, [hidden; 3], true)?
            }
        };
        let [first, rest @ ..] = names.mlp_in else {
            return Err(ModelError::Other("a tower without a network".to_owned()));
        };
        Ok(Layer {
            attention_norm: norm(self, names.attention_norm)?,
            qkv,
            attention_out: self.linear(&at(names.attention_out), hidden, hidden, true)?,
            mlp_norm: norm(self, names.mlp_norm)?,
            mlp_in: self.linear(&at(first), hidden, inside, true)?,
            mlp_up: match rest.first() {
                Some(up) => Some(self.linear(&at(up), hidden, inside, true)?),
                None => None,
            },
            mlp_out: self.linear(&at(names.mlp_out), inside, hidden, true)?,
        })
    }

    fn optional_norm(&mut self, name: &str, tower: &Tower) -> Result<Option<Norm>, ModelError> {
        match name {
            "" => Ok(None),
            name => self
                .norm(name, tower.hidden, tower.rms, tower.epsilon)
                .map(Some),
        }
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
    fn linears<const N: usize>(
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

    fn shape_of(&self, name: &str) -> Option<&[usize]> {
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

    fn make(
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
    fn check(&mut self, name: &str, shape: &[usize]) -> Result<(String, GgmlType), ModelError> {
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

    fn floats(&self, name: &str) -> Result<Vec<f32>, ModelError> {
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
