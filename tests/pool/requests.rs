//! Acceptance, order, priority, deadlines and cancellation.

use std::time::Duration;

use modelpool::pool::core::{
    FixedProbe, MemoryBudget, Pool, PoolConfig, PoolError, Priority, RequestOptions,
};
use modelpool::testing::{Act, Point, Steering};
use modelpool::{
    CandleModel, EmbedInput, EmbedOptions, Embedding, ModelError, ModelInfo, ModelSpec,
    StepContext, TextEmbeddingCapable,
};

use crate::universe::{Universe, config, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_at_once() {
    let steering = Steering::new();
    steering.always(Point::Step, Act::Wait);
    let universe = Universe::new(config()).await;
    let spec = steering.embedder("small", 100).queue_capacity(3);
    let embedder = universe.register(spec).unwrap();
    let callers: Vec<_> = (0..3)
        .map(|n| {
            let embedder = embedder.clone();
            tokio::spawn(async move { embedder.embed(format!("{n}")).await })
        })
        .collect();
    while universe.status().models[0].queue.under_way < 3 {
        tokio::task::yield_now().await;
    }

    let error = within(embedder.embed("one too many")).await.unwrap_err();

    assert!(
        matches!(error, PoolError::Overloaded { capacity: 3, .. }),
        "{error}"
    );
    let error = within(embedder.embed_batch(["a", "b"])).await.unwrap_err();
    assert!(matches!(error, PoolError::Overloaded { .. }), "{error}");
    steering.open(Point::Step);
    for caller in callers {
        within(caller).await.unwrap().unwrap();
    }
    within(embedder.embed("room again")).await.unwrap();
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_capacity_of_the_pool_holds_where_the_model_has_none() {
    let steering = Steering::new();
    steering.always(Point::Load, Act::Wait);
    let mut settings = config();
    settings.queue_capacity = 1;
    let universe = Universe::new(settings).await;
    let embedder = universe.register(steering.embedder("one", 100)).unwrap();
    let first = tokio::spawn({
        let embedder = embedder.clone();
        async move { embedder.embed("a").await }
    });
    within(steering.visited(Point::Load, 1)).await;
    let error = within(embedder.embed("b")).await.unwrap_err();
    assert!(matches!(error, PoolError::Overloaded { capacity: 1, .. }));
    steering.open(Point::Load);
    within(first).await.unwrap().unwrap();
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_have_gone_make_room_even_while_no_worker_is_there() {
    let steering = Steering::new();
    steering.always(Point::Load, Act::Wait);
    let universe = Universe::new(config()).await;
    let spec = steering.embedder("loading", 100).queue_capacity(2);
    let embedder = universe.register(spec).unwrap();
    for accepted in 1..=2 {
        let caller = tokio::spawn({
            let embedder = embedder.clone();
            async move { embedder.embed("impatient").await }
        });
        while universe.status().models[0].metrics.accepted < accepted {
            tokio::task::yield_now().await;
        }
        caller.abort();
        assert!(within(caller).await.unwrap_err().is_cancelled());
    }
    let patient = tokio::spawn({
        let embedder = embedder.clone();
        async move { embedder.embed("patient").await }
    });
    tokio::task::yield_now().await;
    steering.open(Point::Load);
    within(patient).await.unwrap().unwrap();
    assert_eq!(universe.status().models[0].metrics.cancelled, 2);
    assert_eq!(steering.steps(), [["patient"]]);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_has_a_deadline() {
    let steering = Steering::new();
    steering.always(Point::Step, Act::Wait);
    let mut settings = config();
    settings.default_deadline = Duration::from_millis(40);
    let universe = Universe::new(settings).await;
    let embedder = universe.register(steering.embedder("stuck", 100)).unwrap();

    let by_default = within(embedder.embed("a")).await.unwrap_err();
    let own = embedder.with(RequestOptions::default().deadline(Duration::from_millis(5)));
    let by_option = within(own.embed("b")).await.unwrap_err();
    let batch = within(own.embed_batch(["c", "d"])).await.unwrap_err();

    let allowed = |error| match error {
        PoolError::DeadlineExceeded { allowed, .. } => allowed,
        other => panic!("{other}"),
    };
    assert_eq!(allowed(by_default), Duration::from_millis(40));
    assert_eq!(allowed(by_option), Duration::from_millis(5));
    assert!(allowed(batch) <= Duration::from_millis(5));
    steering.open(Point::Step);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_in_the_queue_is_never_run() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Wait]);
    let universe = Universe::new(config()).await;
    let spec = steering.embedder("late", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    let first = tokio::spawn({
        let embedder = embedder.clone();
        async move { embedder.embed("first").await }
    });
    within(steering.visited(Point::Step, 1)).await;
    let hurried = embedder.with(RequestOptions::default().deadline(Duration::from_millis(5)));
    within(hurried.embed("expired")).await.unwrap_err();
    steering.open(Point::Step);
    within(first).await.unwrap().unwrap();
    within(embedder.embed("last")).await.unwrap();

    assert_eq!(steering.steps(), [["first"], ["last"]]);
    assert_eq!(universe.status().models[0].metrics.expired, 1);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_future_is_skipped() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Wait]);
    let universe = Universe::new(config()).await;
    let spec = steering.embedder("skips", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    let ask = |text: &'static str| {
        let embedder = embedder.clone();
        tokio::spawn(async move { embedder.embed(text).await })
    };
    let first = ask("first");
    within(steering.visited(Point::Step, 1)).await;
    let dropped = ask("dropped");
    while universe.status().models[0].queue.interactive < 1 {
        tokio::task::yield_now().await;
    }
    dropped.abort();
    within(dropped).await.unwrap_err();
    steering.open(Point::Step);
    within(first).await.unwrap().unwrap();
    within(embedder.embed("last")).await.unwrap();

    assert_eq!(steering.steps(), [["first"], ["last"]]);
    assert_eq!(universe.status().models[0].metrics.cancelled, 1);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_keeps_its_order_and_is_spread_over_the_workers() {
    let steering = Steering::new();
    // Each of the first two steps waits: both workers must have taken part of the batch.
    steering.script(Point::Step, [Act::Wait, Act::Wait]);
    let mut universe = Universe::new(config()).await;
    let spec = steering.embedder("batch", 100).max_workers(2);
    let embedder = universe.register(spec).unwrap();
    within(universe.warm(&embedder)).await.unwrap();
    universe.ready(2).await;
    // 1000 texts of 64 tokens each: a step takes eight of them.
    let texts: Vec<String> = (0..1000).map(|n| format!("{n:0256}")).collect();
    let batch = tokio::spawn({
        let (embedder, texts) = (embedder.clone(), texts.clone());
        async move { embedder.embed_batch(texts).await }
    });
    within(steering.visited(Point::Step, 2)).await;
    let under_way = universe.status().models[0].queue.under_way;
    steering.open(Point::Step);

    let vectors = within(batch).await.unwrap().unwrap();

    let expected: Vec<_> = texts
        .iter()
        .map(|text| Steering::embedding_of(text))
        .collect();
    assert_eq!(vectors, expected);
    assert!(under_way <= 256, "a quarter of the queue: {under_way}");
    assert!(steering.steps().iter().all(|step| step.len() <= 8));
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_larger_than_the_queue_is_served() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let spec = steering.embedder("tiny", 100).queue_capacity(2);
    let embedder = universe.register(spec).unwrap();
    let texts: Vec<String> = (0..100).map(|n| format!("text {n}")).collect();
    let vectors = within(embedder.embed_batch(texts)).await.unwrap();
    assert_eq!(vectors.len(), 100);
    assert_eq!(vectors[99], Steering::embedding_of("text 99"));
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_batches_share_a_queue_that_is_too_small_for_both() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let spec = steering.embedder("tiny", 100).queue_capacity(1);
    let embedder = universe.register(spec).unwrap();
    within(universe.warm(&embedder)).await.unwrap();
    let batch = |from: usize| {
        let embedder = embedder.clone();
        tokio::spawn(async move {
            let texts = (from..from + 50).map(|n| format!("text {n}"));
            embedder.embed_batch(texts).await
        })
    };
    for (from, batch) in [(0, batch(0)), (50, batch(50))] {
        // The second may be refused as a whole, at its beginning, but never in the middle.
        match within(batch).await.unwrap() {
            Ok(vectors) => {
                assert_eq!(vectors[0], Steering::embedding_of(&format!("text {from}")));
            }
            Err(error) => assert!(matches!(error, PoolError::Overloaded { .. }), "{error}"),
        }
    }
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interactive_request_overtakes_a_batch_of_a_thousand() {
    let steering = Steering::new();
    steering.always(Point::Step, Act::Wait);
    let universe = Universe::new(config()).await;
    let spec = steering.embedder("fair", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    let texts: Vec<String> = (0..1000).map(|n| format!("{n:0256}")).collect();
    let batch = tokio::spawn({
        let embedder = embedder.clone();
        async move { embedder.embed_batch(texts).await }
    });
    within(steering.visited(Point::Step, 1)).await;
    let single = tokio::spawn({
        let embedder = embedder.clone();
        async move { embedder.embed("in a hurry").await }
    });
    while universe.status().models[0].queue.interactive < 1 {
        tokio::task::yield_now().await;
    }

    steering.release(Point::Step, 2);
    within(single).await.unwrap().unwrap();

    assert_eq!(steering.steps()[1], ["in a hurry"], "the very next step");
    steering.open(Point::Step);
    within(batch).await.unwrap().unwrap();
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_work_gets_its_turn_while_interactive_requests_keep_coming() {
    let steering = Steering::new();
    steering.script(Point::Load, [Act::Wait]);
    let mut settings = config();
    settings.batch_turn_every = 3;
    let universe = Universe::new(settings).await;
    let spec = steering.embedder("fair", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    // Each text fills a step by itself.
    let ask = |n: usize, priority: Priority| {
        let embedder = embedder.with(RequestOptions::default().priority(priority));
        tokio::spawn(async move { embedder.embed(format!("{priority:?}{n:02048}")).await })
    };
    let mut callers: Vec<_> = (0..9).map(|n| ask(n, Priority::Interactive)).collect();
    callers.extend((0..3).map(|n| ask(n, Priority::Batch)));
    while universe.status().models[0].queue.under_way < 12
        || universe.status().models[0].queue.batch < 3
        || universe.status().models[0].queue.interactive < 9
    {
        tokio::task::yield_now().await;
    }
    steering.open(Point::Load);
    for caller in callers {
        within(caller).await.unwrap().unwrap();
    }
    let turns: String = steering
        .steps()
        .iter()
        .map(|step| {
            if step[0].starts_with("Batch") {
                'b'
            } else {
                'i'
            }
        })
        .collect();
    assert_eq!(turns, "iiibiiibiiib");
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_before_anything_loads() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let spec = steering.embedder("strict", 100).max_input_bytes(1000);
    let embedder = universe.register(spec).unwrap();

    let empty = within(embedder.embed("")).await.unwrap_err();
    assert!(
        matches!(&empty, PoolError::InvalidRequest { field: "text", .. }),
        "{empty}"
    );
    let no_texts = within(embedder.embed_batch(Vec::<String>::new()))
        .await
        .unwrap_err();
    assert!(
        matches!(&no_texts, PoolError::InvalidRequest { field: "batch", .. }),
        "{no_texts}"
    );
    let hole = within(embedder.embed_batch(["a", "", "b"]))
        .await
        .unwrap_err();
    assert!(hole.to_string().contains("empty text at 1"), "{hole}");
    let large = within(embedder.embed("x".repeat(10_000_000)))
        .await
        .unwrap_err();
    assert!(
        matches!(
            large,
            PoolError::InputTooLarge {
                bytes: 10_000_000,
                limit: 1000
            }
        ),
        "{large}"
    );
    assert_eq!(steering.visits(Point::Load), 0);
    universe.close().await;
}

/// Answers with what it was given of a request's options.
struct Echo(ModelInfo);

impl CandleModel for Echo {
    fn info(&self) -> &ModelInfo {
        &self.0
    }
}

impl TextEmbeddingCapable for Echo {
    fn embed_step(
        &mut self,
        inputs: &[&EmbedInput],
        _context: &StepContext,
    ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
        let echo = |input: &&EmbedInput| Ok(vec![input.dimensions.unwrap_or(0) as f32]);
        Ok(inputs.iter().map(echo).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_reach_a_model_without_a_preparer() {
    let universe = Universe::new(config()).await;
    let info = ModelInfo::new("echo", 100);
    let spec = ModelSpec::text_embedding(info.clone(), move || Ok(Echo(info.clone())));
    let embedder = universe.register(spec).unwrap();
    let options = EmbedOptions {
        dimensions: Some(7),
        ..EmbedOptions::default()
    };
    let one = within(embedder.embed_with("a", options.clone())).await;
    assert_eq!(one.unwrap(), [7.0]);
    let many = within(embedder.embed_batch_with(["a", "b"], options)).await;
    assert_eq!(many.unwrap(), [[7.0], [7.0]]);
    assert_eq!(within(embedder.embed("a")).await.unwrap(), [0.0]);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cores_are_divided_among_busy_workers() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Wait, Act::Wait]);
    let mut settings = config();
    settings.compute_threads = 6;
    let mut universe = Universe::new(settings).await;
    let embedder = universe.register(steering.embedder("wide", 100)).unwrap();
    within(universe.warm(&embedder)).await.unwrap();
    universe.ready(2).await;
    let ask = |text: &'static str| {
        let embedder = embedder.clone();
        tokio::spawn(async move { embedder.embed(text).await })
    };
    let first = ask("alone");
    within(steering.visited(Point::Step, 1)).await;
    let second = ask("beside it");
    within(steering.visited(Point::Step, 2)).await;
    steering.open(Point::Step);
    within(first).await.unwrap().unwrap();
    within(second).await.unwrap().unwrap();
    assert_eq!(steering.threads(), [6, 3]);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_answers_those_who_wait_and_finishes_what_runs() {
    let steering = Steering::new();
    steering.always(Point::Step, Act::Wait);
    let universe = Universe::new(config()).await;
    let spec = steering.embedder("closing", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    let ask = |text: &'static str| {
        let embedder = embedder.clone();
        tokio::spawn(async move { embedder.embed(text).await })
    };
    let running = ask("running");
    within(steering.visited(Point::Step, 1)).await;
    let waiting = ask("waiting");
    while universe.status().models[0].queue.interactive < 1 {
        tokio::task::yield_now().await;
    }

    let closing = tokio::spawn(universe.close());
    let error = within(waiting).await.unwrap().unwrap_err();
    assert!(matches!(error, PoolError::ShuttingDown), "{error}");
    steering.open(Point::Step);
    within(running).await.unwrap().unwrap();
    let report = within(closing).await.unwrap();

    assert_eq!((report.answered, report.refused), (1, 1));
    let error = within(embedder.embed("too late")).await.unwrap_err();
    assert!(matches!(error, PoolError::ShuttingDown), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_abandons_a_thread_that_does_not_come_back() {
    let steering = Steering::new();
    steering.always(Point::Step, Act::Wait);
    let pool = Pool::start(config()).await.unwrap();
    let spec = steering.embedder("hung", 100).max_workers(1);
    let embedder = pool.register(spec).unwrap();
    let stuck = tokio::spawn({
        let embedder = embedder.clone();
        async move { embedder.embed("stuck").await }
    });
    within(steering.visited(Point::Step, 1)).await;

    let report = within(pool.shutdown(Duration::from_millis(20))).await;

    assert_eq!(report.abandoned.len(), 1);
    assert!(report.abandoned[0].contains("hung"), "{report:?}");
    let error = within(stuck).await.unwrap().unwrap_err();
    assert!(matches!(error, PoolError::ShuttingDown), "{error}");
    // Its memory stays reserved until the thread returns.
    assert_eq!(pool.status().memory.reserved_mb, 100);
    steering.open(Point::Step);
    within(async {
        while pool.status().memory.reserved_mb > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_dropped_shuts_down() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let embedder = universe.register(steering.embedder("orphan", 100)).unwrap();
    within(embedder.embed("a")).await.unwrap();
    drop(universe);
    within(steering.visited(Point::Free, 1)).await;
    let error = within(embedder.embed("b")).await.unwrap_err();
    assert!(matches!(error, PoolError::ShuttingDown), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_unique_and_settings_are_checked() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    universe.register(steering.embedder("same", 100)).unwrap();
    let error = universe
        .register(steering.embedder("same", 100))
        .unwrap_err();
    assert!(matches!(error, PoolError::AlreadyRegistered { .. }));
    universe
        .register(steering.embedder("same", 100).named("another"))
        .unwrap();
    let elsewhere = Universe::new(config()).await;
    let foreign = elsewhere.register(steering.embedder("theirs", 1)).unwrap();
    let error = universe.warm(&foreign).await.unwrap_err();
    assert!(matches!(error, PoolError::NotRegistered { .. }));
    for spec in [
        steering.embedder("", 1),
        steering.embedder("none", 1).max_workers(0),
        steering.embedder("none", 1).queue_capacity(0),
    ] {
        let error = universe.register(spec).unwrap_err();
        assert!(matches!(error, PoolError::InvalidConfig { .. }), "{error}");
    }
    elsewhere.close().await;
    universe.close().await;
}

#[tokio::test]
async fn a_config_that_makes_no_sense_is_refused() {
    type Change = fn(&mut PoolConfig);
    let cases: [(&str, Change); 12] = [
        ("cold_start_workers", |c| c.cold_start_workers = 0),
        ("max_workers", |c| c.max_workers = 0),
        ("queue_capacity", |c| c.queue_capacity = 0),
        ("batch_turn_every", |c| c.batch_turn_every = 0),
        ("compute_threads", |c| c.compute_threads = 0),
        ("restart.max_failures", |c| c.restart.max_failures = 0),
        ("min_workers", |c| c.min_workers = 9),
        ("memory", |c| c.memory = MemoryBudget::Fraction(f64::NAN)),
        ("memory", |c| c.memory = MemoryBudget::Megabytes(0)),
        ("expand_after", |c| c.expand_after = Duration::ZERO),
        ("idle_after", |c| c.idle_after = Duration::ZERO),
        ("default_deadline", |c| c.default_deadline = Duration::ZERO),
    ];
    for (named, change) in cases {
        let mut settings = config();
        change(&mut settings);
        let error = Pool::start(settings).await.unwrap_err();
        assert!(
            matches!(error, PoolError::InvalidConfig { field, .. } if field == named),
            "{named}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_in_one_process_are_apart() {
    let steering = Steering::new();
    let settings = |total_mb| PoolConfig {
        probe: std::sync::Arc::new(FixedProbe { total_mb }),
        ..config()
    };
    let small = Universe::new(settings(100)).await;
    let large = Universe::new(settings(1000)).await;
    let refused = small.register(steering.embedder("same", 200)).unwrap();
    let served = large.register(steering.embedder("same", 200)).unwrap();
    within(refused.embed("a")).await.unwrap_err();
    within(served.embed("a")).await.unwrap();
    assert_eq!(small.status().memory.reserved_mb, 0);
    small.close().await;
    large.close().await;
}
