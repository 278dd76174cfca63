//! The weights of the seeing half.

use super::builder::{Builder, Linear, Norm};
use super::description::{Places, Projector, Sight, Tower};
use crate::kernels::{Cpu, GgmlType, Matrix};
use crate::models::ModelError;
use crate::models::checkpoint::Checkpoint;

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

impl Builder<'_> {
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
}
