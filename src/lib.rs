#![doc = include_str!("../README.md")]
#![warn(missing_docs, missing_debug_implementations, unreachable_pub)]
#![warn(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::todo,
    clippy::dbg_macro,
    clippy::print_stdout,
    clippy::print_stderr
)]
#![deny(unsafe_code)]

pub mod diffusion;
pub mod images;
mod kernels;
pub mod language;
pub mod model;
pub mod models;
pub mod pool;
pub mod sources;
#[cfg(feature = "testing")]
pub mod testing;

pub use language::{ChatMessage, Constraint, SamplingParams, TextTokenizer};
pub use model::{CandleModel, ModelInfo, ModelSpec};
pub use models::ModelError;
pub use pool::capabilities::image_embedding::{
    ImageClass, ImageEmbedding, ImageEmbeddingCapable, PicturePreparer,
};
pub use pool::capabilities::text_embedding::{
    EmbedInput, EmbedOptions, EmbedTask, Embedding, TextEmbedding, TextEmbeddingCapable,
    TextPreparer,
};
pub use pool::capabilities::text_to_image::{
    Conditioning, Denoise, DiffusionDescription, GuidanceKind, ImageChunk, ImageParams,
    ImageStream, LatentPreview, Painting, PaintingRequest, PaintingTimings, PromptPreparer,
    PromptTokens, TextToImage, TextToImageCapable,
};
pub use pool::capabilities::text_to_text::{
    Answer, BlockId, DecoderLimits, FinishReason, Generation, GenerationParams, GenerationRequest,
    Language, LogitRows, Overlong, PictureRows, PlacedPicture, SequenceChunk, SequenceId, Summary,
    TextChunk, TextToText, TextToTextCapable, Timings, Token, TokenStream, Usage, WantedLogits,
};
pub use pool::capabilities::vision::{
    Description, Progress, Reading, ReadingSummary, TextLine, Vision, VisionCapable, VisionChunk,
    VisionInput, VisionLanguageCapable, VisionPreparer, VisionRequest, VisionStream,
};
pub use pool::core::{
    Device, EventKind, MemoryBudget, ModelHandle, Pool, PoolConfig, PoolError, PoolEvent,
    PoolStatus, PressureConfig, Priority, RequestOptions, StepContext, WorkerState,
};
