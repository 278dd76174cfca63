//! Models that answer queries about pictures, from a folder or a hub.

use std::path::Path;

use serde_json::Value;

use super::text_to_text::TOKENIZER_BYTES_PER_TOKEN;
use super::{FolderModel, HubModel};
use crate::model::{ModelInfo, ModelSpec};
use crate::models::{
    BlipFiles, BlipModel, DecoderOptions, ModelError, VisionLanguageFiles, VisionLanguageModel,
    files,
};
use crate::pool::capabilities::text_to_text::MAX_RUNNING;
use crate::pool::capabilities::vision::Vision;
use crate::pool::core::offload;

impl ModelSpec<Vision> {
    /// A vision-language model in a folder as transformers saves it, registered under the folder's name:
    /// LLaVA, Qwen2.5-VL or BLIP, as `config.json` says. Its configuration and the headers of its weights are
    /// read here, so that what is wrong with them is known at once and the memory that it takes is known
    /// before it is loaded.
    ///
    /// A picture takes places of the context as words do: `options` must leave room for it. BLIP's stands
    /// beside the text; it writes a caption that begins with the query, which may be empty, or answers the
    /// query, as it was trained to.
    ///
    /// ```no_run
    /// # async fn describe(pool: modelpool::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// use modelpool::images::ImageSource;
    /// use modelpool::models::DecoderOptions;
    /// use modelpool::{GenerationParams, ModelSpec, Vision};
    ///
    /// let options = DecoderOptions::default().context_tokens(4096);
    /// let model = pool.register(ModelSpec::<Vision>::folder("models/llava-1.5-7b-hf", options)?)?;
    /// let params = GenerationParams::default().max_tokens(100);
    /// let stream = model.describe_image(ImageSource::path("cat.png"), "What is this?", params).await?;
    /// println!("{}", stream.text().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ModelError`], naming the file, field or tensor: something is missing, damaged, or of an
    /// [architecture that is not supported](ModelError::UnsupportedArchitecture); options that do
    /// not fit the model are an [invalid configuration](ModelError::InvalidConfig).
    pub fn folder(path: impl AsRef<Path>, options: DecoderOptions) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let folder = FolderModel::new(path).locate()?;
        let name = path.file_name().map_or_else(
            || "model".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        let config = files::read_json(&folder.join("config.json"), "config.json")?;
        if config.get("model_type").and_then(Value::as_str) == Some("blip") {
            return blip(name, BlipFiles::open(folder)?, options);
        }
        let files = VisionLanguageFiles::open(folder)?;
        let vocabulary = files.decoder().vocabulary() as u64;
        // The tokenizer is shared as the weights are.
        let shared = files
            .weight_bytes()
            .saturating_add(TOKENIZER_BYTES_PER_TOKEN * vocabulary);
        let logits = 4 * vocabulary * MAX_RUNNING as u64;
        let worker = files.worker_bytes(&options)?.saturating_add(logits);
        let info = ModelInfo::from_bytes(name, shared, worker);
        let context = options.context(files.decoder().context_tokens())?;
        let [for_weights, for_language, for_callers] = [files.clone(), files.clone(), files];
        Ok(Self::vision_language_shared(
            info.clone(),
            move || for_weights.load(),
            move |weights| VisionLanguageModel::new(info.clone(), weights, &options),
            move || for_language.language(),
            move |language| Ok(for_callers.preparer(language, context)),
        ))
    }

    /// A vision-language model of a hub, in safetensors, registered under its repository's id. What is not
    /// in the local cache is downloaded here, before anything is registered; nothing is loaded.
    ///
    /// # Errors
    /// As [`HubModel::fetch`] and [`folder`](Self::folder).
    pub async fn hub(model: HubModel, options: DecoderOptions) -> Result<Self, ModelError> {
        let folder = model.fetch().await?;
        let spec = offload(move || Self::folder(folder, options))
            .await
            .map_err(|error| ModelError::Other(error.to_string()))??;
        Ok(spec.named(model.repo()))
    }
}

fn blip(
    name: String,
    files: BlipFiles,
    options: DecoderOptions,
) -> Result<ModelSpec<Vision>, ModelError> {
    let vocabulary = files.vocabulary() as u64;
    let shared = files
        .weight_bytes()
        .saturating_add(TOKENIZER_BYTES_PER_TOKEN * vocabulary);
    let logits = 4 * vocabulary * MAX_RUNNING as u64;
    let worker = files.worker_bytes(&options)?.saturating_add(logits);
    let info = ModelInfo::from_bytes(name, shared, worker);
    let context = files.context(&options)?;
    let asks = files.answers_questions();
    let [for_weights, for_language, for_callers] = [files.clone(), files.clone(), files];
    let spec = ModelSpec::vision_language_shared(
        info.clone(),
        move || for_weights.load(),
        move |weights| BlipModel::new(info.clone(), weights, &options),
        move || for_language.language(),
        move |language| Ok(for_callers.preparer(language, context)),
    );
    Ok(spec.query_required(asks))
}
