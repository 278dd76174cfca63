//! Text to text: tokens that go on from other tokens.

mod answer;
mod blocks;
mod caller_side;
mod choice;
mod engine;
mod entry;
mod loaded;
mod outlet;
mod pace;
mod params;
mod picture;
mod pieces;
mod plan;
mod prefix;
mod running;
mod schedule;
mod shares;
mod spec;
mod step;
mod stream;

pub(super) use answer::beginnings;
pub use answer::{
    Answer, FinishReason, Generation, GenerationRequest, Summary, TextChunk, Timings, Token, Usage,
};
pub use caller_side::GenerationSide;
pub(crate) use engine::MAX_RUNNING;
pub use engine::TextToTextEngine;
pub use loaded::{Language, LanguageModel};
pub use params::{GenerationParams, MAX_CHOICES, Overlong};
pub use picture::{PictureRows, PlacedPicture, is_mark, marks};
pub(super) use pieces::Pieces;
pub use step::{BlockId, DecoderLimits, LogitRows, SequenceChunk, SequenceId, WantedLogits};
pub use stream::TokenStream;

// Public for its tests (see `testing::scheduling`), and no part of the crate's face.
#[doc(hidden)]
pub mod scheduling {
    pub use super::blocks::{BlockTable, Blocks};
    pub use super::pace::Pace;
    pub use super::plan::{Plan, Planned};
    pub use super::schedule::Scheduler;
}

use crate::language::{ChatMessage, TemplateOptions};
use crate::model::CandleModel;
use crate::models::ModelError;
use crate::pool::core::{Capability, ModelHandle, PoolError, StepContext};

/// The capability of models that go on with a text.
#[derive(Debug, Clone, Copy)]
pub struct TextToText;

impl Capability for TextToText {
    const NAME: &'static str = "text_to_text";
    type Model = LanguageModel;
    type Request = GenerationRequest;
    type Item = TextChunk;
    type CallerSide = GenerationSide;
    type Engine = TextToTextEngine;

    fn probe_request(_side: &GenerationSide) -> Result<Option<GenerationRequest>, ModelError> {
        // Every vocabulary has a first token.
        Ok(Some(GenerationRequest {
            prompt: vec![0],
            params: GenerationParams::default().max_tokens(1),
        }))
    }

    fn beginnings(request: &GenerationRequest) -> Vec<u64> {
        beginnings(&request.prompt)
    }

    fn engine(model: Box<LanguageModel>) -> TextToTextEngine {
        TextToTextEngine::new(*model)
    }
}

/// A model that goes on with a text: a decoder with a key-value cache in blocks.
///
/// The model computes; which sequences run in a step, and which blocks of the cache are whose, is
/// decided for it. So it keeps no list of sequences: all that it needs to know of one is in its
/// [`SequenceChunk`].
pub trait TextToTextCapable: CandleModel {
    /// What the model can hold and take. Asked once, when it has been loaded.
    fn limits(&self) -> DecoderLimits;

    /// Runs the chunks of one step. Each adds its tokens to its sequence at
    /// `position..position + tokens.len()`: their keys and values are written to the cache, in the
    /// block `blocks[p / block_tokens]` for position `p`, and attend to all positions of the same
    /// sequence up to their own. Blocks before `position / block_tokens` may be shared with other
    /// sequences and are only read.
    ///
    /// `logits` gets one row for each token whose logits a chunk [wants](WantedLogits), in the
    /// order of the chunks and of the tokens in them.
    ///
    /// What a row holds must not depend on which other chunks are in the step, nor on how a
    /// sequence was cut into chunks: the same seed is to give the same text in any company.
    ///
    /// # Errors
    /// An error counts as a failure of the worker, which is then restarted. (NaNs among the logits
    /// are the one sequence's fault, and found by who reads them.)
    fn forward(
        &mut self,
        chunks: &[SequenceChunk<'_>],
        logits: &mut LogitRows,
        context: &StepContext,
    ) -> Result<(), ModelError>;

    /// A sequence has ended or was put off, and will not go on from here. For models that keep
    /// more of a sequence than what lies in its blocks.
    fn forget(&mut self, _sequence: SequenceId) {}
}

impl ModelHandle<TextToText> {
    /// Goes on with a text.
    ///
    /// # Errors
    /// [`PoolError::InvalidRequest`] for an empty prompt or parameters that make no sense,
    /// [`PoolError::InputTooLarge`] for a prompt above the model's `max_input_bytes`,
    /// [`PoolError::Model`] with [`ModelError::PromptTooLong`] for one above its context, and
    /// whatever a request can end with.
    pub async fn prompt(
        &self,
        text: impl Into<String>,
        params: GenerationParams,
    ) -> Result<TokenStream, PoolError> {
        let text = text.into();
        params.validate()?;
        self.caller_side().check_text(&text)?;
        let admission = self.admit()?;
        let side = admission.caller_side();
        let bytes = text.len();
        let tokens = move |language: &Language| Ok(language.tokenizer().encode(&text, true)?);
        let request = side.prepare(&admission, bytes, tokens, params);
        let request = admission.prepare(request).await?;
        Ok(TokenStream::start(admission, request))
    }

    /// Answers a conversation: the model's chat template makes a prompt of it. Control tokens that
    /// a message spells are text, not control tokens.
    ///
    /// # Errors
    /// As [`prompt`](Self::prompt); [`PoolError::Model`] with a
    /// [`LanguageError`](crate::language::LanguageError) where the model has no template or its
    /// template does not accept the conversation.
    pub async fn chat(
        &self,
        messages: impl IntoIterator<Item = ChatMessage>,
        params: GenerationParams,
    ) -> Result<TokenStream, PoolError> {
        self.chat_with(messages, TemplateOptions::default(), params)
            .await
    }

    /// Answers a conversation, with more for the template to know: tools, documents, variables.
    ///
    /// # Errors
    /// As [`chat`](Self::chat).
    pub async fn chat_with(
        &self,
        messages: impl IntoIterator<Item = ChatMessage>,
        options: TemplateOptions,
        params: GenerationParams,
    ) -> Result<TokenStream, PoolError> {
        let messages: Vec<ChatMessage> = messages.into_iter().collect();
        params.validate()?;
        self.caller_side().check_messages(&messages)?;
        let admission = self.admit()?;
        let side = admission.caller_side();
        // However short the messages: the template runs on a thread of its own, which is waited for.
        let tokens = move |language: &Language| language.conversation(&messages, &options);
        let request = side.prepare(&admission, usize::MAX, tokens, params);
        let request = admission.prepare(request).await?;
        Ok(TokenStream::start(admission, request))
    }

    /// Goes on with tokens. Special tokens are the caller's business.
    ///
    /// # Errors
    /// As [`prompt`](Self::prompt).
    pub fn prompt_tokens(
        &self,
        prompt: Vec<u32>,
        params: GenerationParams,
    ) -> Result<TokenStream, PoolError> {
        params.validate()?;
        let request = GenerationRequest { prompt, params };
        self.caller_side()
            .check_tokens(&self.info().name, &request)?;
        Ok(TokenStream::start(self.admit()?, request))
    }
}
