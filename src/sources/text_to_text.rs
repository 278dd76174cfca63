//! Text generation models from a file, a folder or a hub.

use std::path::Path;

use super::{FolderModel, HubModel};
use crate::language::{ChatTemplate, TextTokenizer};
use crate::model::{ModelInfo, ModelSpec};
use crate::models::{DecoderFiles, DecoderOptions, ModelError, TextDecoder};
use crate::pool::capabilities::text_to_text::{Language, MAX_RUNNING, TextToText};
use crate::pool::core::offload;

/// What a tokenizer takes in memory for each of its tokens, generously: their texts, the tables
/// from text to token and back, and the merges.
pub(super) const TOKENIZER_BYTES_PER_TOKEN: u64 = 512;

impl ModelSpec<TextToText> {
    /// A model in a GGUF file, with the tokenizer and the chat template that are in it, registered
    /// under the file's name. Its header is read here, so that what is wrong with it is known at
    /// once and the memory that it takes is known before it is loaded.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), modelpool::ModelError> {
    /// use modelpool::models::{CacheFormat, DecoderOptions};
    /// use modelpool::{ModelSpec, TextToText};
    ///
    /// let options = DecoderOptions::default()
    ///     .context_tokens(2048) // of one sequence
    ///     .cache_tokens(16384) // of all that one worker has in hand
    ///     .cache_format(CacheFormat::F16);
    /// let spec = ModelSpec::<TextToText>::gguf("models/SmolLM2-135M-Instruct.Q4_1.gguf", options)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ModelError`], naming the file, field or tensor: something is missing, damaged, or of an
    /// [architecture that is not supported](ModelError::UnsupportedArchitecture); options that do
    /// not fit the model are an [invalid configuration](ModelError::InvalidConfig).
    pub fn gguf(path: impl AsRef<Path>, options: DecoderOptions) -> Result<Self, ModelError> {
        let path = path.as_ref();
        if path.is_dir() {
            return Err(ModelError::WrongFileKind {
                path: path.to_owned(),
                expected: "a file",
            });
        }
        decoder(path, options)
    }

    /// A model in a folder as transformers saves it, registered under the folder's name.
    ///
    /// # Errors
    /// As [`gguf`](Self::gguf).
    pub fn folder(path: impl AsRef<Path>, options: DecoderOptions) -> Result<Self, ModelError> {
        let folder = FolderModel::new(path.as_ref()).locate()?;
        decoder(&folder, options)
    }

    /// A model of a hub, in safetensors, registered under its repository's id. What is not in the
    /// local cache is downloaded here, before anything is registered; nothing is loaded.
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

fn decoder(path: &Path, options: DecoderOptions) -> Result<ModelSpec<TextToText>, ModelError> {
    let files = DecoderFiles::open(path)?;
    let name = path.file_stem().filter(|_| path.is_file());
    let name = name.or_else(|| path.file_name()).map_or_else(
        || "model".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    let vocabulary = files.vocabulary() as u64;
    // The tokenizer is shared as the weights are.
    let shared = files.weight_bytes() + TOKENIZER_BYTES_PER_TOKEN * vocabulary;
    let logits = 4 * vocabulary * MAX_RUNNING as u64;
    let info = ModelInfo::from_bytes(name, shared, files.worker_bytes(&options)? + logits);
    let (for_weights, for_language) = (files.clone(), files.clone());
    let context = options.context(files.context_tokens())?;
    let spec = ModelSpec::text_to_text_shared(
        info.clone(),
        move || for_weights.load(),
        move |weights| TextDecoder::new(info.clone(), weights, &options),
    );
    Ok(spec
        .language(move || language(&for_language))
        .context_tokens(context))
}

fn language(files: &DecoderFiles) -> Result<Language, ModelError> {
    Ok(match files.gguf() {
        Some(gguf) => Language::new(TextTokenizer::from_gguf(gguf)?)
            .template(|tokenizer| ChatTemplate::from_gguf(gguf, tokenizer)),
        None => Language::new(TextTokenizer::from_folder(files.path())?)
            .template(|tokenizer| ChatTemplate::from_folder(files.path(), tokenizer)),
    })
}
