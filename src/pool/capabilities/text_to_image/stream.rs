//! A painting as the caller reads it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};

use super::TextToImage;
use super::request::{ImageChunk, Painting};
use crate::pool::core::{ItemStream, PoolError};

/// The progress of a painting, and its pictures: [`ImageChunk::Queued`], then steps, then an
/// [`ImageChunk::Image`] for each picture, the last of which ends the stream. An error is the last item.
/// To drop it cancels the request: the worker is free of it before its next step.
///
/// It holds a few dozen chunks. To a reader who takes none, steps are not told; pictures wait for him.
pub struct ImageStream {
    /// `None` once the stream has ended.
    items: Option<ItemStream<TextToImage>>,
    /// Nobody was told yet that the request was accepted.
    is_new: bool,
    /// Pictures that are still to come.
    left: usize,
}

impl fmt::Debug for ImageStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageStream")
            .field("ended", &self.items.is_none())
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl ImageStream {
    pub(super) fn new(items: ItemStream<TextToImage>, images: usize) -> Self {
        Self {
            items: Some(items),
            is_new: true,
            left: images,
        }
    }

    /// The next chunk; `None` after the last.
    pub async fn next(&mut self) -> Option<Result<ImageChunk, PoolError>> {
        StreamExt::next(self).await
    }

    /// Reads the stream to its end, and gives the pictures in the order of their seeds.
    ///
    /// # Errors
    /// Whatever the request ends with.
    pub async fn collect(mut self) -> Result<Vec<Painting>, PoolError> {
        let mut paintings = Vec::new();
        while let Some(chunk) = self.next().await {
            if let ImageChunk::Image(painting) = chunk? {
                paintings.push(painting);
            }
        }
        if self.left > 0 {
            return Err(PoolError::Internal(
                "a painting ended without its pictures".to_owned(),
            ));
        }
        paintings.sort_by_key(|painting| painting.image);
        Ok(paintings)
    }
}

impl Stream for ImageStream {
    type Item = Result<ImageChunk, PoolError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.is_new) {
            // Told here and not by a worker: it is true before one takes the request up.
            return Poll::Ready(Some(Ok(ImageChunk::Queued)));
        }
        let Some(items) = self.items.as_mut() else {
            return Poll::Ready(None);
        };
        let Poll::Ready(item) = items.poll_next_unpin(context) else {
            return Poll::Pending;
        };
        match &item {
            Some(Ok(ImageChunk::Image(_))) => self.left = self.left.saturating_sub(1),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => self.items = None,
        }
        if self.left == 0 {
            self.items = None;
        }
        Poll::Ready(item)
    }
}
