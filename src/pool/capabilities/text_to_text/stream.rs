//! The answer as the caller reads it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tokio::time::Sleep;

use super::TextToText;
use super::answer::{Answer, Generation, TextChunk};
use crate::pool::core::{ItemStream, PoolError};

/// The pieces of an answer as they come. The last one has the request's
/// [summary](TextChunk::summary); an error is the last item. To drop it cancels the request: its
/// sequence is gone before the worker's next step.
///
/// It holds a few dozen pieces. A reader who takes none makes only its own answer wait.
pub struct TokenStream {
    /// `None` once the stream has ended.
    items: Option<ItemStream<TextToText>>,
    /// When the first piece is due, and what is said if it does not come; taken when it has come.
    first: Option<(Pin<Box<Sleep>>, PoolError)>,
}

impl fmt::Debug for TokenStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenStream")
            .field("ended", &self.items.is_none())
            .finish_non_exhaustive()
    }
}

impl TokenStream {
    /// `first_within` is how long the first piece may take from now, and what it was allowed in
    /// all.
    pub(super) fn new(
        items: ItemStream<TextToText>,
        model: &str,
        first_within: Option<(Duration, Duration)>,
    ) -> Self {
        let first = first_within.map(|(left, allowed)| {
            let late = PoolError::DeadlineExceeded {
                model: model.to_owned(),
                allowed,
            };
            (Box::pin(tokio::time::sleep(left)), late)
        });
        Self {
            items: Some(items),
            first,
        }
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
        let mut pieces: Vec<(String, Vec<super::Token>)> = Vec::new();
        while let Some(chunk) = self.next().await {
            let chunk = chunk?;
            if pieces.len() <= chunk.choice {
                pieces.resize_with(chunk.choice + 1, Default::default);
            }
            let (text, tokens) = &mut pieces[chunk.choice];
            text.push_str(&chunk.text);
            tokens.extend(chunk.tokens);
            let Some(summary) = chunk.summary else {
                continue;
            };
            let answers = pieces.into_iter().zip(summary.finish.iter().cloned());
            let answers = answers.map(|((text, tokens), finish)| Answer {
                text,
                tokens,
                finish,
            });
            return Ok(Generation {
                answers: answers.collect(),
                summary,
            });
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
        let Some(items) = self.items.as_mut() else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(item) = items.poll_next_unpin(context) {
            self.first = None;
            let is_last = match &item {
                Some(Ok(chunk)) => chunk.summary.is_some(),
                Some(Err(_)) | None => true,
            };
            if is_last {
                self.items = None;
            }
            return Poll::Ready(item);
        }
        let Some((due, _)) = &mut self.first else {
            return Poll::Pending;
        };
        if due.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        // With the stream, the request is dropped.
        self.items = None;
        let late = self.first.take().map(|(_, late)| Err(late));
        Poll::Ready(late)
    }
}
