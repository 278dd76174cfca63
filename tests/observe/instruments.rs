//! The `metrics` facade: every name of the documented table, with its labels and right values.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use metrics_util::MetricKind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use modelpool::pool::core::{EventKind, MIB, Pool, PoolError, PoolEvent, PoolMetrics, WorkerId};
use modelpool::testing::{Act, Point, RecitalRequest, Steering};
use modelpool::{ModelHandle, RequestOptions, TextEmbedding};
use tokio::task::JoinHandle;

use crate::universe::{PATIENCE, Universe, within};
use crate::{restarting_at_once, until};

/// Runs on one thread, where the supervisor finds the recorder too.
fn recorded(test: impl AsyncFnOnce(&Snapshotter)) {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(test(&snapshotter)));
}

/// One instrument: its name, and its labels in order.
type Instrument = (String, Vec<(String, String)>);

/// All instruments of one snapshot, which resets them.
struct Recorded(BTreeMap<Instrument, (MetricKind, DebugValue)>);

impl Recorded {
    fn take(snapshotter: &Snapshotter) -> Self {
        let all = snapshotter.snapshot().into_vec().into_iter();
        let named = all.map(|(key, _, _, value)| {
            let (kind, key) = key.into_parts();
            let labels = key
                .labels()
                .map(|label| (label.key().to_owned(), label.value().to_owned()));
            let mut labels: Vec<_> = labels.collect();
            labels.sort();
            ((key.name().to_owned(), labels), (kind, value))
        });
        Self(named.collect())
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> &DebugValue {
        let mut labels: Vec<_> = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        labels.sort();
        let key = (name.to_owned(), labels);
        let found = self.0.get(&key);
        &found
            .unwrap_or_else(|| panic!("{key:?} in {:?}", self.0.keys()))
            .1
    }

    fn counter(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        match self.value(name, labels) {
            DebugValue::Counter(count) => *count,
            other => panic!("{name}: {other:?}"),
        }
    }

    fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        match self.value(name, labels) {
            DebugValue::Gauge(value) => value.into_inner(),
            other => panic!("{name}: {other:?}"),
        }
    }

    fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        match self.value(name, labels) {
            DebugValue::Histogram(values) => values.iter().map(|value| value.0).collect(),
            other => panic!("{name}: {other:?}"),
        }
    }

    /// The counters of a model's endings, in the order of [`endings_of`].
    fn endings(&self, model: &str) -> Vec<(&'static str, u64)> {
        let names = endings_of(&PoolMetrics::default()).map(|(name, _)| name);
        let count = |name| {
            let labels = [("model", model), ("ending", name)];
            (name, self.counter("modelpool_requests_total", &labels))
        };
        names.into_iter().map(count).collect()
    }
}

fn endings_of(metrics: &PoolMetrics) -> [(&'static str, u64); 8] {
    [
        ("answered", metrics.answered),
        ("failed", metrics.failed),
        ("cancelled", metrics.cancelled),
        ("expired", metrics.expired),
        ("interrupted", metrics.interrupted),
        ("poisoned", metrics.poisoned),
        ("unserved", metrics.unserved),
        ("shut_down", metrics.shut_down),
    ]
}

type Caller = JoinHandle<Result<Vec<f32>, PoolError>>;

fn ask(embedder: &ModelHandle<TextEmbedding>, text: &'static str) -> Caller {
    let embedder = embedder.clone();
    tokio::spawn(async move { embedder.embed(text).await })
}

async fn until_all_ended(pool: &Pool, model: usize) {
    until(|| {
        let metrics = pool.status().models[model].metrics;
        metrics.ended() == metrics.accepted
    })
    .await;
}

#[test]
fn a_scripted_run_is_counted_under_the_documented_names() {
    recorded(async |snapshotter| {
        let steering = Steering::new();
        let mut settings = restarting_at_once();
        settings.restart.max_failures = 100;
        let mut universe = Universe::new(settings).await;
        let spec = steering.embedder("scripted", 100).max_workers(1);
        let embedder = universe.register(spec.queue_capacity(2)).unwrap();
        let recital = Steering::new();
        let reciter = universe
            .register(recital.reciter("poet", 50).max_workers(1))
            .unwrap();

        // A load that fails, and one that does not.
        steering.script(Point::Load, [Act::Fail]);
        within(embedder.embed("unserved")).await.unwrap_err();
        within(embedder.embed("answered")).await.unwrap();
        // One text's own failure, a crash that it survives, and one that kills twice.
        steering.on_text("bad", Act::Fail);
        within(embedder.embed("bad")).await.unwrap_err();
        steering.script(Point::Step, [Act::Panic]);
        within(embedder.embed("survivor")).await.unwrap();
        steering.on_text("poison", Act::Panic);
        within(embedder.embed("poison")).await.unwrap_err();
        // A request that meets a proxy on its way out is redelivered too: wait until it is gone.
        let fourth_failed = |event: &PoolEvent| {
            event.worker == Some(WorkerId(4)) && matches!(event.kind, EventKind::Failed { .. })
        };
        universe.event(fourth_failed).await;
        // While one is in hand: one queued, one refused, the queued one leaves, one expires.
        let steps = steering.visits(Point::Step);
        steering.script(Point::Step, [Act::Wait]);
        let in_hand = ask(&embedder, "in hand");
        within(steering.visited(Point::Step, steps + 1)).await;
        let leaves = ask(&embedder, "leaves");
        until(|| universe.status().models[0].queue.interactive == 1).await;
        let error = within(embedder.embed("refused")).await.unwrap_err();
        assert!(matches!(error, PoolError::Overloaded { .. }), "{error}");
        leaves.abort();
        within(leaves).await.unwrap_err();
        let hurried = embedder.with(RequestOptions::default().deadline(Duration::from_millis(5)));
        let error = within(hurried.embed("expires")).await.unwrap_err();
        assert!(
            matches!(error, PoolError::DeadlineExceeded { .. }),
            "{error}"
        );
        steering.release(Point::Step, 1);
        within(in_hand).await.unwrap().unwrap();
        until_all_ended(&universe, 0).await;
        // A stream that breaks off.
        recital.script(Point::Step, [Act::Go, Act::Panic]);
        let words = ["one", "two", "three"].map(str::to_owned).to_vec();
        let mut stream = reciter.stream(RecitalRequest { words }).unwrap();
        within(stream.next()).await.unwrap().unwrap();
        within(stream.next()).await.unwrap().unwrap_err();
        // A shutdown with one in hand and one queued.
        let steps = steering.visits(Point::Step);
        steering.script(Point::Step, [Act::Wait]);
        let in_hand = ask(&embedder, "finished");
        within(steering.visited(Point::Step, steps + 1)).await;
        let queued = ask(&embedder, "shut down");
        until(|| universe.status().models[0].queue.interactive == 1).await;
        let pool = Pool::clone(&universe);
        let closing = tokio::spawn(universe.close());
        let error = within(queued).await.unwrap().unwrap_err();
        assert!(matches!(error, PoolError::ShuttingDown), "{error}");
        steering.release(Point::Step, 1);
        within(in_hand).await.unwrap().unwrap();
        within(closing).await.unwrap();

        let recorded = Recorded::take(snapshotter);
        assert_documented(&recorded);

        let status = pool.status();
        let metrics = status.models[0].metrics;
        let scripted = [("model", "scripted")];
        assert_eq!(
            recorded.endings("scripted"),
            [
                ("answered", 4),
                ("failed", 1),
                ("cancelled", 1),
                ("expired", 1),
                ("interrupted", 0),
                ("poisoned", 1),
                ("unserved", 1),
                ("shut_down", 1)
            ]
        );
        assert_eq!(recorded.endings("scripted"), endings_of(&metrics));
        assert_eq!(
            recorded.endings("poet"),
            endings_of(&status.models[1].metrics)
        );
        assert_eq!(status.models[1].metrics.interrupted, 1);
        let count = |name| recorded.counter(name, &scripted);
        assert_eq!(count("modelpool_refused_total"), 1);
        // The survivor once, the poisoned one once: the second time was its end.
        assert_eq!(count("modelpool_redelivered_total"), 2);
        // One load, three crashes.
        assert_eq!(count("modelpool_worker_failures_total"), 4);
        assert_eq!(
            (
                metrics.refused,
                metrics.redelivered,
                metrics.worker_failures
            ),
            (1, 2, 4)
        );

        let seconds = |name| {
            let values = recorded.histogram(name, &scripted);
            let plausible = |value: &f64| (0.0..PATIENCE.as_secs_f64()).contains(value);
            assert!(values.iter().all(plausible), "{name}: {values:?}");
            values.len() as u64
        };
        assert_eq!(seconds("modelpool_request_seconds"), 10);
        // Taken in hand: four answered, one failed, the survivor's and the poison's deaths.
        assert_eq!(seconds("modelpool_queue_seconds"), 4 + 1 + 1 + 2);
        // A step that panics has no duration.
        assert_eq!(seconds("modelpool_step_seconds"), 5);
        assert_eq!(seconds("modelpool_load_seconds"), 4);
        assert_eq!((metrics.steps, metrics.loads), (5, 4));
        assert_eq!(
            recorded.histogram("modelpool_step_requests", &scripted),
            [1.0; 5]
        );
        assert_eq!(recorded.gauge("modelpool_workers", &scripted), 0.0);
        assert_eq!(
            recorded.gauge("modelpool_reserved_bytes", &[("device", "cpu")]),
            0.0
        );
    });
}

#[test]
fn the_gauges_show_what_is_alive() {
    recorded(async |snapshotter| {
        let steering = Steering::new();
        let mut universe = Universe::new(restarting_at_once()).await;
        let embedder = universe.register(steering.embedder("alive", 100)).unwrap();
        within(embedder.embed("a")).await.unwrap();
        universe.ready(2).await;
        within(universe.warm(&embedder)).await.unwrap();

        let recorded = Recorded::take(snapshotter);
        assert_eq!(
            recorded.gauge("modelpool_workers", &[("model", "alive")]),
            2.0
        );
        assert_eq!(
            recorded.gauge("modelpool_reserved_bytes", &[("device", "cpu")]),
            (200 * MIB) as f64
        );
        universe.close().await;
    });
}

#[test]
fn requests_that_share_a_step_are_counted_together() {
    recorded(async |snapshotter| {
        let steering = Steering::new();
        steering.script(Point::Step, [Act::Wait]);
        let universe = Universe::new(restarting_at_once()).await;
        let spec = steering.embedder("shared", 100).max_workers(1);
        let embedder = universe.register(spec).unwrap();
        let first = ask(&embedder, "first");
        within(steering.visited(Point::Step, 1)).await;
        let callers = ["a", "b", "c"].map(|text| ask(&embedder, text));
        until(|| universe.status().models[0].queue.interactive == 3).await;
        steering.open(Point::Step);
        within(first).await.unwrap().unwrap();
        for caller in callers {
            within(caller).await.unwrap().unwrap();
        }
        universe.close().await;

        let recorded = Recorded::take(snapshotter);
        let shared = [("model", "shared")];
        let mut counts = recorded.histogram("modelpool_step_requests", &shared);
        counts.sort_by(f64::total_cmp);
        let wanted: Vec<f64> = {
            let mut sizes: Vec<usize> = steering.steps().iter().map(Vec::len).collect();
            sizes.sort_unstable();
            sizes.into_iter().map(|size| size as f64).collect()
        };
        assert_eq!(counts, wanted);
        assert_eq!(counts.iter().sum::<f64>(), 4.0);
        assert!(counts.len() < 4, "some share a step: {counts:?}");
        assert_eq!(
            recorded.histogram("modelpool_step_seconds", &shared).len(),
            counts.len()
        );
        assert_eq!(
            recorded.histogram("modelpool_queue_seconds", &shared).len(),
            4
        );
    });
}

/// What was recorded is what the table documents: the names, the kinds and the labels.
fn assert_documented(recorded: &Recorded) {
    let documentation = include_str!("../../src/pool/core/metrics.rs");
    let rows = documentation
        .lines()
        .filter_map(|line| line.strip_prefix("//! | `modelpool_"));
    let mut documented = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = format!("modelpool_{}", cells[0].trim_end_matches('`'));
        let mut labels: Vec<String> = cells[2]
            .split(',')
            .map(|label| label.trim().trim_matches('`').to_owned())
            .filter(|label| !label.is_empty())
            .collect();
        labels.sort();
        documented.insert((name, cells[1].to_owned(), labels));
    }
    let found: BTreeSet<_> = recorded
        .0
        .iter()
        .map(|((name, labels), (kind, _))| {
            let keys: Vec<String> = labels.iter().map(|(key, _)| key.clone()).collect();
            (name.clone(), format!("{kind:?}").to_lowercase(), keys)
        })
        .collect();
    assert_eq!(documented.len(), 18, "{documented:?}");
    assert_eq!(found, documented);
}
