//! Deadlines hold although callers pass their timers on to one another.

use std::time::Duration;

use modelpool::pool::core::{PoolError, RequestOptions};
use modelpool::testing::{Act, Point, Steering};

use crate::universe::{Universe, config, within};

const SHORT: Duration = Duration::from_millis(60);

fn short() -> RequestOptions {
    RequestOptions::default().deadline(SHORT)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_deadline_than_the_last_callers_is_met() {
    let steering = Steering::new();
    steering.on_text("stuck", Act::Wait);
    let universe = Universe::new(config()).await;
    let embedder = universe.register(steering.embedder("one", 100)).unwrap();
    // Answered long before its deadline, it leaves a timer that is far too late for the next.
    within(embedder.embed("quick")).await.unwrap();
    let error = within(embedder.with(short()).embed("stuck")).await;
    assert!(
        matches!(error, Err(PoolError::DeadlineExceeded { allowed, .. }) if allowed == SHORT),
        "{error:?}"
    );
    steering.open(Point::Step);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_deadline_of_the_last_caller_ends_no_later_request() {
    let steering = Steering::new();
    steering.on_text("long", Act::Wait);
    let universe = Universe::new(config()).await;
    let embedder = universe.register(steering.embedder("one", 100)).unwrap();
    // Loaded first, so that this one is answered in time and leaves a timer that is about to fire.
    within(embedder.embed("first")).await.unwrap();
    while within(embedder.with(short()).embed("quick")).await.is_err() {}
    let long = tokio::spawn({
        let embedder = embedder.clone();
        async move { embedder.embed("long").await }
    });
    tokio::time::sleep(2 * SHORT).await;
    assert!(!long.is_finished());
    steering.open(Point::Step);
    within(long).await.unwrap().unwrap();
    universe.close().await;
}

#[test]
fn a_caller_waits_with_a_timer_of_its_own_runtime() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    };
    let steering = Steering::new();
    steering.on_text("stuck", Act::Wait);
    let pools = runtime();
    let universe = pools.block_on(Universe::new(config()));
    let embedder = universe.register(steering.embedder("one", 100)).unwrap();
    let gone = runtime();
    gone.block_on(within(embedder.embed("quick"))).unwrap();
    // With it ends whatever timers it has.
    drop(gone);
    let error = runtime().block_on(within(embedder.with(short()).embed("stuck")));
    assert!(
        matches!(error, Err(PoolError::DeadlineExceeded { .. })),
        "{error:?}"
    );
    steering.open(Point::Step);
    pools.block_on(universe.close());
}
