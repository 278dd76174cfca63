//! Image embedding models from files, a folder or a hub.

use std::path::Path;

use super::text_embedding::{TOKENIZER_GROWTH, file_bytes};
use super::{FolderModel, HubModel};
use crate::model::{ModelInfo, ModelSpec};
use crate::models::{EfficientNet, EfficientNetWeights, ImageTower, ModelError, Pth, TowerFolder};
use crate::pool::capabilities::image_embedding::ImageEmbedding;
use crate::pool::core::offload;

impl ModelSpec<ImageEmbedding> {
    /// A model in a folder as transformers saves it, registered under the folder's name: CLIP or SigLIP, which
    /// embed texts too, DINOv2 or ViT. Its configurations and the headers of its weights are read here, so
    /// that what is wrong with them is known at once and the memory that it takes is known before it is
    /// loaded.
    ///
    /// # Errors
    /// As [`TowerFolder::open`].
    pub fn folder(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let folder = TowerFolder::open(FolderModel::new(path).locate()?)?;
        let name = path.file_name().map_or_else(
            || "model".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        let mut shared = folder.weight_bytes();
        if folder.has_texts() {
            // The tokenizer is shared as the weights are.
            let tokenizer = file_bytes(&path.join("tokenizer.json"))?;
            shared = shared.saturating_add(TOKENIZER_GROWTH.saturating_mul(tokenizer));
        }
        let info = ModelInfo::from_bytes(name, shared, folder.worker_bytes());
        let for_callers = folder.clone();
        Ok(Self::image_embedding_shared(
            info.clone(),
            move || folder.load(),
            move |weights| Ok(ImageTower::new(info.clone(), weights)),
            move || for_callers.preparer(),
        ))
    }

    /// A model of a hub, registered under its repository's id. What is not in the local cache is
    /// downloaded here, before anything is registered; nothing is loaded.
    ///
    /// # Errors
    /// As [`HubModel::fetch`] and [`folder`](Self::folder).
    pub async fn hub(model: HubModel) -> Result<Self, ModelError> {
        let folder = model.fetch().await?;
        let spec = offload(move || Self::folder(folder))
            .await
            .map_err(|error| ModelError::Other(error.to_string()))??;
        Ok(spec.named(model.repo()))
    }

    /// EfficientNet-Lite0 from the `.pth` file in which its weights were published, registered as
    /// `efficientnet-lite0`: 1280 components, and ImageNet's 1000 classes, whose names may be given with
    /// [`class_names`](Self::class_names). What the file holds is checked here; no weights are loaded.
    ///
    /// # Errors
    /// As [`Pth::open`]; [`ModelError::MissingTensor`] for the weights of something else.
    pub fn efficientnet_lite0(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref().to_owned();
        let last = "_fc.weight";
        if Pth::open(&path)?.shape(last).is_none() {
            return Err(ModelError::MissingTensor {
                tensor: last.to_owned(),
            });
        }
        let info = ModelInfo::from_bytes(
            "efficientnet-lite0",
            EfficientNetWeights::BYTES,
            EfficientNet::WORKER_BYTES,
        );
        let spec = Self::image_embedding_shared(
            info.clone(),
            move || EfficientNetWeights::load(&path),
            move |weights| Ok(EfficientNet::new(info.clone(), weights)),
            EfficientNet::preprocessor,
        );
        Ok(spec.classes())
    }
}
