//! Streams whose first item is due at a time of its own.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Sleep;

use crate::pool::core::{Admission, Capability, ItemStream, PoolError};

/// A stream that ends with its last item, and whose first one may be late.
pub(super) struct PromptStream<C: Capability> {
    /// `None` once the stream has ended.
    items: Option<ItemStream<C>>,
    /// When the first item is due, and what is said if it does not come; taken when it has come.
    first: Option<(Pin<Box<Sleep>>, PoolError)>,
}

impl<C: Capability> PromptStream<C> {
    /// Sends the request. The first item is due within `allowed`, counted from its admission.
    pub(super) fn start(
        admission: Admission<C>,
        request: C::Request,
        allowed: Option<Duration>,
    ) -> Self {
        let first = allowed.map(|allowed| {
            let left = allowed.saturating_sub(admission.age());
            let late = PoolError::DeadlineExceeded {
                model: admission.info().name.clone(),
                allowed,
            };
            (Box::pin(tokio::time::sleep(left)), late)
        });
        Self {
            items: Some(admission.stream(request)),
            first,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.items.is_none()
    }

    /// The next item; `is_last` tells the last one.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        is_last: impl Fn(&C::Item) -> bool,
    ) -> Poll<Option<Result<C::Item, PoolError>>> {
        let Some(items) = self.items.as_mut() else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(item) = items.poll_next_unpin(context) {
            self.first = None;
            let ends = match &item {
                Some(Ok(item)) => is_last(item),
                Some(Err(_)) | None => true,
            };
            if ends {
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
