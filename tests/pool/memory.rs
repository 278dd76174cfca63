//! Who gets in, who has to go, and that the limit holds.

use std::time::Duration;

use modelpool::model::ModelInfo;
use modelpool::pool::core::{
    EventKind, FixedProbe, Ledger, MIB, MemoryBudget, MemoryDemand, MemoryLimit, PoolConfig,
    PoolError, RequestOptions, RetireReason, check_memory_available, query_system_memory_mb,
};
use modelpool::testing::{Act, Point, Steering};

use crate::universe::{Universe, config, within};

struct Sized(ModelInfo, MemoryLimit);

impl MemoryDemand for Sized {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.1
    }
}

#[test]
fn the_check_counts_current_use_and_all_workers() {
    let limit = MemoryLimit::new(MemoryBudget::default(), 1000);
    let model = Sized(ModelInfo::new("m", 300), limit);
    assert!(check_memory_available(&model, 0, 2).is_ok());
    assert!(check_memory_available(&model, 500, 1).is_ok());
    let error = check_memory_available(&model, 300, 2).unwrap_err();
    assert!(
        matches!(
            &error,
            PoolError::MemoryExhausted {
                model,
                workers: 2,
                need_mb: 600,
                current_mb: 300,
                limit_mb: 800,
                total_mb: 1000,
            } if model == "m"
        ),
        "{error}"
    );
    let overflow = Sized(ModelInfo::new("m", u64::MAX), limit);
    assert!(check_memory_available(&overflow, u64::MAX, usize::MAX).is_err());
}

#[test]
fn a_model_by_itself_counts_against_this_machine() {
    let total = query_system_memory_mb();
    assert!(total > 0);
    let fits = ModelInfo::new("fits", total * 8 / 10);
    let exceeds = ModelInfo::new("exceeds", total * 8 / 10 + 1);
    assert!(check_memory_available(&fits, 0, 1).is_ok());
    assert!(check_memory_available(&exceeds, 0, 1).is_err());
}

#[test]
fn a_reservation_is_released_by_its_drop_alone() {
    let limit = MemoryLimit::new(MemoryBudget::Megabytes(10), 1000);
    let ledger = Ledger::new(limit, || {});
    let first = ledger.try_reserve(6 * MIB).unwrap();
    assert!(ledger.try_reserve(5 * MIB).is_none());
    let second = ledger.try_reserve(4 * MIB).unwrap();
    assert_eq!(ledger.reserved_bytes(), 10 * MIB);
    drop(first);
    assert_eq!(ledger.reserved_bytes(), 4 * MIB);
    drop(second);
    assert_eq!(ledger.reserved_bytes(), 0);
    assert_eq!(ledger.peak_bytes(), 10 * MIB);
    assert!(ledger.try_reserve(u64::MAX).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_of_300_fit_into_1000_and_never_a_third() {
    let steering = Steering::new();
    steering.always(Point::Step, Act::Wait);
    let mut settings = config();
    settings.expand_after = Duration::from_millis(1);
    let universe = Universe::new(settings).await;
    let embedder = universe.register(steering.embedder("m", 300)).unwrap();
    // Each text fills a step; with two workers busy, one waits.
    let callers: Vec<_> = (0..3)
        .map(|n| {
            let embedder = embedder.clone();
            tokio::spawn(async move { embedder.embed(format!("{n:02048}")).await })
        })
        .collect();
    within(steering.visited(Point::Step, 2)).await;
    while universe.status().models[0].queue.interactive < 1 {
        tokio::task::yield_now().await;
    }
    // Long past expand_after, which is 1 ms.
    tokio::time::sleep(Duration::from_millis(50)).await;

    assert_eq!(steering.visits(Point::Load), 2);
    assert_eq!(universe.status().memory.reserved_mb, 600);
    steering.open(Point::Step);
    for caller in callers {
        within(caller).await.unwrap().unwrap();
    }
    assert_eq!(universe.status().memory.peak_mb, 600);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_model_gets_in_by_retiring_an_idle_worker() {
    let steering = Steering::new();
    let newcomer = Steering::new();
    let mut universe = Universe::new(config()).await;
    let first = universe.register(steering.embedder("first", 300)).unwrap();
    let second = universe.register(newcomer.embedder("second", 300)).unwrap();
    within(first.embed("a")).await.unwrap();
    universe.ready(2).await;

    within(second.embed("b")).await.unwrap();

    let evicted = universe
        .event(|event| event.kind == EventKind::Evicted)
        .await;
    assert_eq!(evicted.model, "first");
    assert_eq!(
        newcomer.visits(Point::Load),
        1,
        "one worker made room for one"
    );
    let status = universe.status();
    assert_eq!(status.memory.reserved_mb, 600);
    assert_eq!(status.memory.peak_mb, 600);
    assert_eq!(status.models[0].workers.len(), 1);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_worker_is_never_evicted_and_the_newcomer_waits() {
    let busy = Steering::new();
    let newcomer = Steering::new();
    busy.always(Point::Step, Act::Wait);
    let universe = Universe::new(config()).await;
    let first = universe.register(busy.embedder("busy", 500)).unwrap();
    let second = universe.register(newcomer.embedder("waits", 400)).unwrap();
    let running = tokio::spawn(async move { first.embed("a").await });
    within(busy.visited(Point::Step, 1)).await;

    let hurried = second.with(RequestOptions::default().deadline(Duration::from_millis(30)));
    let error = within(hurried.embed("b")).await.unwrap_err();
    assert!(
        matches!(error, PoolError::DeadlineExceeded { .. }),
        "{error}"
    );
    assert_eq!(newcomer.visits(Point::Load), 0);

    // The moment that the worker is idle, it makes room.
    let patient = tokio::spawn(async move { second.embed("c").await });
    busy.open(Point::Step);
    within(running).await.unwrap().unwrap();
    within(patient).await.unwrap().unwrap();
    assert!(universe.status().memory.peak_mb <= 800);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_and_min_workers_are_not_evicted() {
    for pinned in [false, true] {
        let steering = Steering::new();
        let universe = Universe::new(config()).await;
        let kept = steering.embedder("kept", 500);
        let kept = if pinned {
            kept.pinned(true)
        } else {
            kept.min_workers(1)
        };
        let kept = universe.register(kept).unwrap();
        let other = universe.register(steering.embedder("other", 400)).unwrap();
        within(kept.embed("a")).await.unwrap();
        let hurried = other.with(RequestOptions::default().deadline(Duration::from_millis(30)));
        let error = within(hurried.embed("b")).await.unwrap_err();
        assert!(
            matches!(error, PoolError::DeadlineExceeded { .. }),
            "{error}"
        );
        assert_eq!(universe.status().models[0].workers.len(), 1);
        universe.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_valuable_worker_goes_first() {
    let steering = Steering::new();
    let mut universe = Universe::new(config()).await;
    let old = universe
        .register(steering.embedder("old", 300).max_workers(1))
        .unwrap();
    let recent = universe
        .register(steering.embedder("recent", 300).max_workers(1))
        .unwrap();
    let newcomer = universe
        .register(steering.embedder("newcomer", 400).max_workers(1))
        .unwrap();
    within(old.embed("a")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    within(recent.embed("b")).await.unwrap();

    within(newcomer.embed("c")).await.unwrap();

    let retiring = universe
        .event(|event| {
            event.kind
                == EventKind::Retiring {
                    reason: RetireReason::Evicted,
                }
        })
        .await;
    assert_eq!(retiring.model, "old");
    assert_eq!(universe.status().models[1].workers.len(), 1);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_fit_fails_at_once_with_the_figures() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let huge = universe.register(steering.embedder("huge", 801)).unwrap();
    let error = within(huge.embed("a")).await.unwrap_err();
    assert!(
        matches!(
            error,
            PoolError::MemoryExhausted {
                workers: 1,
                need_mb: 801,
                current_mb: 0,
                limit_mb: 800,
                total_mb: 1000,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(steering.visits(Point::Load), 0);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_can_be_absolute_or_another_fraction() {
    for (memory, limit_mb) in [
        (MemoryBudget::Megabytes(123), 123),
        (MemoryBudget::Fraction(0.5), 500),
    ] {
        let universe = Universe::new(PoolConfig { memory, ..config() }).await;
        let status = universe.status().memory;
        assert_eq!((status.limit_mb, status.total_mb), (limit_mb, 1000));
        universe.close().await;
    }
    let probe = std::sync::Arc::new(FixedProbe { total_mb: 64 });
    let universe = Universe::new(PoolConfig { probe, ..config() }).await;
    assert_eq!(universe.status().memory.limit_mb, 51);
    universe.close().await;
}
