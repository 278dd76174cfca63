//! The towers' weights, laid out once for the kernels that read them.

use super::super::builder::Builder;
use super::super::weights::{Linear, Tensors};
use super::description::{Reading, Sight, Towers};
use super::families;
use super::pooling::AttentionPooling;
use crate::kernels::{self, Cpu};
use crate::models::ModelError;
use crate::models::checkpoint::Checkpoint;

/// A vision tower's.
#[derive(Debug)]
pub(super) struct SightTensors {
    pub(super) transformer: Tensors,
    pub(super) patches: Linear,
    /// The rows before the patches', with their position: [leading, hidden].
    pub(super) leading: Vec<f32>,
    /// [grid · grid, hidden].
    pub(super) positions: Vec<f32>,
    pub(super) pooling: Option<AttentionPooling>,
    pub(super) projection: Option<Linear>,
}

/// A text tower's.
#[derive(Debug)]
pub(super) struct ReadingTensors {
    pub(super) transformer: Tensors,
    pub(super) projection: Linear,
}

/// All of a model's.
#[derive(Debug)]
pub(super) struct TowerTensors {
    pub(super) sight: SightTensors,
    pub(super) reading: Option<ReadingTensors>,
}

impl TowerTensors {
    /// What all weights take in memory.
    pub(super) fn bytes(&self) -> u64 {
        let sight = &self.sight;
        let linears = [Some(&sight.patches), sight.projection.as_ref()];
        let text = self.reading.as_ref().map(|reading| &reading.projection);
        let linears = linears.into_iter().flatten().chain(text);
        let values = linears.map(Linear::values).sum::<usize>()
            + sight.leading.len()
            + sight.positions.len()
            + sight.pooling.as_ref().map_or(0, AttentionPooling::values);
        let text = self.reading.as_ref();
        4 * values as u64
            + sight.transformer.bytes()
            + text.map_or(0, |reading| reading.transformer.bytes())
    }
}

/// Checks a checkpoint against its description and counts the bytes that its weights will take.
pub(super) fn measure(
    cpu: Cpu,
    towers: &Towers,
    checkpoint: &Checkpoint,
) -> Result<u64, ModelError> {
    let mut builder = Builder::new(cpu, checkpoint, true);
    build(&mut builder, towers)?;
    Ok(builder.values.saturating_mul(4))
}

/// Loads all weights.
pub(super) fn load(
    cpu: Cpu,
    towers: &Towers,
    checkpoint: &Checkpoint,
) -> Result<TowerTensors, ModelError> {
    build(&mut Builder::new(cpu, checkpoint, false), towers)
}

fn build(builder: &mut Builder<'_>, towers: &Towers) -> Result<TowerTensors, ModelError> {
    let sight = build_sight(builder, &towers.sight)?;
    let dimensions = towers.sight.dimensions();
    let read = |reading| build_reading(builder, reading, dimensions);
    let reading = towers.reading.as_ref().map(read).transpose()?;
    Ok(TowerTensors { sight, reading })
}

fn build_sight(builder: &mut Builder<'_>, sight: &Sight) -> Result<SightTensors, ModelError> {
    let names = sight.names;
    let hidden = sight.transformer.hidden;
    builder.enter(names.patches);
    let patches = build_patches(builder, sight)?;
    let (leading, positions) = build_rows(builder, sight)?;
    let transformer = builder.transformer(&sight.transformer)?;
    builder.require_all_used(&sight.transformer, &families::SUPPORTED)?;
    let pooling = match names.pooling {
        "" => None,
        name => Some(AttentionPooling::build(builder, &sight.transformer, name)?),
    };
    let projection = match sight.projection {
        Some(outputs) => {
            builder.enter(names.projection);
            let name = names.projection.to_owned();
            Some(builder.linear(&[name], hidden, &[outputs], false)?)
        }
        None => None,
    };
    Ok(SightTensors {
        transformer,
        patches,
        leading,
        positions,
        pooling,
        projection,
    })
}

/// A convolution whose windows do not overlap is a linear layer of the patches.
fn build_patches(builder: &mut Builder<'_>, sight: &Sight) -> Result<Linear, ModelError> {
    let hidden = sight.transformer.hidden;
    let before = builder.values;
    let shape = [hidden, 3, sight.patch, sight.patch];
    let name = builder.full(sight.names.patches, "weight");
    let weight = builder.tensor(&name, &shape)?;
    let mut linear = Linear::new(sight.patch_values(), hidden);
    builder.pack(&mut linear, 0, hidden, &weight);
    builder.values = before;
    builder.hold(&linear);
    if sight.patch_bias {
        let name = builder.full(sight.names.patches, "bias");
        linear.bias = builder.tensor(&name, &[hidden])?;
    }
    Ok(linear)
}

/// The rows before the patches', and the patches' positions.
fn build_rows(
    builder: &mut Builder<'_>,
    sight: &Sight,
) -> Result<(Vec<f32>, Vec<f32>), ModelError> {
    let names = sight.names;
    let hidden = sight.transformer.hidden;
    let patches = sight.grid().saturating_mul(sight.grid());
    let mut table = |name: &str, shape: &[usize]| builder.tensor(&builder.within(name), shape);
    let rows = patches + usize::from(sight.has_class());
    let mut positions = match names.batched {
        true => table(names.positions, &[1, rows, hidden])?,
        false => table(names.positions, &[rows, hidden])?,
    };
    let mut leading = Vec::new();
    if sight.has_class() {
        leading = match names.batched {
            true => table(names.class, &[1, 1, hidden])?,
            false => table(names.class, &[hidden])?,
        };
    }
    if sight.registers > 0 {
        leading.extend(table(names.registers, &[1, sight.registers, hidden])?);
    }
    if sight.has_class() {
        // The class's position goes into its row.
        builder.values = builder.values.saturating_sub(hidden as u64);
        if !builder.measure {
            kernels::add(builder.cpu, &mut leading[..hidden], &positions[..hidden]);
            positions = positions.split_off(hidden);
        }
    }
    Ok((leading, positions))
}

fn build_reading(
    builder: &mut Builder<'_>,
    reading: &Reading,
    dimensions: usize,
) -> Result<ReadingTensors, ModelError> {
    let description = &reading.transformer;
    builder.enter(description.names.word);
    let transformer = builder.transformer(description)?;
    builder.require_all_used(description, &families::SUPPORTED)?;
    // CLIP's stands beside the tower, SigLIP's within.
    if !reading.projection_bias {
        builder.enter(reading.projection);
    }
    let name = reading.projection.to_owned();
    let hidden = description.hidden;
    let projection = builder.linear(&[name], hidden, &[dimensions], reading.projection_bias)?;
    Ok(ReadingTensors {
        transformer,
        projection,
    })
}
