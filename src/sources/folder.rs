//! A model's folder on this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::hub::is_safe_name;
use super::pipeline;
use crate::models::ModelError;

pub(super) const CONFIG: &str = "config.json";
pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const MODULES: &str = "modules.json";
pub(super) const WEIGHTS: &str = "model.safetensors";
pub(super) const WEIGHTS_INDEX: &str = "model.safetensors.index.json";

/// A folder that holds a model as the hub lays it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderModel {
    path: PathBuf,
}

impl FolderModel {
    /// A model in this folder. Nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The folder, after a look at whether the files are there that every model has: `config.json`,
    /// the weights with all their shards and, for a sentence-transformers model, the tokenizer and
    /// its modules' configurations; for a pipeline of diffusers, the same of each part. Of the weights,
    /// nothing is read.
    ///
    /// # Errors
    /// [`ModelError::MissingFile`], [`ModelError::WrongFileKind`], [`ModelError::Unreadable`] and
    /// [`ModelError::Corrupt`], each naming the file.
    pub fn locate(&self) -> Result<PathBuf, ModelError> {
        if !self.path.exists() {
            return Err(ModelError::MissingFile {
                path: self.path.clone(),
            });
        }
        if !self.path.is_dir() {
            return Err(ModelError::WrongFileKind {
                path: self.path.clone(),
                expected: "a directory",
            });
        }
        if self.path.join(pipeline::INDEX).is_file() {
            pipeline::locate(&self.path)?;
            return Ok(self.path.clone());
        }
        let look = |name: &str| present_file(&self.path.join(name));
        look(CONFIG)?;
        let index = self.path.join(WEIGHTS_INDEX);
        if index.is_file() && !self.path.join(WEIGHTS).exists() {
            for shard in shards_of_index(&index)? {
                look(&shard)?;
            }
        } else {
            look(WEIGHTS)?;
        }
        let modules = self.path.join(MODULES);
        if modules.is_file() {
            look(TOKENIZER)?;
            for config in configs_of_modules(&modules)? {
                look(&config)?;
            }
        }
        Ok(self.path.clone())
    }
}

pub(super) fn present_file(path: &Path) -> Result<(), ModelError> {
    if path.is_file() {
        return Ok(());
    }
    Err(if path.exists() {
        ModelError::WrongFileKind {
            path: path.to_owned(),
            expected: "a file",
        }
    } else {
        ModelError::MissingFile {
            path: path.to_owned(),
        }
    })
}

pub(super) fn read_json<T: DeserializeOwned>(
    path: &Path,
    format: &'static str,
) -> Result<T, ModelError> {
    let bytes = std::fs::read(path).map_err(|error| ModelError::Unreadable {
        path: path.to_owned(),
        source: Arc::new(error),
    })?;
    serde_json::from_slice(&bytes).map_err(|error| ModelError::Corrupt {
        path: path.to_owned(),
        format,
        detail: error.to_string(),
    })
}

/// The weight files that an index names, each once.
pub(super) fn shards_of_index(path: &Path) -> Result<BTreeSet<String>, ModelError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = read_json(path, "index of weights")?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    let unsafe_shard = shards.iter().find(|shard| !is_safe_name(shard));
    if let Some(shard) = unsafe_shard {
        return Err(ModelError::Corrupt {
            path: path.to_owned(),
            format: "index of weights",
            detail: format!("the shard {shard:?} would lie outside of the folder"),
        });
    }
    Ok(shards)
}

/// The configurations without which a sentence-transformers model's later stages mean nothing.
fn configs_of_modules(path: &Path) -> Result<Vec<String>, ModelError> {
    #[derive(Deserialize)]
    struct Module {
        path: String,
        r#type: String,
    }
    let modules: Vec<Module> = read_json(path, "modules.json")?;
    let needs_config = |module: &&Module| {
        [".Pooling", ".Dense"]
            .iter()
            .any(|kind| module.r#type.ends_with(kind))
    };
    let configs: Vec<String> = modules
        .iter()
        .filter(needs_config)
        .map(|module| format!("{}/{CONFIG}", module.path))
        .collect();
    if let Some(config) = configs.iter().find(|config| !is_safe_name(config)) {
        return Err(ModelError::Corrupt {
            path: path.to_owned(),
            format: "modules.json",
            detail: format!("the module's file {config:?} would lie outside of the folder"),
        });
    }
    Ok(configs)
}
