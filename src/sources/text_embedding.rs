//! Text embedding models from a folder or a hub.

use std::path::Path;
use std::sync::Arc;

use super::{FolderModel, HubModel};
use crate::model::{ModelInfo, ModelSpec};
use crate::models::{
    EncoderFolder, EncoderPrecision, ModelError, StaticEmbedder, StaticFolder, TextEncoder,
};
use crate::pool::capabilities::text_embedding::TextEmbedding;
use crate::pool::core::{MIB, Shared, offload};

/// What a tokenizer takes in memory for each byte of its `tokenizer.json`, generously: MiniLM's
/// takes about 25.
pub(super) const TOKENIZER_GROWTH: u64 = 32;

/// What a worker of a static model has of its own: its thread, and the answers of a step.
pub(super) const STATIC_WORKER_BYTES: u64 = MIB;

impl ModelSpec<TextEmbedding> {
    /// A model in a folder as sentence-transformers, transformers or model2vec saves it,
    /// registered under the folder's name. Its configuration and the headers of its weights are
    /// read here, so that what is wrong with them is known at once and the memory that it takes is
    /// known before it is loaded.
    ///
    /// # Errors
    /// [`ModelError`], naming the file or field: something is missing, damaged, or of an
    /// [architecture that is not supported](ModelError::UnsupportedArchitecture).
    pub fn folder(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        Self::folder_as(path, EncoderPrecision::default())
    }

    /// The same, computed in other numbers. Static models have none to choose from.
    ///
    /// # Errors
    /// As [`folder`](Self::folder).
    pub fn folder_as(
        path: impl AsRef<Path>,
        precision: EncoderPrecision,
    ) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let folder = FolderModel::new(path).locate()?;
        let name = path.file_name().map_or_else(
            || "model".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        if is_static(&folder) {
            static_model(name, &folder)
        } else {
            encoder(name, &folder, precision)
        }
    }

    /// A model of a hub, registered under its repository's id. What is not in the local cache is
    /// downloaded here, before anything is registered; nothing is loaded.
    ///
    /// # Errors
    /// As [`HubModel::fetch`] and [`folder`](Self::folder).
    pub async fn hub(model: HubModel) -> Result<Self, ModelError> {
        Self::hub_as(model, EncoderPrecision::default()).await
    }

    /// The same, computed in other numbers.
    ///
    /// # Errors
    /// As [`hub`](Self::hub).
    pub async fn hub_as(model: HubModel, precision: EncoderPrecision) -> Result<Self, ModelError> {
        let folder = model.fetch().await?;
        let spec = offload(move || Self::folder_as(folder, precision))
            .await
            .map_err(|error| ModelError::Other(error.to_string()))??;
        Ok(spec.named(model.repo()))
    }
}

fn encoder(
    name: String,
    path: &Path,
    precision: EncoderPrecision,
) -> Result<ModelSpec<TextEmbedding>, ModelError> {
    let folder = EncoderFolder::open_with(path, precision)?;
    let tokenizer = file_bytes(&path.join("tokenizer.json"))?;
    // The tokenizer is shared as the weights are.
    let shared = folder.weight_bytes() + TOKENIZER_GROWTH * tokenizer;
    let info = ModelInfo::from_bytes(name, shared, folder.worker_bytes());
    let for_callers = folder.clone();
    Ok(ModelSpec::text_embedding_shared(
        info.clone(),
        move || folder.load(),
        move |weights| Ok(TextEncoder::new(info.clone(), weights)),
    )
    .preparer(move || for_callers.preparer()))
}

fn static_model(name: String, path: &Path) -> Result<ModelSpec<TextEmbedding>, ModelError> {
    let table = file_bytes(&path.join("model.safetensors"))?;
    let tokenizer = file_bytes(&path.join("tokenizer.json"))?;
    let shared = table + TOKENIZER_GROWTH * tokenizer;
    let info = ModelInfo::from_bytes(name, shared, STATIC_WORKER_BYTES);
    let path = path.to_owned();
    let folder = Arc::new(Shared::new(move || StaticFolder::open(&path)));
    let for_callers = Arc::clone(&folder);
    Ok(ModelSpec::text_embedding(info.clone(), move || {
        Ok(StaticEmbedder::new(
            info.clone(),
            folder.get_blocking()?.weights(),
        ))
    })
    .preparer(move || Ok(for_callers.get_blocking()?.preparer())))
}

/// Whether a folder holds a model2vec model, which says so in its `config.json`.
fn is_static(path: &Path) -> bool {
    let config: Option<serde_json::Value> = std::fs::read(path.join("config.json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    config.is_some_and(|config| {
        let field = |name| config.get(name).and_then(serde_json::Value::as_str);
        field("model_type") == Some("model2vec")
            || config
                .get("architectures")
                .and_then(|names| names.get(0))
                .and_then(serde_json::Value::as_str)
                == Some("StaticModel")
    })
}

pub(super) fn file_bytes(path: &Path) -> Result<u64, ModelError> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(ModelError::MissingFile {
                path: path.to_owned(),
            })
        }
        Err(error) => Err(ModelError::Unreadable {
            path: path.to_owned(),
            source: Arc::new(error),
        }),
    }
}
