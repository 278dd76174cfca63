//! Every cell, cause by cause.

use std::time::{Duration, Instant};

use modelpool::pool::core::{Ending, PoolMetrics};
use modelpool::testing::Census;

use crate::causes::strike;
use crate::matrix::{Cause, Outcome, Place, Reply, Seen, expected};
use crate::stage::{Caller, Stage};
use crate::universe::{PATIENCE, within};

/// How often a race is run.
const RACES: usize = 12;

/// Longer than any step takes that is not held up.
const STEP_TIMEOUT: Duration = Duration::from_millis(300);

/// The shortest deadline that is tried. Where the request was not at its place in time, it is
/// tried again with a longer one.
const DEADLINE: Duration = Duration::from_millis(60);

async fn every_cell_of(cause: Cause) {
    let mut cells = 0;
    for reply in Reply::ALL {
        for place in Place::ALL {
            let allowed = match expected(reply, place, cause) {
                Ok(allowed) => allowed,
                Err(why_not) => {
                    println!("{reply:?} × {place:?} × {cause:?} cannot be: {why_not}");
                    continue;
                }
            };
            let turns = match (place, cause) {
                (Place::RacingTheAnswer, Cause::StepStalls) => 2,
                (Place::RacingTheAnswer, _) => RACES,
                _ => 1,
            };
            for _ in 0..turns {
                let cell = format!("{reply:?} × {place:?} × {cause:?}");
                run(&cell, reply, place, cause, allowed).await;
            }
            cells += 1;
        }
    }
    assert_eq!(
        cells, 11,
        "two kinds of reply, six places, one of them impossible"
    );
}

async fn run(cell: &str, reply: Reply, place: Place, cause: Cause, allowed: &[Outcome]) {
    let step_timeout = match cause {
        Cause::StepStalls => STEP_TIMEOUT,
        _ => Duration::MAX,
    };
    let mut deadline = (cause == Cause::Deadline).then_some(DEADLINE);
    let (mut stage, subject, others) = loop {
        let mut stage = Stage::new(reply, step_timeout).await;
        let patience = deadline.unwrap_or(PATIENCE);
        let placed = tokio::time::timeout(patience, stage.bring_to(place, deadline)).await;
        match (placed, deadline) {
            (Ok((subject, others)), _) => break (stage, subject, others),
            (Err(_), Some(too_short)) => {
                finish(stage, Vec::new()).await;
                deadline = Some(too_short * 4);
            }
            (Err(_), None) => panic!("{cell}: the request does not get there"),
        }
    };
    if place == Place::RacingTheAnswer
        && let Some(deadline) = deadline
    {
        // Until about the deadline; what it comes to then is a race indeed.
        tokio::time::sleep(deadline / 2).await;
    }
    let seen = strike(cause, place, &mut stage, subject).await;
    let (metrics, others) = finish(stage, others).await;

    // A model that has left has taken its books along; its report was looked at.
    let ending = match metrics {
        Some(metrics) => last_one(metrics, &others, cell),
        None => ending_told(seen),
    };
    assert!(
        allowed.contains(&(seen, ending)),
        "{cell}: the caller saw {seen:?}, the books say {ending:?}"
    );
}

fn ending_told(seen: Seen) -> Ending {
    match seen {
        Seen::Answer => Ending::Answered,
        Seen::DeadlineExceeded => Ending::Expired,
        Seen::ShuttingDown => Ending::ShutDown,
        Seen::Interrupted => Ending::Interrupted,
        Seen::Stalled => Ending::Stalled,
        Seen::Nothing => Ending::Cancelled,
        Seen::GraceOver | Seen::SomethingElse => Ending::Unserved,
    }
}

/// Hears the other callers out, shuts the pool down if nobody has, and looks for leftovers.
async fn finish(mut stage: Stage, others: Vec<Caller>) -> (Option<PoolMetrics>, Vec<Seen>) {
    stage.open_gates();
    stage.thaw();
    let mut seen = Vec::new();
    for other in others {
        seen.push(Seen::of(&other.outcome().await));
    }
    stage
        .until(|model| model.metrics.accepted == model.metrics.ended())
        .await;
    let metrics = stage.status().map(|model| model.metrics);
    within(stage.pool.shutdown(PATIENCE)).await;
    let since = Instant::now();
    while stage.pool.census() != Census::NOTHING {
        assert!(since.elapsed() < PATIENCE, "{:?}", stage.pool.census());
        tokio::task::yield_now().await;
    }
    let ended = stage.status().map(|model| model.metrics.ended());
    let ended_before = metrics.map(|metrics| metrics.ended());
    assert_eq!(ended, ended_before, "no ending came after the last");
    (metrics, seen)
}

/// The one ending that the books have besides those of the `others`.
fn last_one(metrics: PoolMetrics, others: &[Seen], cell: &str) -> Ending {
    let mut left = vec![
        (Ending::Answered, metrics.answered),
        (Ending::Failed, metrics.failed),
        (Ending::Cancelled, metrics.cancelled),
        (Ending::Expired, metrics.expired),
        (Ending::Interrupted, metrics.interrupted),
        (Ending::Poisoned, metrics.poisoned),
        (Ending::Stalled, metrics.stalled),
        (Ending::Unserved, metrics.unserved),
        (Ending::ShutDown, metrics.shut_down),
    ];
    for other in others {
        let ending = ending_told(*other);
        let entry = left.iter_mut().find(|(counted, _)| *counted == ending);
        let (_, count) = entry.expect("all endings are listed");
        *count = count
            .checked_sub(1)
            .unwrap_or_else(|| panic!("{cell}: {metrics:?} lacks {ending:?}"));
    }
    left.retain(|(_, count)| *count > 0);
    match left[..] {
        [(ending, 1)] => ending,
        _ => panic!("{cell}: {left:?} is left of {metrics:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_future_that_is_dropped() {
    every_cell_of(Cause::FutureDropped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_aborted() {
    every_cell_of(Cause::TaskAborted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passes() {
    every_cell_of(Cause::Deadline).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_with_grace() {
    every_cell_of(Cause::Shutdown).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_without_grace() {
    every_cell_of(Cause::ShutdownWithoutGrace).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_panics() {
    every_cell_of(Cause::WorkerPanic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_stalls() {
    every_cell_of(Cause::StepStalls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_leaves_with_grace() {
    every_cell_of(Cause::Unregister).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_leaves_without_grace() {
    every_cell_of(Cause::UnregisterWithoutGrace).await;
}
