//! The gated model itself: each point does what it is told, for both kinds of reply.

use modelpool::pool::core::{MIB, PoolError};
use modelpool::testing::{Act, Point, RecitalRequest, Steering};

use crate::universe::{Universe, config, within};

const TAKEN: usize = 64 * MIB as usize;

fn resident_bytes() -> u64 {
    let pid = sysinfo::Pid::from_u32(std::process::id());
    let mut system = sysinfo::System::new().unwrap();
    system.refresh_processes_specifics(
        sysinfo::ProcessesToUpdate::Some(&[pid]),
        false,
        sysinfo::ProcessRefreshKind::nothing().with_memory(),
    );
    system.process(pid).map_or(0, sysinfo::Process::memory)
}

fn words(words: &[&str]) -> RecitalRequest {
    RecitalRequest {
        words: words.iter().map(|&word| word.to_owned()).collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_really_taken_at_every_point_and_leaks_outlive_the_model() {
    let steering = Steering::new();
    for point in [Point::Load, Point::Step, Point::Emit, Point::Free] {
        steering.script(point, [Act::Take(TAKEN)]);
    }
    let universe = Universe::new(config()).await;
    let spec = steering.embedder("greedy", 300).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    let before = resident_bytes();

    within(embedder.embed("a")).await.unwrap();

    let taken = resident_bytes().saturating_sub(before);
    assert!(taken >= 5 * TAKEN as u64 / 2, "{taken} bytes of 3 × 64 MiB");
    steering.script(Point::Step, [Act::Leak(TAKEN)]);
    within(embedder.embed("b")).await.unwrap();
    universe.close().await;
    let left = resident_bytes().saturating_sub(before);
    assert!(
        left < 2 * TAKEN as u64,
        "only the leak is left, not {left} bytes"
    );
    assert_eq!(steering.leaked_bytes(), TAKEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_goes_on_when_the_last_steering_is_dropped() {
    for point in [Point::Load, Point::Step, Point::Emit, Point::Free] {
        let steering = Steering::new();
        steering.script(point, [Act::Hang]);
        let universe = Universe::new(config()).await;
        let reciter = universe
            .register(steering.reciter("slow", 1).max_workers(1))
            .unwrap();
        let recital = tokio::spawn(async move { reciter.ask(words(&["one"])).await });
        if point == Point::Free {
            within(recital).await.unwrap().unwrap();
            let closing = tokio::spawn(universe.close());
            within(steering.visited(point, 1)).await;
            drop(steering);
            within(closing).await.unwrap();
            continue;
        }
        within(steering.visited(point, 1)).await;
        assert!(!recital.is_finished(), "{point:?}");
        drop(steering);
        within(recital).await.unwrap().unwrap();
        universe.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_that_cannot_be_said_ends_its_recital_alone() {
    let steering = Steering::new();
    steering.on_text("unspeakable", Act::Fail);
    let universe = Universe::new(config()).await;
    let reciter = universe.register(steering.reciter("poet", 1)).unwrap();
    let mut broken = reciter
        .stream(words(&["well", "unspeakable", "no"]))
        .unwrap();
    let mut whole = reciter.stream(words(&["all", "well"])).unwrap();

    assert_eq!(within(broken.next()).await.unwrap().unwrap(), "well");
    let error = within(broken.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, PoolError::Model { .. }), "{error}");
    assert!(within(broken.next()).await.is_none());
    assert_eq!(within(whole.next()).await.unwrap().unwrap(), "all");
    assert_eq!(within(whole.next()).await.unwrap().unwrap(), "well");
    assert_eq!(universe.status().models[0].metrics.worker_failures, 0);
    universe.close().await;
}
