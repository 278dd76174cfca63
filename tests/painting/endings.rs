//! Drops, deadlines, crashes.

use std::time::Duration;

use modelpool::testing::{Act, Point, Steering};
use modelpool::{ImageChunk, ModelError, PoolError, Priority, RequestOptions};

use crate::universe::within;
use crate::{begin, description, one_worker, png, predictions, queued, seeded, step};

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_painting_is_gone_within_one_step() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Go, Act::Go]);
    steering.always(Point::Step, Act::Wait);
    let (universe, dauber) = one_worker(&steering, description()).await;
    let mut dropped = begin(&dauber, "dropped", seeded(1).steps(500)).await;
    step(&mut dropped, 2).await;
    // It is in the middle of its third step.
    within(steering.visited(Point::Step, 3)).await;
    let kept = begin(&dauber, "kept", seeded(1).steps(2)).await;
    queued(&universe, 1).await;
    drop(dropped);
    steering.open(Point::Step);
    within(kept.collect()).await.unwrap();
    let calls = predictions(&steering);
    assert_eq!(calls[3..].concat(), ["kept", "kept"]);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_dropped_painting_leaves_the_model_nothing_in_hand() {
    let steering = Steering::new();
    let (universe, dauber) = one_worker(&steering, description()).await;
    steering.script(Point::Step, [Act::Go, Act::Wait]);
    let mut dropped = begin(&dauber, "dropped", seeded(1).steps(900)).await;
    step(&mut dropped, 1).await;
    within(steering.visited(Point::Step, 2)).await;
    drop(dropped);
    steering.open(Point::Step);
    let finished = || {
        steering
            .steps()
            .last()
            .is_some_and(|it| it == &["finished"])
    };
    within(async {
        while !finished() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(predictions(&steering).len(), 2);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_painting_between_steps() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Go, Act::Go, Act::Wait]);
    let (universe, dauber) = one_worker(&steering, description()).await;
    let hurried = dauber.with(RequestOptions::default().deadline(Duration::from_millis(300)));
    let stream = begin(&hurried, "late", seeded(1).steps(500)).await;
    let error = within(stream.collect()).await.unwrap_err();
    assert!(
        matches!(error, PoolError::DeadlineExceeded { .. }),
        "{error}"
    );
    steering.open(Point::Step);
    png(&dauber, "next", seeded(1).steps(1)).await;
    let calls = predictions(&steering).concat();
    assert_eq!(calls, ["late", "late", "late", "next"]);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_first_picture_goes_unnoticed_but_for_the_steps() {
    let steering = Steering::new();
    let (universe, dauber) = one_worker(&steering, description()).await;
    let undisturbed = png(&dauber, "again", seeded(1).steps(5)).await;
    steering.script(Point::Step, [Act::Go, Act::Go, Act::Panic]);
    let mut stream = begin(&dauber, "again", seeded(1).steps(5)).await;
    let (mut steps, mut made) = (Vec::new(), None);
    while let Some(chunk) = within(stream.next()).await {
        match chunk.unwrap() {
            ImageChunk::Step { step, .. } => steps.push(step),
            ImageChunk::Image(painting) => made = Some(painting.png),
            _ => {}
        }
    }
    assert_eq!(steps, [1, 2, 1, 2, 3, 4, 5]);
    assert_eq!(made, Some(undisturbed));
    assert_eq!(universe.status().models[0].metrics.redelivered, 1);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_first_picture_interrupts() {
    let steering = Steering::new();
    let mut single = description();
    single.max_batch = 1;
    let (universe, dauber) = one_worker(&steering, single).await;
    steering.script(Point::Step, [Act::Go, Act::Go, Act::Go, Act::Panic]);
    let mut stream = begin(&dauber, "two", seeded(1).steps(2).images(2)).await;
    let mut pictures = 0;
    let error = loop {
        match within(stream.next()).await.unwrap() {
            Ok(ImageChunk::Image(_)) => pictures += 1,
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(pictures, 1);
    let is_interrupted = matches!(error, PoolError::Interrupted { items_sent: 1, .. });
    assert!(is_interrupted, "{error}");
    assert!(within(stream.next()).await.is_none());
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_painting_that_kills_twice_is_not_tried_again() {
    let steering = Steering::new();
    steering.on_text("deadly", Act::Panic);
    let (universe, dauber) = one_worker(&steering, description()).await;
    let stream = begin(&dauber, "deadly", seeded(1)).await;
    let error = within(stream.collect()).await.unwrap_err();
    assert!(
        matches!(error, PoolError::Poisoned { kills: 2, .. }),
        "{error}"
    );
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_a_prediction_restarts_the_worker_and_one_of_a_decoding_does_not() {
    let steering = Steering::new();
    let (universe, dauber) = one_worker(&steering, description()).await;
    steering.script(Point::Step, [Act::Fail]);
    png(&dauber, "again", seeded(1)).await;
    assert_eq!(steering.visits(Point::Load), 2);
    steering.script(Point::Emit, [Act::Fail]);
    let stream = begin(&dauber, "undecodable", seeded(1)).await;
    let error = within(stream.collect()).await.unwrap_err();
    let source = ModelError::Other("told to fail at Emit".to_owned()).to_string();
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        source
    );
    png(&dauber, "next", seeded(1)).await;
    assert_eq!(steering.visits(Point::Load), 2);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_work_waits_for_interactive_work() {
    let steering = Steering::new();
    steering.always(Point::Step, Act::Wait);
    let (universe, dauber) = one_worker(&steering, description()).await;
    // As many as are taken in hand at once, for a start.
    let first = begin(&dauber, "first", seeded(1).steps(1).images(4)).await;
    within(steering.visited(Point::Step, 1)).await;
    let bulk = dauber.with(RequestOptions::default().priority(Priority::Batch));
    let bulk = begin(&bulk, "bulk", seeded(1).steps(1).images(4).size(16, 16)).await;
    let mut others = Vec::new();
    for seed in 0..2 {
        others.push(begin(&dauber, "other", seeded(seed).steps(1).images(4)).await);
    }
    queued(&universe, 3).await;
    steering.open(Point::Step);
    for other in others {
        within(other.collect()).await.unwrap();
    }
    within(first.collect()).await.unwrap();
    within(bulk.collect()).await.unwrap();
    let calls: Vec<String> = predictions(&steering)
        .into_iter()
        .map(|mut call| call.remove(0))
        .collect();
    assert_eq!(calls, ["first", "other", "other", "bulk"]);
    universe.close().await;
}
