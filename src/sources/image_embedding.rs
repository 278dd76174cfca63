//! Image embedding models from files.

use std::path::Path;

use crate::model::{ModelInfo, ModelSpec};
use crate::models::{EfficientNet, EfficientNetWeights, ModelError, Pth};
use crate::pool::capabilities::image_embedding::ImageEmbedding;

impl ModelSpec<ImageEmbedding> {
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
