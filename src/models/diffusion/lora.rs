//! Low-rank adapters (LoRA, Hu et al. 2021), merged into weights as these are read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::models::ModelError;
use crate::models::checkpoint::Checkpoint;
use crate::models::tensors::TensorSource;

/// How the names of the two factors of a product end, by the tool that saved them.
const ENDS: [[&str; 2]; 4] = [
    [".lora_down.weight", ".lora_up.weight"],
    [".lora_A.weight", ".lora_B.weight"],
    [".lora.down.weight", ".lora.up.weight"],
    ["_lora.down.weight", "_lora.up.weight"],
];
const ALPHA: &str = ".alpha";

/// How tools call the parts, and how diffusers does.
const PARTS: [(&str, &str); 8] = [
    ("lora_unet_", "unet_"),
    ("lora_te2_", "text_encoder_2_"),
    ("lora_te1_", "text_encoder_"),
    ("lora_te_", "text_encoder_"),
    ("unet_", "unet_"),
    ("text_encoder_2_", "text_encoder_2_"),
    ("text_encoder_", "text_encoder_"),
    ("base_model_model_", "unet_"),
];

/// The tensors that change one weight.
#[derive(Debug, Clone, Default)]
struct Factors {
    down: Option<String>,
    up: Option<String>,
    alpha: Option<String>,
}

/// An adapter's file.
#[derive(Debug, Clone)]
pub(super) struct Adapter {
    path: PathBuf,
    strength: f32,
    checkpoint: Checkpoint,
    /// By the changed weight's part and name, with `_` between all words.
    factors: BTreeMap<String, Factors>,
}

impl Adapter {
    /// Reads the header of an adapter's safetensors file.
    pub(super) fn open(path: &Path, strength: f32) -> Result<Self, ModelError> {
        let checkpoint = Checkpoint::of_file(path)?;
        let mut factors: BTreeMap<String, Factors> = BTreeMap::new();
        for tensor in checkpoint.names() {
            let Some((stem, place)) = split(tensor) else {
                return Err(unfit(path, tensor, "it is of no kind that is supported"));
            };
            let Some(weight) = weight_name(stem) else {
                return Err(unfit(path, tensor, "it belongs to no part that is known"));
            };
            let factors = factors.entry(weight).or_default();
            let place = match place {
                Place::Down => &mut factors.down,
                Place::Up => &mut factors.up,
                Place::Alpha => &mut factors.alpha,
            };
            *place = Some(tensor.to_owned());
        }
        Ok(Self {
            path: path.to_owned(),
            strength,
            checkpoint,
            factors,
        })
    }

    /// Fails unless every weight that it changes is among these.
    pub(super) fn check_used(&self, used: &BTreeSet<String>) -> Result<(), ModelError> {
        match self.factors.keys().find(|weight| !used.contains(*weight)) {
            Some(weight) => Err(unfit(&self.path, weight, "the model has no such weight")),
            None => Ok(()),
        }
    }

    /// The name and the shape of a factor, which must be there.
    fn factor<'b>(
        &'b self,
        name: &'b Option<String>,
        weight: &str,
    ) -> Result<(&'b str, &'b [usize]), ModelError> {
        let found = name
            .as_ref()
            .and_then(|name| Some((name, self.checkpoint.entry(name)?)));
        let Some((name, entry)) = found else {
            return Err(unfit(
                &self.path,
                weight,
                "one of its two factors is missing",
            ));
        };
        self.checkpoint.check_dtype(name, entry)?;
        Ok((name, &entry.shape))
    }

    /// The rank of what it adds to a weight of this shape, after a look at both factors' shapes.
    fn rank(&self, weight: &str, factors: &Factors, shape: &[usize]) -> Result<usize, ModelError> {
        let (down, down_shape) = self.factor(&factors.down, weight)?;
        let (up, up_shape) = self.factor(&factors.up, weight)?;
        let wrong = |tensor: &str, expected: Vec<usize>, found: &[usize]| ModelError::WrongShape {
            tensor: tensor.to_owned(),
            expected,
            found: found.to_vec(),
        };
        let outputs = shape.first().copied().unwrap_or(0);
        let inputs: usize = shape.iter().skip(1).product();
        let rank = down_shape.first().copied().unwrap_or(0);
        // A linear layer's factors may be those of a convolution, and the other way round.
        if rank == 0 || down_shape.iter().skip(1).product::<usize>() != inputs {
            return Err(wrong(down, vec![rank.max(1), inputs], down_shape));
        }
        let is_up = up_shape.first() == Some(&outputs)
            && up_shape.iter().skip(1).product::<usize>() == rank;
        match is_up {
            true => Ok(rank),
            false => Err(wrong(up, vec![outputs, rank], up_shape)),
        }
    }

    /// Adds `strength · alpha / rank · up · down` to a weight's values.
    fn add(
        &self,
        weight: &str,
        factors: &Factors,
        shape: &[usize],
        values: &mut [f32],
    ) -> Result<(), ModelError> {
        let rank = self.rank(weight, factors, shape)?;
        let read = |name: &Option<String>| match name {
            Some(name) => TensorSource::read(&self.checkpoint, name).map(Some),
            None => Ok(None),
        };
        let (Some(down), Some(up)) = (read(&factors.down)?, read(&factors.up)?) else {
            return Ok(());
        };
        let alpha = read(&factors.alpha)?.and_then(|alpha| alpha.first().copied());
        let scale = self.strength * alpha.unwrap_or(rank as f32) / rank as f32;
        let inputs = down.len() / rank;
        for (row, up) in values.chunks_exact_mut(inputs).zip(up.chunks_exact(rank)) {
            for (share, down) in up.iter().zip(down.chunks_exact(inputs)) {
                let share = scale * share;
                for (value, down) in row.iter_mut().zip(down) {
                    *value += share * down;
                }
            }
        }
        Ok(())
    }
}

fn unfit(path: &Path, tensor: &str, detail: &str) -> ModelError {
    ModelError::InvalidConfig {
        file: path.display().to_string(),
        field: tensor.to_owned(),
        detail: detail.to_owned(),
    }
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Down,
    Up,
    Alpha,
}

/// What a tensor's name begins with, and which of the factors it is.
fn split(tensor: &str) -> Option<(&str, Place)> {
    if let Some(stem) = tensor.strip_suffix(ALPHA) {
        return Some((stem, Place::Alpha));
    }
    ENDS.iter().find_map(|[down, up]| {
        let is_down = tensor.strip_suffix(down).map(|stem| (stem, Place::Down));
        is_down.or_else(|| tensor.strip_suffix(up).map(|stem| (stem, Place::Up)))
    })
}

/// The part and the name of the weight that a stem speaks of.
fn weight_name(stem: &str) -> Option<String> {
    let flat = stem.replace(".processor", "").replace('.', "_");
    PARTS.iter().find_map(|(theirs, ours)| {
        let name = flat.strip_prefix(theirs)?;
        // The first tools left the number out.
        let number = if name.ends_with("_to_out") { "_0" } else { "" };
        Some(format!("{ours}{name}{number}"))
    })
}

/// A part's weights with what adapters add to them.
pub(super) struct Adapted<'a> {
    /// As the folder is called.
    pub(super) part: &'a str,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) adapters: &'a [Adapter],
    /// Layers of each of the network's blocks, by which some tools count.
    pub(super) layers: usize,
}

impl Adapted<'_> {
    /// What an adapter may call a tensor.
    fn names(&self, tensor: &str) -> Vec<String> {
        let Some(name) = tensor.strip_suffix(".weight") else {
            return Vec::new();
        };
        let part = self.part;
        let flat = name.replace('.', "_");
        let mut names = vec![format!("{part}_{flat}")];
        if part == "unet" {
            let counted = counted(name, self.layers);
            names.extend(counted.map(|name| format!("{part}_{name}")));
        } else if !flat.starts_with("text_model_") {
            names.push(format!("{part}_text_model_{flat}"));
        }
        names
    }

    /// What an adapter may call any of the tensors.
    pub(super) fn all_names(&self) -> impl Iterator<Item = String> + '_ {
        self.checkpoint.names().flat_map(|name| self.names(name))
    }

    fn changes<'b>(&'b self, tensor: &str) -> Vec<(&'b Adapter, String, &'b Factors)> {
        let mut changes = Vec::new();
        let names = self.names(tensor);
        for adapter in self.adapters {
            let found = names.iter().find_map(|name| {
                let factors = adapter.factors.get(name)?;
                Some((adapter, name.clone(), factors))
            });
            changes.extend(found);
        }
        changes
    }
}

/// The name of a transformer's tensor where blocks are counted through, as the first code of Stable
/// Diffusion does.
fn counted(name: &str, layers: usize) -> Option<String> {
    let (way, rest) = name.split_once('.')?;
    if way == "mid_block" {
        let rest = rest.strip_prefix("attentions.0.")?.replace('.', "_");
        return Some(format!("middle_block_1_{rest}"));
    }
    let (block, rest) = rest.split_once('.')?;
    let (layer, rest) = rest.strip_prefix("attentions.")?.split_once('.')?;
    let (block, layer): (usize, usize) = (block.parse().ok()?, layer.parse().ok()?);
    let number = block.checked_mul(layers + 1)?.checked_add(layer)?;
    let rest = rest.replace('.', "_");
    match way {
        "down_blocks" => Some(format!("input_blocks_{}_1_{rest}", number + 1)),
        "up_blocks" => Some(format!("output_blocks_{number}_1_{rest}")),
        _ => None,
    }
}

impl TensorSource for Adapted<'_> {
    fn shape(&self, name: &str) -> Result<Option<&[usize]>, ModelError> {
        let shape = TensorSource::shape(self.checkpoint, name)?;
        if let Some(shape) = shape {
            for (adapter, weight, factors) in self.changes(name) {
                adapter.rank(&weight, factors, shape)?;
            }
        }
        Ok(shape)
    }

    fn read(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        let mut values = TensorSource::read(self.checkpoint, name)?;
        let shape = TensorSource::shape(self.checkpoint, name)?.unwrap_or_default();
        for (adapter, weight, factors) in self.changes(name) {
            adapter.add(&weight, factors, shape, &mut values)?;
        }
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(values),
            false => Err(ModelError::NotFiniteWeights {
                tensor: name.to_owned(),
            }),
        }
    }
}
