//! The transformer in a GGUF file, whose tensors have the names of FLUX's first code.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use super::config::FluxConfig;
use crate::kernels::{Cpu, GgmlType, Matrix, MatrixError};
use crate::models::tensors::TensorSource;
use crate::models::{Gguf, ModelError};

/// What may stand before all names.
const PREFIX: &str = "model.diffusion_model.";

/// The element types that will do.
const SUPPORTED: &str =
    "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, IQ4_NL and IQ4_XS";

/// Linear layers outside of the blocks: the file's name and the network's.
const TOP: [(&str, &str); 9] = [
    ("img_in", "x_embedder"),
    ("txt_in", "context_embedder"),
    (
        "time_in.in_layer",
        "time_text_embed.timestep_embedder.linear_1",
    ),
    (
        "time_in.out_layer",
        "time_text_embed.timestep_embedder.linear_2",
    ),
    (
        "guidance_in.in_layer",
        "time_text_embed.guidance_embedder.linear_1",
    ),
    (
        "guidance_in.out_layer",
        "time_text_embed.guidance_embedder.linear_2",
    ),
    (
        "vector_in.in_layer",
        "time_text_embed.text_embedder.linear_1",
    ),
    (
        "vector_in.out_layer",
        "time_text_embed.text_embedder.linear_2",
    ),
    ("final_layer.linear", "proj_out"),
];

/// Those of a block that keeps text and picture apart.
const DOUBLE: [(&str, &str); 8] = [
    ("img_mod.lin", "norm1.linear"),
    ("txt_mod.lin", "norm1_context.linear"),
    ("img_attn.proj", "attn.to_out.0"),
    ("txt_attn.proj", "attn.to_add_out"),
    ("img_mlp.0", "ff.net.0.proj"),
    ("img_mlp.2", "ff.net.2"),
    ("txt_mlp.0", "ff_context.net.0.proj"),
    ("txt_mlp.2", "ff_context.net.2"),
];

/// Its norms, each a single tensor.
const DOUBLE_NORMS: [(&str, &str); 4] = [
    ("img_attn.norm.query_norm.scale", "attn.norm_q.weight"),
    ("img_attn.norm.key_norm.scale", "attn.norm_k.weight"),
    ("txt_attn.norm.query_norm.scale", "attn.norm_added_q.weight"),
    ("txt_attn.norm.key_norm.scale", "attn.norm_added_k.weight"),
];

/// Linear layers of a block over text and picture as one.
const SINGLE: [(&str, &str); 2] = [("modulation.lin", "norm.linear"), ("linear2", "proj_out")];

/// Its norms.
const SINGLE_NORMS: [(&str, &str); 2] = [
    ("norm.query_norm.scale", "attn.norm_q.weight"),
    ("norm.key_norm.scale", "attn.norm_k.weight"),
];

/// Some rows of one of the file's tensors.
#[derive(Debug)]
struct Piece {
    tensor: String,
    kind: GgmlType,
    rows: Vec<Range<usize>>,
    shape: Vec<usize>,
}

/// A GGUF file of a transformer, by the network's own names.
#[derive(Debug)]
pub(super) struct GgufTransformer {
    file: Gguf,
    prefix: &'static str,
    pieces: BTreeMap<String, Piece>,
}

impl GgufTransformer {
    /// Reads the header. What the file says of its own goes into `config`: whether the guidance is one
    /// of the inputs.
    ///
    /// # Errors
    /// What [`Gguf::open`] says, [`ModelError::UnsupportedArchitecture`] for another model's file,
    /// [`ModelError::InvalidConfig`] where it has other layers than `config` says, and
    /// [`ModelError::WrongShape`] or [`ModelError::WrongDtype`] for a tensor that will not do.
    pub(super) fn open(path: &Path, config: &mut FluxConfig) -> Result<Self, ModelError> {
        let file = Gguf::open(path)?;
        let architecture = file.str("general.architecture")?.unwrap_or("none");
        if architecture != "flux" {
            return Err(unsupported(architecture.to_owned()));
        }
        let prefixed = file.tensors().any(|(name, _)| name.starts_with(PREFIX));
        let mut opened = Self {
            prefix: if prefixed { PREFIX } else { "" },
            file,
            pieces: BTreeMap::new(),
        };
        config.has_guidance = opened.has("guidance_in.in_layer.weight");
        opened.require_layers("double_blocks", config.double_layers)?;
        opened.require_layers("single_blocks", config.single_layers)?;
        opened.map(config)?;
        opened.require_all_used()?;
        Ok(opened)
    }

    fn has(&self, name: &str) -> bool {
        self.file
            .tensor(&format!("{}{name}", self.prefix))
            .is_some()
    }

    /// Fails unless the file has as many of these blocks.
    fn require_layers(&self, blocks: &str, wanted: usize) -> Result<(), ModelError> {
        let before = format!("{}{blocks}.", self.prefix);
        let numbers: BTreeSet<&str> = self
            .file
            .tensors()
            .filter_map(|(name, _)| name.strip_prefix(&before)?.split('.').next())
            .collect();
        if numbers.len() == wanted {
            return Ok(());
        }
        let detail = format!(
            "there are {}, the folder's transformer has {wanted}",
            numbers.len()
        );
        Err(self.file.invalid(blocks, detail))
    }

    fn map(&mut self, config: &FluxConfig) -> Result<(), ModelError> {
        let (width, inside) = (config.width(), config.inside());
        for (from, to) in TOP {
            self.add_linear(from, to)?;
        }
        // The file has the shift before the scale.
        let swapped = |rows: usize| vec![rows / 2..rows, 0..rows / 2];
        for kind in ["weight", "bias"] {
            let from = format!("final_layer.adaLN_modulation.1.{kind}");
            self.add(&from, format!("norm_out.linear.{kind}"), swapped)?;
        }
        for number in 0..config.double_layers {
            let from = format!("double_blocks.{number}");
            let to = format!("transformer_blocks.{number}");
            for (layer, name) in DOUBLE {
                self.add_linear(&format!("{from}.{layer}"), &format!("{to}.{name}"))?;
            }
            for (norm, name) in DOUBLE_NORMS {
                self.add(&format!("{from}.{norm}"), format!("{to}.{name}"), all)?;
            }
            for (side, names) in [
                ("img_attn", ["attn.to_q", "attn.to_k", "attn.to_v"]),
                (
                    "txt_attn",
                    ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
                ),
            ] {
                let parts = names.map(|name| (name, width));
                self.add_parts(&format!("{from}.{side}.qkv"), &to, &parts)?;
            }
        }
        for number in 0..config.single_layers {
            let from = format!("single_blocks.{number}");
            let to = format!("single_transformer_blocks.{number}");
            for (layer, name) in SINGLE {
                self.add_linear(&format!("{from}.{layer}"), &format!("{to}.{name}"))?;
            }
            for (norm, name) in SINGLE_NORMS {
                self.add(&format!("{from}.{norm}"), format!("{to}.{name}"), all)?;
            }
            let parts = [
                ("attn.to_q", width),
                ("attn.to_k", width),
                ("attn.to_v", width),
                ("proj_mlp", inside),
            ];
            self.add_parts(&format!("{from}.linear1"), &to, &parts)?;
        }
        Ok(())
    }

    fn add_linear(&mut self, from: &str, to: &str) -> Result<(), ModelError> {
        for kind in ["weight", "bias"] {
            self.add(&format!("{from}.{kind}"), format!("{to}.{kind}"), all)?;
        }
        Ok(())
    }

    /// Several layers that the file holds as one, below each other.
    fn add_parts(
        &mut self,
        from: &str,
        to: &str,
        parts: &[(&str, usize)],
    ) -> Result<(), ModelError> {
        for kind in ["weight", "bias"] {
            let from = format!("{from}.{kind}");
            let mut first = 0;
            for (name, rows) in parts {
                let part = first..first + rows;
                self.add(&from, format!("{to}.{name}.{kind}"), |_| vec![part.clone()])?;
                first += rows;
            }
        }
        Ok(())
    }

    /// Calls some rows of the tensor `from` `to`; what is not in the file is missed when it is asked for.
    fn add(
        &mut self,
        from: &str,
        to: String,
        rows: impl Fn(usize) -> Vec<Range<usize>>,
    ) -> Result<(), ModelError> {
        let name = format!("{}{from}", self.prefix);
        let Some(tensor) = self.file.tensor(&name) else {
            return Ok(());
        };
        let kind = GgmlType::from_id(tensor.kind().id());
        let found = tensor.shape();
        let columns = found.iter().skip(1).product();
        let kind = kind.filter(|kind| match found.len() {
            1 => matches!(kind, GgmlType::F32 | GgmlType::F16 | GgmlType::Bf16),
            _ => Matrix::estimated_bytes(Cpu::detect(), *kind, 1, columns).is_some(),
        });
        let kind = kind.ok_or_else(|| wrong_type(&name, tensor.kind().name().to_owned()))?;
        let height = found.first().copied().unwrap_or_default();
        let rows = rows(height);
        let end = rows.iter().map(|rows| rows.end).max().unwrap_or_default();
        let mut shape = found.to_vec();
        if let Some(side) = shape.first_mut() {
            *side = rows.iter().map(ExactSizeIterator::len).sum();
        }
        if end > height {
            let mut expected = found.to_vec();
            expected[..1].fill(end);
            return Err(ModelError::WrongShape {
                tensor: name,
                expected,
                found: found.to_vec(),
            });
        }
        let piece = Piece {
            tensor: name,
            kind,
            rows,
            shape,
        };
        self.pieces.insert(to, piece);
        Ok(())
    }

    /// Fails where the file has a tensor that the network has no use for.
    fn require_all_used(&self) -> Result<(), ModelError> {
        let used: BTreeSet<&str> = self
            .pieces
            .values()
            .map(|piece| piece.tensor.as_str())
            .collect();
        match self.file.tensors().find(|(name, _)| !used.contains(name)) {
            Some((name, _)) => Err(unsupported(format!("flux with a tensor {name}"))),
            None => Ok(()),
        }
    }
}

impl TensorSource for GgufTransformer {
    fn shape(&self, name: &str) -> Result<Option<&[usize]>, ModelError> {
        Ok(self.pieces.get(name).map(|piece| piece.shape.as_slice()))
    }

    fn read(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        let piece = self
            .pieces
            .get(name)
            .ok_or_else(|| ModelError::MissingTensor {
                tensor: name.to_owned(),
            })?;
        let bytes = self.file.read_tensor(&piece.tensor)?;
        let values = piece.values(&bytes).map_err(|error| match error {
            MatrixError::NotFinite { .. } => not_finite(&piece.tensor),
            other => ModelError::Other(format!("tensor {}: {other}", piece.tensor)),
        })?;
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(not_finite(&piece.tensor))
        }
    }
}

impl Piece {
    /// Its rows, of all the tensor's bytes, as `f32`.
    fn values(&self, bytes: &[u8]) -> Result<Vec<f32>, MatrixError> {
        let columns: usize = self.shape.iter().skip(1).product();
        let row_bytes = self.kind.row_bytes(columns).unwrap_or_default();
        let mut values = Vec::with_capacity(self.shape.iter().product());
        for rows in &self.rows {
            let part = bytes.get(rows.start * row_bytes..rows.end * row_bytes);
            let part = part.unwrap_or_default();
            let matrix = Matrix::from_ggml(Cpu::detect(), self.kind, rows.len(), columns, part)?;
            let mut row = vec![0.0; columns];
            for number in 0..rows.len() {
                matrix.read_row(number, &mut row);
                values.extend_from_slice(&row);
            }
        }
        Ok(values)
    }
}

/// All rows.
fn all(rows: usize) -> Vec<Range<usize>> {
    std::iter::once(0..rows).collect()
}

fn unsupported(found: String) -> ModelError {
    ModelError::UnsupportedArchitecture {
        found,
        supported: vec!["flux"],
    }
}

fn wrong_type(tensor: &str, found: String) -> ModelError {
    ModelError::WrongDtype {
        tensor: tensor.to_owned(),
        found,
        supported: SUPPORTED,
    }
}

fn not_finite(tensor: &str) -> ModelError {
    ModelError::NotFiniteWeights {
        tensor: tensor.to_owned(),
    }
}
