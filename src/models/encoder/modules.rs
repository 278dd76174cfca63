//! What follows the transformer: `modules.json` and the folders it names.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use crate::kernels::Activation;
use crate::models::ModelError;
use crate::models::fields::Fields;
use crate::models::files;

/// How a text's token vectors become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pooling {
    Cls,
    Mean,
    Max,
    /// The sum over the square root of the count.
    MeanSqrtLen,
    /// The mean with weights 1, 2, 3, … by position.
    WeightedMean,
    LastToken,
}

const POOLINGS: [(&str, &str, Pooling); 6] = [
    ("cls", "pooling_mode_cls_token", Pooling::Cls),
    ("mean", "pooling_mode_mean_tokens", Pooling::Mean),
    ("max", "pooling_mode_max_tokens", Pooling::Max),
    (
        "mean_sqrt_len_tokens",
        "pooling_mode_mean_sqrt_len_tokens",
        Pooling::MeanSqrtLen,
    ),
    (
        "weightedmean",
        "pooling_mode_weightedmean_tokens",
        Pooling::WeightedMean,
    ),
    ("lasttoken", "pooling_mode_lasttoken", Pooling::LastToken),
];

/// A step on the pooled vector.
#[derive(Debug, Clone)]
pub(super) enum Stage {
    Dense {
        folder: PathBuf,
        inputs: usize,
        outputs: usize,
        bias: bool,
        activation: Activation,
    },
    Normalize,
}

/// The modules of a sentence-transformers folder.
#[derive(Debug, Clone)]
pub(super) struct Modules {
    /// Where the transformer's own files lie.
    pub(super) transformer: PathBuf,
    /// One vector each, put end to end.
    pub(super) poolings: Vec<Pooling>,
    pub(super) stages: Vec<Stage>,
    /// Length of the final vector.
    pub(super) dimensions: usize,
}

/// Where the transformer lies, which must be known before the other modules can be read.
pub(super) fn transformer_folder(
    folder: &Path,
    modules: Option<&Value>,
) -> Result<PathBuf, ModelError> {
    let Some(modules) = modules else {
        return Ok(folder.to_owned());
    };
    for (kind, path) in module_list(folder, modules)? {
        if kind == "Transformer" {
            return Ok(path);
        }
    }
    let fields = Fields::new("modules.json", Value::Null);
    Err(fields.invalid("type", "no module is a Transformer"))
}

impl Modules {
    /// Reads the modules of `folder`, whose transformer's vectors have `hidden` components. Without
    /// a `modules.json`, token vectors are averaged, or the last one taken where the model is
    /// `causal`.
    pub(super) fn read(
        folder: &Path,
        modules: Option<&Value>,
        transformer: PathBuf,
        hidden: usize,
        causal: bool,
    ) -> Result<Self, ModelError> {
        let mut read = Self {
            transformer,
            poolings: Vec::new(),
            stages: Vec::new(),
            dimensions: hidden,
        };
        let list = match modules {
            Some(modules) => module_list(folder, modules)?,
            None => Vec::new(),
        };
        for (kind, path) in list {
            match kind.as_str() {
                "Transformer" => {}
                "Pooling" => read.add_pooling(&path, hidden)?,
                "Dense" => read.add_dense(path)?,
                "Normalize" => read.add_normalize(&path)?,
                _ => {
                    return Err(ModelError::UnsupportedArchitecture {
                        found: format!("module {kind}"),
                        supported: vec!["Transformer", "Pooling", "Dense", "Normalize"],
                    });
                }
            }
        }
        if read.poolings.is_empty() {
            let pooling = if causal {
                Pooling::LastToken
            } else {
                Pooling::Mean
            };
            read.poolings.push(pooling);
        }
        Ok(read)
    }

    fn add_pooling(&mut self, path: &Path, hidden: usize) -> Result<(), ModelError> {
        let file = path.join("config.json");
        let fields = Fields::new(
            file.display().to_string(),
            files::read_json(&file, "pooling configuration")?,
        );
        if !self.poolings.is_empty() || !self.stages.is_empty() {
            return Err(fields.invalid("type", "a pooling must follow the transformer"));
        }
        if !fields.flag("include_prompt", true)? {
            return Err(fields.invalid("include_prompt", "only true is supported"));
        }
        self.poolings = match fields.get("pooling_mode") {
            Some(Value::Array(modes)) => modes
                .iter()
                .map(|mode| named_pooling(&fields, mode))
                .collect::<Result<_, _>>()?,
            Some(mode) => vec![named_pooling(&fields, mode)?],
            None => flagged_poolings(&fields)?,
        };
        for field in ["word_embedding_dimension", "embedding_dimension"] {
            if let Some(width) = fields.count(field)?.filter(|width| *width != hidden) {
                return Err(fields.invalid(field, format!("{width}, the model has {hidden}")));
            }
        }
        self.dimensions = hidden * self.poolings.len();
        Ok(())
    }

    fn add_normalize(&mut self, folder: &Path) -> Result<(), ModelError> {
        let file = folder.join("config.json");
        let value = files::read_optional_json(&file, "normalize configuration")?;
        let fields = Fields::new(file.display().to_string(), value.unwrap_or_default());
        only_sentences(&fields)?;
        self.stages.push(Stage::Normalize);
        Ok(())
    }

    fn add_dense(&mut self, folder: PathBuf) -> Result<(), ModelError> {
        let file = folder.join("config.json");
        let fields = Fields::new(
            file.display().to_string(),
            files::read_json(&file, "dense configuration")?,
        );
        let inputs = fields.required(&["in_features"])?;
        let outputs = fields.required(&["out_features"])?;
        if inputs != self.dimensions {
            let detail = format!("{inputs}, the module before gives {}", self.dimensions);
            return Err(fields.invalid("in_features", detail));
        }
        if fields.flag("use_residual", false)? {
            return Err(fields.invalid("use_residual", "only false is supported"));
        }
        only_sentences(&fields)?;
        let name = fields
            .text("activation_function")?
            .unwrap_or("torch.nn.modules.activation.Tanh");
        let activation = match name.rsplit('.').next().unwrap_or_default() {
            "Identity" => Activation::Identity,
            "Tanh" => Activation::Tanh,
            "GELU" => Activation::Gelu,
            "ReLU" => Activation::Relu,
            "SiLU" => Activation::Silu,
            "Sigmoid" => Activation::Sigmoid,
            other => {
                let detail = format!("activation {other} is not supported");
                return Err(fields.invalid("activation_function", detail));
            }
        };
        self.stages.push(Stage::Dense {
            folder,
            inputs,
            outputs,
            bias: fields.flag("bias", true)?,
            activation,
        });
        self.dimensions = outputs;
        Ok(())
    }
}

/// Fails for a module that works on token vectors.
fn only_sentences(fields: &Fields) -> Result<(), ModelError> {
    for field in ["module_input_name", "module_output_name"] {
        fields.only(field, &Value::from("sentence_embedding"))?;
    }
    Ok(())
}

/// Each module's kind (the last part of its Python class's name) and folder.
fn module_list(folder: &Path, modules: &Value) -> Result<Vec<(String, PathBuf)>, ModelError> {
    let fields = Fields::new("modules.json", modules.clone());
    let list = modules
        .as_array()
        .ok_or_else(|| fields.invalid("type", "the file is not a list of modules"))?;
    list.iter()
        .map(|module| {
            let module = Fields::new("modules.json", module.clone());
            let kind = module.text("type")?.unwrap_or_default();
            let path = Path::new(module.text("path")?.unwrap_or_default());
            let inside = path
                .components()
                .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
            if !inside {
                let detail = format!("{} leads out of the model's folder", path.display());
                return Err(module.invalid("path", detail));
            }
            let kind = kind.rsplit('.').next().unwrap_or_default();
            Ok((kind.to_owned(), folder.join(path)))
        })
        .collect()
}

fn named_pooling(fields: &Fields, mode: &Value) -> Result<Pooling, ModelError> {
    POOLINGS
        .iter()
        .find(|(name, _, _)| mode == name)
        .map(|(_, _, pooling)| *pooling)
        .ok_or_else(|| fields.invalid("pooling_mode", format!("{mode} is not supported")))
}

fn flagged_poolings(fields: &Fields) -> Result<Vec<Pooling>, ModelError> {
    let mut poolings = Vec::new();
    for (_, flag, pooling) in POOLINGS {
        if fields.flag(flag, false)? {
            poolings.push(pooling);
        }
    }
    if poolings.is_empty() {
        return Err(fields.invalid("pooling_mode", "no way of pooling is chosen"));
    }
    Ok(poolings)
}
