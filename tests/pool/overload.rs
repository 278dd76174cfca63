//! Ten times more work than the queue holds: what is refused, what is kept, and when it ends. The
//! figures are `benches-ignored`'s, suite `overload`; here no clock decides.

use std::time::Duration;

use futures_util::FutureExt;
use modelpool::pool::core::{PoolError, RequestOptions};
use modelpool::testing::{Act, Point, Steering};

use crate::universe::{Universe, config, within};

const CAPACITY: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn ten_times_the_capacity_is_refused_at_the_first_poll_and_the_rest_is_served() {
    let steering = Steering::new();
    steering.always(Point::Step, Act::Wait);
    let universe = Universe::new(config()).await;
    let spec = steering.embedder("flooded", 100).queue_capacity(CAPACITY);
    let embedder = universe.register(spec).unwrap();

    let mut kept = Vec::new();
    let mut refused = 0;
    for number in 0..10 * CAPACITY {
        let text = format!("request {number}");
        let mut asking = Box::pin(async { embedder.embed(text).await });
        match asking.as_mut().now_or_never() {
            None => kept.push((number, asking)),
            // Refused without waiting for anything.
            Some(Err(PoolError::Overloaded { capacity, .. })) => {
                assert_eq!(capacity, CAPACITY);
                refused += 1;
            }
            Some(other) => panic!("request {number}: {other:?}"),
        }
    }
    assert_eq!((kept.len(), refused), (CAPACITY, 9 * CAPACITY));
    let metrics = universe.status().models[0].metrics;
    assert_eq!((metrics.accepted, metrics.refused), (40, 360));

    steering.open(Point::Step);
    for (number, asking) in kept {
        let vector = within(asking).await.unwrap();
        assert_eq!(vector, Steering::embedding_of(&format!("request {number}")));
    }
    assert_eq!(universe.status().models[0].metrics.answered, 40);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_work_that_is_overtaken_by_its_deadline_costs_no_step() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Wait]);
    let universe = Universe::new(config()).await;
    let spec = steering.embedder("late", 100).max_workers(1);
    let embedder = universe.register(spec.queue_capacity(CAPACITY)).unwrap();
    let running = tokio::spawn({
        let embedder = embedder.clone();
        async move { embedder.embed("running").await }
    });
    within(steering.visited(Point::Step, 1)).await;
    let hurried = embedder.with(RequestOptions::default().deadline(Duration::from_millis(10)));
    let waiting: Vec<_> = (1..CAPACITY)
        .map(|number| {
            let hurried = hurried.clone();
            tokio::spawn(async move { hurried.embed(format!("late {number}")).await })
        })
        .collect();
    for late in waiting {
        let error = within(late).await.unwrap().unwrap_err();
        assert!(
            matches!(error, PoolError::DeadlineExceeded { .. }),
            "{error}"
        );
    }

    // Their places are free before the worker has looked at a single one of them.
    let ask = |number: usize| {
        let embedder = embedder.clone();
        tokio::spawn(async move { embedder.embed(format!("next {number}")).await })
    };
    let mut next = vec![ask(1)];
    while universe.status().models[0].metrics.expired < CAPACITY as u64 - 1 {
        tokio::task::yield_now().await;
    }
    next.extend((2..CAPACITY).map(ask));
    while universe.status().models[0].queue.under_way < CAPACITY {
        tokio::task::yield_now().await;
    }
    steering.open(Point::Step);
    within(running).await.unwrap().unwrap();
    for answered in next {
        within(answered).await.unwrap().unwrap();
    }
    let mut steps = steering.steps().into_iter().flatten();
    assert!(steps.all(|text| !text.starts_with("late")));
    universe.close().await;
}
