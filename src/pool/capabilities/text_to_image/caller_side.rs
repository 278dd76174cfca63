//! What painting does before a worker sees the request.

use std::fmt;
use std::sync::Arc;

use super::TextToImage;
use super::description::DiffusionDescription;
use super::model::{PromptPreparer, PromptTokens};
use super::params::ImageParams;
use super::request::PaintingRequest;
use crate::images::resample::{self, Filter};
use crate::images::{ImageError, ImageLimits, ImageSource, RgbImage};
use crate::models::ModelError;
use crate::pool::capabilities::refusal::invalid;
use crate::pool::core::{Admission, PoolError, Shared, offload};

/// Prompts above this are prepared away from the async threads: from here on it takes milliseconds.
const LONG_PROMPT_BYTES: usize = 16 * 1024;

/// What a prompt may measure unless the model says otherwise: models read a few hundred tokens.
const DEFAULT_MAX_INPUT_BYTES: usize = 64 * 1024;

/// A preparer of whatever kind.
pub(super) type AnyPreparer = Box<dyn PromptPreparer>;

/// The caller's side of a model that paints: its tokenizers, and what it refuses.
pub struct PaintingSide {
    pub(super) description: Arc<DiffusionDescription>,
    pub(super) preparer: Option<Arc<Shared<AnyPreparer>>>,
    pub(super) max_input_bytes: usize,
    pub(super) limits: ImageLimits,
}

impl fmt::Debug for PaintingSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaintingSide")
            .field("description", &self.description)
            .field("max_input_bytes", &self.max_input_bytes)
            .finish_non_exhaustive()
    }
}

/// For models that read bytes.
#[derive(Debug, Clone, Copy)]
struct Bytes;

impl PromptPreparer for Bytes {
    fn prepare(&self, prompt: &str) -> Result<PromptTokens, ModelError> {
        Ok(PromptTokens {
            encoders: vec![prompt.bytes().map(u32::from).collect()],
            is_absent: false,
        })
    }
}

/// What there is to prepare of a request.
struct Unprepared {
    prompt: String,
    negative: Option<String>,
    init: Option<ImageSource>,
    /// Everything else; its size is to be the picture's where the caller named none.
    request: PaintingRequest,
    given: [Option<usize>; 2],
    description: Arc<DiffusionDescription>,
    limits: ImageLimits,
}

impl PaintingSide {
    pub(super) fn new(description: DiffusionDescription) -> Self {
        Self {
            description: Arc::new(description),
            preparer: None,
            max_input_bytes: DEFAULT_MAX_INPUT_BYTES,
            limits: ImageLimits::default(),
        }
    }

    /// Refuses what can never be painted, without reading or loading anything.
    pub(super) fn check(&self, prompt: &str, params: &ImageParams) -> Result<(), PoolError> {
        params.validate()?;
        let negative = params.negative_prompt.as_deref().unwrap_or_default();
        for text in [prompt, negative] {
            if text.len() > self.max_input_bytes {
                return Err(PoolError::InputTooLarge {
                    bytes: text.len(),
                    limit: self.max_input_bytes,
                });
            }
        }
        if let Some(init) = &params.init {
            init.check(&self.limits)?;
        }
        self.decided(params).check(&self.description).map_err(told)
    }

    /// Everything that can be decided without looking at prompts and pictures.
    fn decided(&self, params: &ImageParams) -> PaintingRequest {
        let description = &self.description;
        let [width, height] = description.default_size;
        let mut request = PaintingRequest {
            prompt: PromptTokens::default(),
            negative: None,
            guidance: params.guidance.unwrap_or(description.default_guidance),
            width: params.width.unwrap_or(width),
            height: params.height.unwrap_or(height),
            steps: params.steps.unwrap_or(description.default_steps),
            seed: params.seed.unwrap_or_else(|| fastrand::u64(..)),
            images: params.images,
            scheduler: params.scheduler.unwrap_or(description.default_scheduler),
            init: None,
            strength: params.strength,
            preview_every: params.preview_every,
        };
        if request.is_guided(description) {
            request.negative = Some(PromptTokens::default());
        }
        request
    }

    /// Makes tokens of the prompts and pixels of the picture to begin from.
    pub(super) async fn prepare(
        &self,
        admission: &Admission<TextToImage>,
        prompt: String,
        params: ImageParams,
    ) -> Result<PaintingRequest, PoolError> {
        let model = &admission.info().name;
        let preparer = match &self.preparer {
            Some(shared) => Some(admission.load(shared).await?),
            None => None,
        };
        let bytes = prompt.len() + params.negative_prompt.as_ref().map_or(0, String::len);
        let takes_long = bytes > LONG_PROMPT_BYTES || params.init.is_some();
        let unprepared = Unprepared {
            request: self.decided(&params),
            prompt,
            negative: params.negative_prompt,
            init: params.init,
            given: [params.width, params.height],
            description: Arc::clone(&self.description),
            limits: self.limits.clone(),
        };
        let prepare = move || match &preparer {
            Some(preparer) => unprepared.prepare(&***preparer),
            None => unprepared.prepare(&Bytes),
        };
        let prepared = if takes_long {
            offload(prepare).await?
        } else {
            prepare()
        };
        prepared.map_err(|error| match error {
            ModelError::Image(source) => PoolError::Image(source),
            error @ ModelError::InvalidPainting { .. } => told(error),
            source => PoolError::Model {
                model: model.to_owned(),
                source,
            },
        })
    }

    /// One step of a picture as small as can be.
    pub(super) fn probe(&self) -> Result<PaintingRequest, ModelError> {
        let smallest = self.description.size_multiple.max(1);
        // Some networks halve the latents several times: a size that is known to do is the model's own.
        let [width, height] = self.description.default_size;
        let side = |default: usize| default.min(smallest.saturating_mul(8)).max(smallest);
        let params = ImageParams::default()
            .size(side(width), side(height))
            .steps(1)
            .guidance(0.0)
            .seed(0);
        let unprepared = Unprepared {
            request: self.decided(&params),
            prompt: String::new(),
            negative: None,
            init: None,
            given: [params.width, params.height],
            description: Arc::clone(&self.description),
            limits: self.limits.clone(),
        };
        match &self.preparer {
            Some(shared) => unprepared.prepare(&**shared.get_blocking()?),
            None => unprepared.prepare(&Bytes),
        }
    }
}

impl Unprepared {
    fn prepare(self, preparer: &dyn PromptPreparer) -> Result<PaintingRequest, ModelError> {
        let mut request = self.request;
        request.prompt = preparer.prepare(&self.prompt)?;
        request.prompt.is_absent = false;
        if request.negative.is_some() {
            let mut tokens = preparer.prepare(self.negative.as_deref().unwrap_or_default())?;
            tokens.is_absent = self.negative.is_none();
            request.negative = Some(tokens);
        }
        if let Some(source) = &self.init {
            let picture = source.load(&self.limits)?;
            let multiple = self.description.size_multiple.max(1);
            let own = [picture.width(), picture.height()].map(|side| side as usize);
            let fitting = |side: usize| (side / multiple * multiple).max(multiple);
            request.width = self.given[0].unwrap_or_else(|| fitting(own[0]));
            request.height = self.given[1].unwrap_or_else(|| fitting(own[1]));
            // Before it is scaled to whatever that is.
            request.check(&self.description)?;
            request.init = Some(scaled(&picture, request.width, request.height)?);
        }
        request.check(&self.description)?;
        Ok(request)
    }
}

fn scaled(picture: &RgbImage, width: usize, height: usize) -> Result<RgbImage, ImageError> {
    let empty = ImageError::Empty {
        width: 0,
        height: 0,
    };
    match (u32::try_from(width), u32::try_from(height)) {
        (Ok(width), Ok(height)) => Ok(resample::resize(picture, width, height, Filter::Lanczos)),
        _ => Err(empty),
    }
}

/// What is wrong with a painting is wrong with the request.
fn told(error: ModelError) -> PoolError {
    match error {
        ModelError::InvalidPainting { field, detail } => invalid(field, detail),
        other => invalid("params", other.to_string()),
    }
}
