//! Models that paint, from a folder or a hub.

use std::path::Path;
use std::time::Duration;

use super::{FolderModel, HubModel};
use crate::model::{ModelInfo, ModelSpec};
use crate::models::{DiffusionFolder, DiffusionOptions, FluxFolder, LatentDiffusion, ModelError};
use crate::pool::capabilities::text_to_image::TextToImage;
use crate::pool::core::offload;

/// What a step may take: on few cores, one of a large network on a large picture takes minutes.
const STEP_TIMEOUT: Duration = Duration::from_secs(20 * 60);

impl ModelSpec<TextToImage> {
    /// A pipeline in a folder as diffusers saves it, registered under the folder's name: Stable
    /// Diffusion 1.5 or 2.1, SDXL, one of their turbo and latent consistency variants, or FLUX. Its
    /// configurations and the headers of its weights are read here, so that what is wrong with them is
    /// known at once and the memory that it takes is known before it is loaded. Weights are `f32` once
    /// loaded, and the workers share them. A step may take up to 20 minutes, unless
    /// [`step_timeout`](Self::step_timeout) says otherwise; what a whole picture may take is for the
    /// [deadline](crate::RequestOptions::deadline) to say, and on few cores a minute is not enough.
    ///
    /// ```no_run
    /// # async fn demo(pool: modelpool::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// use modelpool::{ImageParams, ModelSpec, RequestOptions, TextToImage};
    ///
    /// let painter = pool.register(ModelSpec::<TextToImage>::folder("models/sdxl-turbo")?)?;
    /// let params = ImageParams::default().steps(4).guidance(0.0).seed(1);
    /// let patient = RequestOptions::default().deadline(Duration::from_secs(600));
    /// let chunks = painter.with(patient).generate_image("a lighthouse at dusk", params).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ModelError`], naming the file, field or tensor: something is missing, damaged, or of an
    /// [architecture that is not supported](ModelError::UnsupportedArchitecture).
    pub fn folder(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        Self::diffusion(path, DiffusionOptions::default())
    }

    /// The same, with settings of its own.
    ///
    /// # Errors
    /// As [`folder`](Self::folder).
    pub fn diffusion(
        path: impl AsRef<Path>,
        options: DiffusionOptions,
    ) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let located = FolderModel::new(path).locate()?;
        let name = path.file_name().map_or_else(
            || "model".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        if FluxFolder::is_in(&located)? {
            return Ok(Self::flux(&FluxFolder::open(located, &options)?).named(name));
        }
        let folder = DiffusionFolder::open(located, &options)?;
        let shared = folder.weight_bytes() + folder.tokenizer_bytes()?;
        let info = ModelInfo::from_bytes(name, shared, folder.worker_bytes());
        let for_callers = folder.clone();
        let description = folder.description().clone();
        Ok(Self::text_to_image_shared(
            info.clone(),
            description,
            move || folder.load(),
            move |weights| Ok(LatentDiffusion::new(info.clone(), weights)),
        )
        .preparer(move || for_callers.preparer())
        .step_timeout(STEP_TIMEOUT))
    }

    /// A pipeline of a hub, registered under its repository's id. What is not in the local cache is
    /// downloaded here, before anything is registered; nothing is loaded. Of the repository, only the
    /// parts that paint are fetched, in single precision where both are there.
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
}
