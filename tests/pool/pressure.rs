//! Memory that is measured, and memory that runs short outside of the pool.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use modelpool::pool::core::{
    EventKind, Footprint, MIB, Measurement, MemoryBudget, MemoryProbe, PoolConfig, PoolError,
    PressureConfig, RetireReason,
};
use modelpool::testing::{Act, Point, Steering};
use modelpool::{
    CandleModel, EmbedInput, Embedding, ModelError, ModelInfo, ModelSpec, StepContext,
    TextEmbedding, TextEmbeddingCapable,
};

use crate::universe::{Universe, config, within};

/// A machine of 1000 MiB of which a test says what is left and what the process takes, in MiB.
#[derive(Default)]
struct Dial {
    available: AtomicU64,
    resident: AtomicU64,
    looks: AtomicU64,
}

impl MemoryProbe for Dial {
    fn total_mb(&self) -> u64 {
        1000
    }

    fn available_bytes(&self) -> Option<u64> {
        self.looks.fetch_add(1, Ordering::AcqRel);
        Some(self.available.load(Ordering::Acquire) * MIB)
    }

    fn resident_bytes(&self) -> Option<u64> {
        Some(self.resident.load(Ordering::Acquire) * MIB)
    }
}

impl Dial {
    fn left(available_mb: u64) -> Arc<Self> {
        let dial = Self::default();
        dial.available.store(available_mb, Ordering::Release);
        Arc::new(dial)
    }

    fn set(&self, available_mb: u64) {
        self.available.store(available_mb, Ordering::Release);
    }

    fn looks(&self) -> u64 {
        self.looks.load(Ordering::Acquire)
    }

    /// Waits until the pool has looked once more from beginning to end.
    async fn seen(&self) {
        let before = self.looks();
        within(async {
            while self.looks() < before + 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
}

/// Short below 100 MiB, not short any more from 200 on.
fn settings(dial: &Arc<Dial>) -> PoolConfig {
    PoolConfig {
        probe: Arc::clone(dial) as Arc<dyn MemoryProbe>,
        pressure: Some(PressureConfig {
            floor: MemoryBudget::Megabytes(100),
            relief: MemoryBudget::Fraction(0.2),
            sample_every: Duration::from_millis(5),
        }),
        ..config()
    }
}

fn is_short(universe: &Universe) -> bool {
    universe.status().memory.under_pressure
}

#[tokio::test(flavor = "multi_thread")]
async fn short_memory_retires_idle_workers_until_relief() {
    let dial = Dial::left(500);
    let steering = Steering::new();
    let mut universe = Universe::new(settings(&dial)).await;
    let kept = steering.embedder("kept", 100).max_workers(1).pinned(true);
    let kept = universe.register(kept).unwrap();
    let old = universe
        .register(steering.embedder("old", 300).max_workers(1))
        .unwrap();
    let recent = universe
        .register(steering.embedder("recent", 150).max_workers(1))
        .unwrap();
    for model in [&kept, &old, &recent] {
        within(model.embed("a")).await.unwrap();
    }
    dial.seen().await;
    assert_eq!(universe.status().memory.available_mb, Some(500));
    assert!(!is_short(&universe));

    // 150 are missing: either of the two is enough. Which is worth less depends on how long their
    // loads took; `policy/short.rs` shows that it is the one that goes.
    dial.set(50);
    let began = universe
        .event(|event| matches!(event.kind, EventKind::PressureBegan { .. }))
        .await;
    assert_eq!(began.kind, EventKind::PressureBegan { available_mb: 50 });
    assert_eq!(began.model, "");
    let retiring = universe
        .event(|event| {
            event.kind
                == EventKind::Retiring {
                    reason: RetireReason::Pressure,
                }
        })
        .await;
    assert_ne!(retiring.model, "kept");
    // Between the thresholds nothing changes.
    dial.set(150);
    let second = universe
        .event(|event| {
            event.kind
                == EventKind::Retiring {
                    reason: RetireReason::Pressure,
                }
        })
        .await;
    assert!(!["kept", &retiring.model].contains(&&*second.model));
    assert!(is_short(&universe));
    dial.set(199);
    dial.seen().await;
    assert!(is_short(&universe));

    dial.set(200);
    universe
        .event(|event| event.kind == EventKind::PressureEnded { available_mb: 200 })
        .await;
    assert!(!is_short(&universe));
    let workers: Vec<usize> = universe
        .status()
        .models
        .iter()
        .map(|model| model.workers.len())
        .collect();
    assert_eq!(workers, [1, 0, 0], "the pinned one stays");
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn short_memory_stops_growth_and_who_waits_is_still_served() {
    let dial = Dial::left(50);
    let steering = Steering::new();
    steering.always(Point::Step, Act::Wait);
    let mut universe = Universe::new(PoolConfig {
        expand_after: Duration::from_millis(1),
        ..settings(&dial)
    })
    .await;
    let model = universe.register(steering.embedder("m", 100)).unwrap();
    let callers: Vec<_> = (0..4)
        .map(|n| {
            let model = model.clone();
            tokio::spawn(async move { model.embed(format!("{n:02048}")).await })
        })
        .collect();
    within(steering.visited(Point::Step, 1)).await;
    dial.seen().await;
    dial.seen().await;
    assert_eq!(steering.visits(Point::Load), 1, "one worker, and no second");

    dial.set(500);
    universe
        .event(|event| matches!(event.kind, EventKind::PressureEnded { .. }))
        .await;
    within(steering.visited(Point::Load, 2)).await;
    steering.open(Point::Step);
    for caller in callers {
        within(caller).await.unwrap().unwrap();
    }
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_pool_does_not_look_and_one_that_is_told_not_to_never_does() {
    let dial = Dial::left(500);
    let steering = Steering::new();
    let mut universe = Universe::new(PoolConfig {
        idle_after: Duration::from_millis(20),
        ..settings(&dial)
    })
    .await;
    let model = universe
        .register(steering.embedder("m", 100).max_workers(1))
        .unwrap();
    assert_eq!(dial.looks(), 0);
    within(model.embed("a")).await.unwrap();
    universe
        .event(|event| event.kind == EventKind::Retired)
        .await;
    // The one that was due then still comes; a busy pool would have looked twenty times.
    let looks = dial.looks();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(dial.looks() <= looks + 1);
    universe.close().await;

    let dial = Dial::left(1);
    let universe = Universe::new(PoolConfig {
        pressure: None,
        ..settings(&dial)
    })
    .await;
    let model = universe.register(steering.embedder("m", 100)).unwrap();
    within(model.embed("a")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(dial.looks(), 0);
    assert_eq!(universe.status().memory.available_mb, None);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thresholds_that_make_no_sense_are_refused() {
    let of = |floor, relief, millis| PressureConfig {
        floor,
        relief,
        sample_every: Duration::from_millis(millis),
    };
    let (low, high) = (MemoryBudget::Megabytes(10), MemoryBudget::Fraction(0.5));
    for (pressure, wanted) in [
        (of(high, low, 1), "pressure.relief"),
        (of(low, high, 0), "pressure.sample_every"),
        (of(MemoryBudget::Megabytes(0), high, 1), "pressure.floor"),
        (of(low, MemoryBudget::Fraction(1.1), 1), "pressure.relief"),
    ] {
        let settings = PoolConfig {
            pressure: Some(pressure),
            ..config()
        };
        let error = modelpool::Pool::start(settings).await.unwrap_err();
        assert!(
            matches!(error, PoolError::InvalidConfig { field, .. } if field == wanted),
            "{error}"
        );
    }
}

/// Takes as much of the machine as its test says, and gives it back.
struct Weighing {
    info: ModelInfo,
    dial: Arc<Dial>,
    takes_mb: u64,
}

impl Weighing {
    fn spec(dial: &Arc<Dial>, est_mb: u64, takes_mb: &Arc<AtomicU64>) -> ModelSpec<TextEmbedding> {
        let info = ModelInfo::new("m", est_mb);
        let (dial, takes_mb) = (Arc::clone(dial), Arc::clone(takes_mb));
        ModelSpec::text_embedding(info.clone(), move || {
            let takes_mb = takes_mb.load(Ordering::Acquire);
            dial.resident.fetch_add(takes_mb, Ordering::AcqRel);
            Ok(Self {
                info: info.clone(),
                dial: Arc::clone(&dial),
                takes_mb,
            })
        })
    }
}

impl Drop for Weighing {
    fn drop(&mut self) {
        self.dial
            .resident
            .fetch_sub(self.takes_mb, Ordering::AcqRel);
    }
}

impl CandleModel for Weighing {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl TextEmbeddingCapable for Weighing {
    fn embed_step(
        &mut self,
        inputs: &[&EmbedInput],
        _context: &StepContext,
    ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
        Ok(inputs.iter().map(|_| Ok(vec![1.0])).collect())
    }
}

fn load(kind: EventKind) -> Measurement {
    match kind {
        EventKind::LoadMeasured(measurement) => measurement,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_load_took_is_believed_by_later_ones() {
    let dial = Dial::left(900);
    let takes_mb = Arc::new(AtomicU64::new(250));
    let settings = PoolConfig {
        cold_start_workers: 1,
        idle_after: Duration::from_millis(20),
        ..settings(&dial)
    };
    let mut universe = Universe::new(settings).await;
    let spec = Weighing::spec(&dial, 100, &takes_mb);
    let model = universe.register(spec).unwrap();
    let footprint = |mb| Footprint {
        weights_bytes: 0,
        worker_bytes: mb * MIB,
    };
    // Estimated at 100, it takes 250, then 110, then more than there is; each counts for the next.
    for (takes, counted_after, excess_mb) in [(250, 250, 150), (110, 100, 0), (5000, 100, 4900)] {
        takes_mb.store(takes, Ordering::Release);
        within(model.embed("a")).await.unwrap();
        let measured = universe
            .event(|event| matches!(event.kind, EventKind::LoadMeasured(_)))
            .await;
        let measured = load(measured.kind);
        assert_eq!((measured.workers, measured.with_weights), (1, false));
        assert_eq!(measured.estimated_bytes, 100 * MIB);
        assert_eq!(measured.resident_bytes, takes * MIB);
        assert_eq!(measured.excess_bytes(), excess_mb * MIB);
        let released = universe
            .event(|event| matches!(event.kind, EventKind::ReleaseMeasured(_)))
            .await;
        let EventKind::ReleaseMeasured(released) = released.kind else {
            unreachable!();
        };
        assert_eq!(released.resident_bytes, takes * MIB);
        universe
            .event(|event| event.kind == EventKind::Retired)
            .await;
        let status = &universe.status().models[0];
        assert_eq!(status.footprint, footprint(counted_after), "after {takes}");
        assert_eq!(status.measured.load, Some(measured));
        assert_eq!(status.measured.release, Some(released));
        assert_eq!(status.est_memory_allocation_mb, 100);
    }
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_another_model_loads_nothing_is_measured() {
    let dial = Dial::left(900);
    let steering = Steering::new();
    let takes_mb = Arc::new(AtomicU64::new(90));
    let mut universe = Universe::new(settings(&dial)).await;
    let model = universe
        .register(Weighing::spec(&dial, 100, &takes_mb))
        .unwrap();
    let other = universe
        .register(steering.embedder("other", 10).max_workers(1))
        .unwrap();
    steering.script(Point::Load, [Act::Wait]);
    let waiting = {
        let other = other.clone();
        tokio::spawn(async move { other.embed("a").await })
    };
    within(steering.visited(Point::Load, 1)).await;
    within(model.embed("a")).await.unwrap();
    universe.ready(2).await;
    steering.open(Point::Load);
    within(waiting).await.unwrap().unwrap();
    universe.ready(1).await;
    for model in universe.status().models {
        assert_eq!(model.measured.load, None, "{}", model.name);
    }
    universe.close().await;
    assert_eq!(dial.resident.load(Ordering::Acquire), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_load_together_are_measured_together() {
    let dial = Dial::left(900);
    let mut universe = Universe::new(settings(&dial)).await;
    let info = ModelInfo::from_bytes("m", 200 * MIB, 30 * MIB);
    let both = Arc::new(Barrier::new(2));
    let (for_weights, for_workers) = (Arc::clone(&dial), Arc::clone(&dial));
    let spec = ModelSpec::text_embedding_shared(
        info.clone(),
        move || {
            for_weights.resident.fetch_add(200, Ordering::AcqRel);
            Ok(())
        },
        move |_weights| {
            // Neither has loaded before both have begun.
            both.wait();
            for_workers.resident.fetch_add(40, Ordering::AcqRel);
            Ok(Weighing {
                info: info.clone(),
                dial: Arc::clone(&for_workers),
                takes_mb: 40,
            })
        },
    );
    let model = universe.register(spec).unwrap();
    within(model.embed("a")).await.unwrap();
    let measured = universe
        .event(|event| matches!(event.kind, EventKind::LoadMeasured(_)))
        .await;
    let measured = load(measured.kind);
    assert_eq!((measured.workers, measured.with_weights), (2, true));
    assert_eq!(measured.estimated_bytes, 260 * MIB);
    assert_eq!(measured.resident_bytes, 280 * MIB);
    assert_eq!(measured.excess_bytes(), 0, "that little is tolerated");
    universe.close().await;
}
