//! What a model tells, as the caller hears it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};

use super::Vision;
use super::chunk::{Description, Reading, TextLine, VisionChunk};
use super::input::VisionRequest;
use crate::pool::capabilities::first_item::PromptStream;
use crate::pool::capabilities::text_to_text::Pieces;
use crate::pool::core::{Admission, PoolError};

/// What a model tells of a picture, as it comes. The [last](VisionChunk::is_last) item has the
/// request's account; an error is the last item. To drop it cancels the request: the worker is free of
/// it before its next step.
///
/// It holds a few dozen items. A reader who takes none makes only its own request wait.
pub struct VisionStream(PromptStream<Vision>);

impl fmt::Debug for VisionStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VisionStream")
            .field("ended", &self.0.has_ended())
            .finish_non_exhaustive()
    }
}

impl VisionStream {
    pub(super) fn start(admission: Admission<Vision>, request: VisionRequest) -> Self {
        let first_within = request.params.time_to_first_token;
        Self(PromptStream::start(admission, request, first_within))
    }

    /// The next item; `None` after the last.
    pub async fn next(&mut self) -> Option<Result<VisionChunk, PoolError>> {
        StreamExt::next(self).await
    }

    /// Reads the stream to its end.
    ///
    /// # Errors
    /// Whatever the request ends with.
    pub async fn collect(mut self) -> Result<Description, PoolError> {
        let mut lines: Vec<TextLine> = Vec::new();
        let mut pieces = Pieces::default();
        while let Some(chunk) = self.next().await {
            match chunk? {
                VisionChunk::Line(line) => lines.push(line),
                VisionChunk::End(summary) => {
                    return Ok(Description::Reading(Reading { lines, summary }));
                }
                VisionChunk::Text(chunk) => {
                    if let Some(generation) = pieces.add(chunk) {
                        return Ok(Description::Answers(generation));
                    }
                }
            }
        }
        Err(PoolError::Internal(
            "a description ended without its account".to_owned(),
        ))
    }

    /// Reads the stream to its end, and gives its [text](Description::text).
    ///
    /// # Errors
    /// As [`collect`](Self::collect).
    pub async fn text(self) -> Result<String, PoolError> {
        Ok(self.collect().await?.text())
    }
}

impl Stream for VisionStream {
    type Item = Result<VisionChunk, PoolError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next(context, VisionChunk::is_last)
    }
}
