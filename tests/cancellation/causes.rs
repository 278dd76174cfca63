//! Ends a request where it is. Each comes back with what its caller saw, when the gates are open
//! and nothing is held up any more.

use std::time::{Duration, Instant};

use modelpool::pool::core::{EventKind, EventStream, PoolError};
use modelpool::testing::{Act, Point};

use crate::matrix::{Cause, Place, Seen};
use crate::stage::{Caller, Stage};
use crate::universe::{PATIENCE, within};

/// Lets `cause` end `subject`.
pub async fn strike(cause: Cause, place: Place, stage: &mut Stage, subject: Caller) -> Seen {
    let races = place == Place::RacingTheAnswer;
    match cause {
        Cause::FutureDropped => {
            let releasing = release_if(races, stage);
            let seen = gone(subject.drop_future().await);
            end(releasing, stage).await;
            seen
        }
        Cause::TaskAborted => {
            let releasing = release_if(races, stage);
            subject.task.abort();
            let seen = match within(subject.task).await {
                Ok(ended) => gone(ended),
                Err(aborted) => {
                    assert!(aborted.is_cancelled(), "{aborted}");
                    Seen::Nothing
                }
            };
            end(releasing, stage).await;
            seen
        }
        Cause::Deadline => {
            // For a race the deadline is near: see `cells`.
            let releasing = release_if(races, stage);
            let seen = Seen::of(&subject.outcome().await);
            end(releasing, stage).await;
            seen
        }
        Cause::Shutdown => shut_down(place, stage, subject).await,
        Cause::ShutdownWithoutGrace => shut_down_at_once(races, stage, subject).await,
        Cause::WorkerPanic => {
            stage.steering.script(Point::Emit, [Act::Panic]);
            stage.open_gates();
            if place == Place::Mailbox {
                // The thread dies while the request lies with its proxy.
                within(stage.steering.visited(Point::Free, 1)).await;
            }
            stage.thaw();
            Seen::of(&subject.outcome().await)
        }
        Cause::StepStalls => {
            stage.thaw();
            let releasing = release_if(races, stage);
            let seen = Seen::of(&subject.outcome().await);
            end(releasing, stage).await;
            seen
        }
        Cause::Unregister => {
            let leaving = stage.unregister(PATIENCE);
            let releasing = release_if(true, stage);
            end(releasing, stage).await;
            let seen = Seen::of(&subject.outcome().await);
            let report = within(leaving).await.unwrap().unwrap();
            assert_eq!((report.refused, report.abandoned.len()), (0, 0));
            seen
        }
        Cause::UnregisterWithoutGrace => {
            let leaving = stage.unregister(Duration::ZERO);
            stage.thaw();
            let releasing = release_if(races, stage);
            let seen = Seen::of(&subject.outcome().await);
            let report = within(leaving).await.unwrap().unwrap();
            assert!(races || report.refused > 0, "{report:?}");
            end(releasing, stage).await;
            seen
        }
    }
}

fn gone(ended_before: Option<Result<(), PoolError>>) -> Seen {
    ended_before.map_or(Seen::Nothing, |outcome| Seen::of(&outcome))
}

type Releasing = Option<std::thread::JoinHandle<()>>;

/// In a race the gates open while the cause strikes, from another thread.
fn release_if(races: bool, stage: &Stage) -> Releasing {
    let steering = stage.steering.clone();
    races.then(|| std::thread::spawn(move || steering.open(Point::Emit)))
}

async fn end(releasing: Releasing, stage: &mut Stage) {
    if let Some(thread) = releasing {
        thread.join().expect("opening a gate does not panic");
    }
    stage.open_gates();
    stage.thaw();
}

async fn retiring(events: &mut EventStream) {
    within(async {
        while let Some(event) = events.next().await {
            if matches!(event.kind, EventKind::Retiring { .. }) {
                return;
            }
        }
    })
    .await;
}

async fn shut_down(place: Place, stage: &mut Stage, subject: Caller) -> Seen {
    let mut events = stage.pool.events();
    let pool = stage.pool.clone();
    let closing = tokio::spawn(async move { pool.shutdown(PATIENCE).await });
    let seen = match place {
        Place::Mailbox | Place::Lane => {
            while !stage.pool.status().shutting_down {
                tokio::task::yield_now().await;
            }
            stage.thaw();
            // Answered while the worker is still busy with somebody else.
            let seen = Seen::of(&subject.outcome().await);
            stage.open_gates();
            seen
        }
        Place::Batch | Place::BeforeFirstItem | Place::MidStream => {
            retiring(&mut events).await;
            stage.open_gates();
            Seen::of(&subject.outcome().await)
        }
        Place::RacingTheAnswer => {
            stage.open_gates();
            Seen::of(&subject.outcome().await)
        }
    };
    let report = within(closing).await.unwrap();
    assert_eq!(report.abandoned, Vec::<String>::new(), "{place:?}");
    seen
}

async fn shut_down_at_once(races: bool, stage: &mut Stage, subject: Caller) -> Seen {
    let pool = stage.pool.clone();
    let closing = tokio::spawn(async move { pool.shutdown(Duration::ZERO).await });
    while !stage.pool.status().shutting_down {
        tokio::task::yield_now().await;
    }
    stage.thaw();
    if races {
        stage.open_gates();
    }
    let seen = Seen::of(&subject.outcome().await);
    let report = within(closing).await.unwrap();
    assert!(races || report.abandoned.len() == 1, "{report:?}");
    // Only now does the thread come back, and gives back what it holds.
    stage.open_gates();
    let since = Instant::now();
    while stage.pool.status().threads > 0 {
        assert!(since.elapsed() < PATIENCE, "the thread does not end");
        tokio::task::yield_now().await;
    }
    seen
}
