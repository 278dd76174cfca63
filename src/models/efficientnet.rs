//! EfficientNet-Lite0: what is in a picture, by convolutions that are cheap on a CPU.
//!
//! EfficientNet (Tan and Le 2019) in the variant for small devices: ReLU6 for swish, and no squeeze-and-excitation.

mod network;
mod weights;

use std::fmt;
use std::sync::Arc;

use network::Scratch;

use crate::images::{ImagePreprocessor, PixelTensor};
use crate::kernels::{self, Cpu};
use crate::model::{CandleModel, ModelInfo};
use crate::models::ModelError;
use crate::pool::capabilities::image_embedding::ImageEmbeddingCapable;
use crate::pool::capabilities::text_embedding::Embedding;
use crate::pool::core::StepContext;

pub use weights::EfficientNetWeights;

/// Rows and columns of what the network looks at.
pub(super) const SIDE: usize = 224;
/// Components of an embedding.
pub(super) const FEATURES: usize = 1280;
/// ImageNet's classes.
pub(super) const CLASSES: usize = 1000;

/// How it was trained to see: a margin of 32 around the crop, and values around 0.
const PREPROCESSOR: &str = r#"{
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": 256}, "resample": 3,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": false, "image_mean": [127, 127, 127], "image_std": [128, 128, 128]
}"#;

/// EfficientNet-Lite0 as a worker serves it. It shares its weights with other workers and owns the buffers of a step,
/// which it keeps. An embedding is what the network's last layer but one gives, 1280 values, scaled to unit length.
pub struct EfficientNet {
    info: ModelInfo,
    weights: Arc<EfficientNetWeights>,
    scratch: Scratch,
}

impl fmt::Debug for EfficientNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EfficientNet")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

impl EfficientNet {
    /// What one worker has of its own at most, in bytes.
    pub const WORKER_BYTES: u64 = Scratch::BYTES;

    /// A worker's network over weights that others may use too.
    pub fn new(info: ModelInfo, weights: Arc<EfficientNetWeights>) -> Self {
        Self {
            info,
            weights,
            scratch: Scratch::default(),
        }
    }

    /// What makes pictures into what the network takes.
    ///
    /// # Errors
    /// None that is known of: the description is part of this crate.
    pub fn preprocessor() -> Result<ImagePreprocessor, ModelError> {
        ImagePreprocessor::from_json(PREPROCESSOR)
    }

    fn features(
        &mut self,
        pixels: &PixelTensor,
        context: &StepContext,
    ) -> Result<Vec<f32>, ModelError> {
        if pixels.shape() != [3, SIDE, SIDE] {
            return Err(ModelError::WrongShape {
                tensor: "pixels".to_owned(),
                expected: vec![3, SIDE, SIDE],
                found: pixels.shape().to_vec(),
            });
        }
        let (weights, scratch) = (&self.weights, &mut self.scratch);
        let team = context.team();
        Ok(team.run(|| network::features(weights, pixels.values(), team.threads(), scratch)))
    }
}

impl CandleModel for EfficientNet {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl ImageEmbeddingCapable for EfficientNet {
    /// They are run one after the other: each keeps all threads busy.
    fn max_step_pictures(&self) -> usize {
        4
    }

    fn embed_pictures(
        &mut self,
        pictures: &[&PixelTensor],
        context: &StepContext,
    ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
        let embed = |picture: &&PixelTensor| {
            let mut features = self.features(picture, context)?;
            let length = features
                .iter()
                .map(|value| value * value)
                .sum::<f32>()
                .sqrt();
            // Of nothing but zeros there is no direction.
            if length > 0.0 {
                features.iter_mut().for_each(|value| *value /= length);
            }
            Ok(features)
        };
        Ok(pictures.iter().map(embed).collect())
    }

    fn classify_pictures(
        &mut self,
        pictures: &[&PixelTensor],
        context: &StepContext,
    ) -> Result<Vec<Result<Vec<f32>, ModelError>>, ModelError> {
        let classify = |picture: &&PixelTensor| {
            let features = self.features(picture, context)?;
            let mut scores = vec![0.0; CLASSES];
            self.weights.head(&features, &mut scores);
            kernels::softmax(Cpu::detect(), &mut scores, 1.0, &[]);
            Ok(scores)
        };
        Ok(pictures.iter().map(classify).collect())
    }
}
