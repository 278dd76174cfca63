//! Another version of a model takes its place while requests come in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use modelpool::pool::core::{EventKind, PoolError};
use modelpool::testing::{Act, Point, RecitalRequest, Steering};

use crate::universe::{PATIENCE, Universe, config, within};

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_or_refused_while_versions_change() {
    let universe = Universe::new(config()).await;
    let first = Steering::new();
    let embedder = universe.register(first.embedder("m", 100)).unwrap();
    within(embedder.embed("warm up")).await.unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (embedder, over) = (embedder.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                let mut asked = 0;
                while !over.load(Ordering::Acquire) {
                    embedder.embed("a").await?;
                    embedder.embed_batch(["b", "c"]).await?;
                    asked += 3;
                }
                Ok::<_, PoolError>(asked)
            })
        })
        .collect();

    let mut versions = vec![first];
    for _ in 0..5 {
        let next = Steering::new();
        let spec = next.embedder("whatever it is called", 100);
        within(universe.replace(&embedder, spec, PATIENCE))
            .await
            .unwrap();
        let old = versions.last().unwrap();
        assert!(old.visits(Point::Free) >= 1, "the old version is freed");
        assert_eq!(next.steps()[0], ["probe"], "probed before it is asked");
        // It is asked by the very handles that asked the old one.
        let before = next.steps().len();
        within(next.visited(Point::Step, before + 10)).await;
        versions.push(next);
    }
    over.store(true, Ordering::Release);
    for caller in callers {
        assert!(within(caller).await.unwrap().unwrap() > 0);
    }
    let status = universe.status();
    assert_eq!(status.models.len(), 1);
    assert_eq!(status.models[0].name, "m");
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_cannot_be_had_leaves_the_old_one_serving() {
    let mut universe = Universe::new(config()).await;
    let old = Steering::new();
    let embedder = universe.register(old.embedder("m", 300)).unwrap();
    within(embedder.embed("a")).await.unwrap();
    universe.ready(2).await;
    let workers = |universe: &Universe| universe.status().models[0].workers.len();

    let broken = Steering::new();
    broken.always(Point::Load, Act::Fail);
    let spec = broken.embedder("m", 100);
    let error = within(universe.replace(&embedder, spec, PATIENCE)).await;
    let error = error.unwrap_err();
    assert!(matches!(error, PoolError::LoadFailed { .. }), "{error}");

    let wrong = Steering::new();
    wrong.on_text("probe", Act::Fail);
    let spec = wrong.embedder("m", 100);
    let error = within(universe.replace(&embedder, spec, PATIENCE)).await;
    let error = error.unwrap_err();
    assert!(matches!(error, PoolError::Model { .. }), "{error}");

    // 600 of 800 MiB are the old version's, and it gives none of them up.
    let large = Steering::new();
    let spec = large.embedder("m", 300).max_workers(1);
    let error = within(universe.replace(&embedder, spec, PATIENCE)).await;
    let error = error.unwrap_err();
    assert!(
        matches!(error, PoolError::MemoryExhausted { need_mb: 300, .. }),
        "{error}"
    );
    assert_eq!(large.visits(Point::Load), 0);

    within(embedder.embed("b")).await.unwrap();
    assert_eq!(workers(&universe), 2);
    assert_eq!(old.visits(Point::Free), 0, "no worker of it has ended");
    while universe.status().memory.reserved_mb > 600 {
        tokio::task::yield_now().await;
    }
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_workers_of_other_models_make_room_for_a_new_version() {
    let mut universe = Universe::new(config()).await;
    let (old, other, new) = (Steering::new(), Steering::new(), Steering::new());
    let embedder = universe
        .register(old.embedder("m", 300).max_workers(1))
        .unwrap();
    let idle = universe
        .register(other.embedder("idle", 300).max_workers(1))
        .unwrap();
    within(embedder.embed("a")).await.unwrap();
    within(idle.embed("b")).await.unwrap();
    // Its caller is answered a moment before it is idle, and a new version waits for no busy worker.
    universe
        .event(|event| event.kind == EventKind::Idle && event.model == "idle")
        .await;
    let spec = new.embedder("m", 500).max_workers(1);
    within(universe.replace(&embedder, spec, PATIENCE))
        .await
        .unwrap();
    let evicted = universe
        .event(|event| event.kind == EventKind::Evicted)
        .await;
    assert_eq!(evicted.model, "idle");
    assert_eq!(universe.status().memory.reserved_mb, 500);
    assert_eq!(universe.status().models[0].est_memory_allocation_mb, 500);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_with_the_version_that_began_it() {
    let universe = Universe::new(config()).await;
    let (old, new) = (Steering::new(), Steering::new());
    old.script(Point::Step, [Act::Go, Act::Wait]);
    let reciter = universe
        .register(old.reciter("poet", 100).max_workers(1))
        .unwrap();
    let words = ["one", "two", "three"].map(str::to_owned).into();
    let mut stream = reciter.stream(RecitalRequest { words }).unwrap();
    assert_eq!(within(stream.next()).await.unwrap().unwrap(), "one");
    within(old.visited(Point::Step, 2)).await;
    let (pool, handle) = ((*universe).clone(), reciter.clone());
    let spec = new.reciter("poet", 100).max_workers(1);
    let replacing = tokio::spawn(async move { pool.replace(&handle, spec, PATIENCE).await });
    // The new version serves while the old one is still at it.
    within(new.visited(Point::Load, 1)).await;
    loop {
        let words = vec!["word".to_owned()];
        if new.visits(Point::Step) > 0 {
            break;
        }
        if universe.status().models[0]
            .workers
            .iter()
            .any(|w| w.id.0 > 1)
        {
            let mut other = reciter.stream(RecitalRequest { words }).unwrap();
            assert_eq!(within(other.next()).await.unwrap().unwrap(), "word");
        }
        tokio::task::yield_now().await;
    }
    assert!(!replacing.is_finished());
    old.open(Point::Step);
    assert_eq!(within(stream.next()).await.unwrap().unwrap(), "two");
    assert_eq!(within(stream.next()).await.unwrap().unwrap(), "three");
    let report = within(replacing).await.unwrap().unwrap();
    assert_eq!((report.answered, report.refused), (1, 0));
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_change_at_a_time_and_it_goes_on_without_its_caller() {
    let universe = Universe::new(config()).await;
    let (old, new) = (Steering::new(), Steering::new());
    let embedder = universe.register(old.embedder("m", 100)).unwrap();
    within(embedder.embed("a")).await.unwrap();
    new.script(Point::Load, [Act::Wait]);
    let (pool, handle) = ((*universe).clone(), embedder.clone());
    let spec = new.embedder("m", 100).max_workers(1);
    let replacing = tokio::spawn(async move { pool.replace(&handle, spec, PATIENCE).await });
    within(new.visited(Point::Load, 1)).await;

    let error = within(universe.unregister(&embedder, PATIENCE)).await;
    let error = error.unwrap_err();
    assert!(matches!(error, PoolError::Changing { .. }), "{error}");
    let another = Steering::new().embedder("m", 100);
    let error = within(universe.replace(&embedder, another, PATIENCE)).await;
    let error = error.unwrap_err();
    assert!(matches!(error, PoolError::Changing { .. }), "{error}");

    replacing.abort();
    new.open(Point::Load);
    within(new.visited(Point::Step, 1)).await;
    while old.visits(Point::Free) < old.visits(Point::Load) {
        tokio::task::yield_now().await;
    }
    within(embedder.embed("b")).await.unwrap();
    assert!(new.steps().contains(&vec!["b".to_owned()]));
    // And when it is done, the next may begin.
    let third = Steering::new();
    let replaced = loop {
        let spec = third.embedder("m", 100);
        match within(universe.replace(&embedder, spec, PATIENCE)).await {
            Err(PoolError::Changing { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
            outcome => break outcome,
        }
    };
    replaced.unwrap();
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_makes_no_sense_is_refused_at_once() {
    let universe = Universe::new(config()).await;
    let steering = Steering::new();
    let embedder = universe.register(steering.embedder("m", 100)).unwrap();
    let spec = steering.embedder("m", 100).max_workers(0);
    let error = within(universe.replace(&embedder, spec, PATIENCE)).await;
    let error = error.unwrap_err();
    assert!(matches!(error, PoolError::InvalidConfig { .. }), "{error}");
    within(embedder.embed("a")).await.unwrap();
    universe.close().await;
}
