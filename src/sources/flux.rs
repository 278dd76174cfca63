//! FLUX from a folder, and from a folder with a GGUF file.

use std::path::Path;
use std::time::Duration;

use crate::model::{ModelInfo, ModelSpec};
use crate::models::{DiffusionOptions, FluxFolder, FluxPainter, ModelError};
use crate::pool::capabilities::text_to_image::TextToImage;

/// A step of twelve thousand million weights takes minutes on a few cores.
const STEP_TIMEOUT: Duration = Duration::from_secs(30 * 60);

impl ModelSpec<TextToImage> {
    /// A FLUX pipeline whose transformer is in a GGUF file, registered under that file's name; the
    /// folder gives everything else. See [`FluxFolder::open_with_gguf`].
    ///
    /// ```no_run
    /// # fn main() -> Result<(), modelpool::ModelError> {
    /// use modelpool::models::DiffusionOptions;
    /// use modelpool::{ModelSpec, TextToImage};
    ///
    /// let (folder, file) = ("models/FLUX.1-schnell", "models/flux1-schnell-Q4_K_S.gguf");
    /// let options = DiffusionOptions::default().max_pixels(1024 * 1024);
    /// let spec = ModelSpec::<TextToImage>::flux_gguf(folder, file, &options)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`FluxFolder::open_with_gguf`].
    pub fn flux_gguf(
        folder: impl AsRef<Path>,
        transformer: impl AsRef<Path>,
        options: &DiffusionOptions,
    ) -> Result<Self, ModelError> {
        let transformer = transformer.as_ref();
        let folder = FluxFolder::open_with_gguf(folder.as_ref(), transformer, options)?;
        let name = transformer.file_stem().unwrap_or_default();
        Ok(Self::flux(&folder).named(name.to_string_lossy()))
    }

    /// A FLUX pipeline's folder, opened, registered under the folder's name.
    pub fn flux(folder: &FluxFolder) -> Self {
        let name = folder.path().file_name().unwrap_or_default();
        let (weights, own) = (folder.weight_bytes(), folder.worker_bytes());
        let info = ModelInfo::from_bytes(name.to_string_lossy(), weights, own);
        let (for_weights, for_prompts) = (folder.clone(), folder.clone());
        Self::text_to_image_shared(
            info.clone(),
            folder.description().clone(),
            move || for_weights.load(),
            move |weights| Ok(FluxPainter::new(info.clone(), weights)),
        )
        .preparer(move || for_prompts.preparer())
        .step_timeout(STEP_TIMEOUT)
    }
}
