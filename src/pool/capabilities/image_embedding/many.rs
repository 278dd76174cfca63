//! One picture, one text, and many of them.

use std::time::Instant;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::ImageEmbedding;
use super::input::{ImageAnswer, Wanted};
use crate::images::ImageSource;
use crate::pool::capabilities::refusal::invalid;
use crate::pool::capabilities::text_embedding::Embedding;
use crate::pool::core::{Admission, ModelHandle, PoolError, Priority};

/// The most pictures of a batch that are fetched, decoded or wait at the same time: each is held
/// whole while it is decoded.
const MOST_AT_ONCE: usize = 16;

impl ModelHandle<ImageEmbedding> {
    pub(super) async fn ask_of_picture(
        &self,
        picture: ImageSource,
        wanted: Wanted,
    ) -> Result<ImageAnswer, PoolError> {
        picture.check(self.caller_side().limits())?;
        answer_picture(self.admit()?, picture, wanted).await
    }

    pub(super) async fn embed_image_patiently(
        &self,
        picture: ImageSource,
    ) -> Result<Embedding, PoolError> {
        let admission = self.admit_patiently().await?;
        let answer = answer_picture(admission, picture, Wanted::Vector).await?;
        answer.into_vector()
    }

    pub(super) async fn embed_text_patiently(&self, text: String) -> Result<Embedding, PoolError> {
        let admission = self.admit_patiently().await?;
        let side = admission.caller_side();
        let input = side.prepare_text(&admission, text);
        let input = admission.prepare(input).await?;
        admission.ask(input).await?.into_vector()
    }

    /// Asks for each of `inputs`, in order, with a part of the queue at any time.
    pub(super) async fn ask_many<I>(
        &self,
        inputs: Vec<I>,
        ask: impl AsyncFn(Self, I) -> Result<Embedding, PoolError>,
    ) -> Result<Vec<Embedding>, PoolError> {
        if inputs.is_empty() {
            return Err(invalid("batch", "is empty"));
        }
        let handle = self.or_priority(Priority::Batch);
        // A full queue refuses the batch as a whole, at once; once begun, it waits for places.
        drop(handle.admit()?);
        let deadline = self
            .options()
            .get_deadline()
            .and_then(|allowed| Instant::now().checked_add(allowed));
        let window = (handle.queue_capacity() / 4).clamp(1, MOST_AT_ONCE);
        let ask = &ask;
        stream::iter(inputs)
            .map(|input| {
                let handle = match deadline {
                    Some(deadline) => {
                        let left = deadline.saturating_duration_since(Instant::now());
                        handle.with(handle.options().deadline(left))
                    }
                    None => handle.clone(),
                };
                ask(handle, input)
            })
            .buffered(window)
            .try_collect()
            .await
    }
}

/// Prepares a picture and asks for what is wanted of it.
async fn answer_picture(
    admission: Admission<ImageEmbedding>,
    picture: ImageSource,
    wanted: Wanted,
) -> Result<ImageAnswer, PoolError> {
    let side = admission.caller_side();
    let input = side.prepare_picture(&admission, picture, wanted);
    let input = admission.prepare(input).await?;
    let names = admission.shared_caller_side();
    let mut answer = admission.ask(input).await?;
    if let ImageAnswer::Classes(classes) = &mut answer {
        for class in classes {
            class.name = names.class_name(class.index);
        }
    }
    Ok(answer)
}
