//! The answer as the caller reads it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};

use super::TextToText;
use super::answer::{Generation, GenerationRequest, TextChunk};
use super::pieces::Pieces;
use crate::pool::capabilities::first_item::PromptStream;
use crate::pool::core::{Admission, PoolError};

/// The pieces of an answer as they come. The last one has the request's
/// [summary](TextChunk::summary); an error is the last item. To drop it cancels the request: its
/// sequence is gone before the worker's next step.
///
/// It holds a few dozen pieces. A reader who takes none makes only its own answer wait.
pub struct TokenStream(PromptStream<TextToText>);

impl fmt::Debug for TokenStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenStream")
            .field("ended", &self.0.has_ended())
            .finish_non_exhaustive()
    }
}

impl TokenStream {
    pub(super) fn start(admission: Admission<TextToText>, request: GenerationRequest) -> Self {
        let first_within = request.params.time_to_first_token;
        Self(PromptStream::start(admission, request, first_within))
    }

    /// The next piece; `None` after the last.
    pub async fn next(&mut self) -> Option<Result<TextChunk, PoolError>> {
        StreamExt::next(self).await
    }

    /// Reads the stream to its end.
    ///
    /// # Errors
    /// Whatever the request ends with.
    pub async fn collect(mut self) -> Result<Generation, PoolError> {
        let mut pieces = Pieces::default();
        while let Some(chunk) = self.next().await {
            if let Some(generation) = pieces.add(chunk?) {
                return Ok(generation);
            }
        }
        Err(PoolError::Internal(
            "a text ended without its summary".to_owned(),
        ))
    }

    /// Reads the stream to its end, and gives the text of the (first) answer.
    ///
    /// # Errors
    /// As [`collect`](Self::collect).
    pub async fn text(self) -> Result<String, PoolError> {
        let generation = self.collect().await?;
        let first = generation.answers.into_iter().next();
        Ok(first.map_or_else(String::new, |answer| answer.text))
    }
}

impl Stream for TokenStream {
    type Item = Result<TextChunk, PoolError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next(context, |chunk| chunk.summary.is_some())
    }
}
