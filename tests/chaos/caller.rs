//! One caller's request, from asking to what it saw.

use std::time::{Duration, Instant};

use modelpool::pool::core::{ItemStream, PoolError, Priority, RequestOptions};
use modelpool::testing::{Recital, RecitalRequest, Steering};
use tokio::sync::oneshot;

use super::figures::{Seen, Tally};
use super::models::{Asked, FAULTY, Model, POISON};
use super::plan::{Content, Patience, Plan, RequestPlan};

/// Asks, checks the answer, and enters what was seen.
pub async fn ask(request: RequestPlan, model: &Model, tally: &Tally) -> Seen {
    let started = Instant::now();
    let seen = match request.patience {
        Patience::Stays | Patience::ReadsOnly(_) => answer(request, model.clone(), tally).await,
        Patience::DropsAfter(time) => {
            let asking = answer(request, model.clone(), tally);
            tokio::time::timeout(time, asking)
                .await
                .unwrap_or(Seen::Gone)
        }
        Patience::AbortedAfter(time) => {
            let (model, tally) = (model.clone(), tally.clone());
            let (begin, begun) = oneshot::channel();
            let task = tokio::spawn(async move {
                let _ = begin.send(());
                answer(request, model, &tally).await
            });
            let abort = task.abort_handle();
            let aborting = async {
                // A task that is aborted before it was ever run has asked for nothing.
                let _ = begun.await;
                tokio::time::sleep(time).await;
                abort.abort();
            };
            let (ended, ()) = tokio::join!(task, aborting);
            ended.unwrap_or(Seen::Gone)
        }
    };
    let late = started.elapsed().saturating_sub(request.deadline);
    tally.saw(&model.name, seen, late);
    seen
}

async fn answer(request: RequestPlan, model: Model, tally: &Tally) -> Seen {
    let priority = if request.batch_lane {
        Priority::Batch
    } else {
        Priority::Interactive
    };
    let mut options = RequestOptions::default()
        .deadline(request.deadline)
        .priority(priority);
    if let Some(number) = request.tenant {
        options = options.tenant(format!("tenant {number}"));
    }
    let outcome = match &model.asked() {
        Asked::Once(handle) => {
            let text = match request.content {
                Content::Plain => format!("request {}", request.number),
                Content::Faulty => FAULTY.to_owned(),
                Content::Poison => POISON.to_owned(),
            };
            let expected = Steering::embedding_of(&text);
            let vector = handle.with(options).embed(text).await;
            vector.map(|vector| {
                tally.expect(vector == expected, || {
                    format!("request {} got another's answer", request.number)
                });
                true
            })
        }
        Asked::Stream(handle) => {
            let words = words_of(request);
            let read_at_most = match request.patience {
                Patience::ReadsOnly(items) => items,
                _ => usize::MAX,
            };
            let recital = RecitalRequest {
                words: words.clone(),
            };
            match handle.with(options).stream(recital) {
                Ok(mut stream) => {
                    read(&mut stream, &words, read_at_most, request.number, tally).await
                }
                Err(error) => Err(error),
            }
        }
    };
    match outcome {
        Ok(true) => Seen::Answered,
        Ok(false) => Seen::Gone,
        Err(error) => Seen::of(&error),
    }
}

fn words_of(request: RequestPlan) -> Vec<String> {
    let mut words: Vec<String> = (0..request.items)
        .map(|item| format!("{} {item}", request.number))
        .collect();
    let told = match request.content {
        Content::Plain => return words,
        Content::Faulty => FAULTY,
        Content::Poison => POISON,
    };
    if let Some(word) = words.get_mut(request.number as usize % request.items) {
        told.clone_into(word);
    }
    words
}

/// Reads to the end, or no further than `read_at_most`: then the stream is dropped by the caller.
async fn read(
    stream: &mut ItemStream<Recital>,
    words: &[String],
    read_at_most: usize,
    number: u64,
    tally: &Tally,
) -> Result<bool, PoolError> {
    for position in 0.. {
        if position >= read_at_most {
            return Ok(false);
        }
        match stream.next().await {
            Some(Ok(word)) => tally.expect(words.get(position) == Some(&word), || {
                format!("item {position} of request {number} is {word}")
            }),
            Some(Err(error)) => {
                let after = stream.next().await;
                tally.expect(after.is_none(), || {
                    format!("request {number} had something after its error")
                });
                return Err(error);
            }
            None => {
                tally.expect(position == words.len(), || {
                    format!(
                        "request {number} ended after {position} of {} items",
                        words.len()
                    )
                });
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Many callers at once for one model.
pub async fn flood(plan: Plan, number: u64, model: &Model, tally: &Tally) {
    let requests = (0..64).map(|nth| RequestPlan {
        patience: Patience::Stays,
        content: Content::Plain,
        deadline: Duration::from_secs(2),
        // One flooding tenant, beside the others.
        tenant: Some(number % 5),
        ..plan.request((1 << 40) + number * 64 + nth)
    });
    for request in requests {
        let (model, caller_tally) = (model.clone(), tally.clone());
        tally.in_background(async move {
            ask(request, &model, &caller_tally).await;
        });
    }
}
