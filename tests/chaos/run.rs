//! The run itself, and what must hold at its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use modelpool::pool::core::{Pool, PoolMetrics};
use modelpool::testing::{Census, Point};

use super::caller::ask;
use super::disruption::disrupt;
use super::figures::{Counts, Figures, Seen, Tally};
use super::models::{Model, STEP_TIMEOUT, config, register};
use super::plan::{Content, Patience, Plan, RequestPlan};

/// How long a caller waits that was turned away.
const TURNED_AWAY: Duration = Duration::from_millis(20);

/// Only a hang exceeds it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the plan on the current runtime.
///
/// # Panics
/// If the pool cannot be started. What goes wrong later is a violation among the figures.
pub async fn run(plan: Plan) -> Figures {
    silence_what_is_meant();
    let started = Instant::now();
    let pool = Pool::start(config(plan.seed))
        .await
        .expect("the pool starts");
    let models: Arc<[Model]> = register(&pool).into();
    let tally = Tally::default();
    let metronome = Metronome::start();

    let next = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..plan.callers)
        .map(|_| {
            tokio::spawn(caller(
                plan,
                pool.clone(),
                Arc::clone(&models),
                Arc::clone(&next),
                tally.clone(),
            ))
        })
        .collect();
    for caller in callers {
        let ended = caller.await;
        tally.expect(ended.is_ok(), || format!("a caller ended with {ended:?}"));
    }
    let mut background = tally.take_background();
    open_all(&models);
    while let Some(ended) = background.join_next().await {
        tally.expect(ended.is_ok(), || {
            format!("background work ended with {ended:?}")
        });
    }

    let settled = wait_until(|| all_ended(&pool)).await;
    tally.expect(settled, || {
        format!("requests without an ending: {:?}", pool.status())
    });
    let timer_lag = metronome.stop().await;
    let latest = tally.latest();
    // A late timer makes a late caller; a step is what the worker may still be in.
    tally.expect(
        latest <= STEP_TIMEOUT + timer_lag + Duration::from_millis(50),
        || format!("an ending came {latest:?} late, with timers late by {timer_lag:?}"),
    );

    let mut seen = Counts::default();
    let mut raced = 0;
    let mut books = PoolMetrics::default();
    for model in models.iter() {
        seen.absorb(&tally.seen_of(&model.name));
    }
    for status in pool.status().models {
        let is_guest = |model: &Model| model.is_guest && model.name == status.name;
        if models.iter().any(is_guest) {
            continue;
        }
        let counts = tally.seen_of(&status.name);
        match counts.compare(&status.name, &status.metrics) {
            Ok(races) => raced += races,
            Err(violation) => tally.expect(false, || violation),
        }
        books.redelivered += status.metrics.redelivered;
        books.worker_failures += status.metrics.worker_failures;
        books.worker_stalls += status.metrics.worker_stalls;
        books.loads += status.metrics.loads;
    }
    close(plan, &pool, &models, &tally).await;
    Figures {
        seed: plan.seed,
        took: started.elapsed(),
        seen,
        raced,
        redelivered: books.redelivered,
        worker_failures: books.worker_failures,
        worker_stalls: books.worker_stalls,
        loads: books.loads,
        latest,
        timer_lag,
        disruptions: tally.disruptions(),
        violations: tally.violations(),
    }
}

async fn caller(plan: Plan, pool: Pool, models: Arc<[Model]>, next: Arc<AtomicU64>, tally: Tally) {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= plan.requests as u64 {
            return;
        }
        let between = plan.requests_between_disruptions as u64;
        if number % between == between - 1 {
            disrupt(plan, number / between, &pool, &models, &tally).await;
        }
        let request = plan.request(number);
        // The last model can never be had: it is asked now and then.
        let asked = if number.is_multiple_of(64) {
            models.len() - 1
        } else {
            request.model % (models.len() - 1)
        };
        let seen = ask(request, &models[asked], &tally).await;
        if matches!(seen, Seen::Refused | Seen::Unserved) {
            // As a service would, rather than to ask again at once.
            tokio::time::sleep(TURNED_AWAY).await;
        }
    }
}

/// Shuts down under load, and looks for what is left.
async fn close(plan: Plan, pool: &Pool, models: &[Model], tally: &Tally) {
    let last_wave = Tally::default();
    for number in 0..200 {
        let model = models[number as usize % models.len()].clone();
        let request = RequestPlan {
            patience: Patience::Stays,
            content: Content::Plain,
            ..plan.request((1 << 50) + number)
        };
        let wave = last_wave.clone();
        last_wave.in_background(async move {
            ask(request, &model, &wave).await;
        });
    }
    let report = tokio::time::timeout(PATIENCE, pool.shutdown(PATIENCE)).await;
    tally.expect(report.is_ok(), || "the shutdown does not end".to_owned());
    let mut wave = last_wave.take_background();
    let heard_out = tokio::time::timeout(PATIENCE, async {
        while wave.join_next().await.is_some() {}
    });
    tally.expect(heard_out.await.is_ok(), || {
        "a caller of the last wave never heard".to_owned()
    });
    let empty = wait_until(|| pool.census() == Census::NOTHING).await;
    tally.expect(empty, || format!("left behind: {:?}", pool.census()));
    tally.expect(all_ended(pool), || {
        format!("not ended: {:?}", pool.status())
    });
    for violation in last_wave.violations() {
        tally.expect(false, || violation);
    }
}

fn open_all(models: &[Model]) {
    for model in models {
        for point in [Point::Load, Point::Step, Point::Emit, Point::Free] {
            model.steering.open(point);
        }
    }
}

fn all_ended(pool: &Pool) -> bool {
    let models = pool.status().models;
    models
        .iter()
        .all(|model| model.metrics.accepted == model.metrics.ended())
}

async fn wait_until(reached: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    while !reached() {
        if started.elapsed() > PATIENCE {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    true
}

/// Measures how late timers are while the run goes on.
struct Metronome {
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Duration>,
}

impl Metronome {
    fn start() -> Self {
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let beat = Duration::from_millis(2);
            let mut worst = Duration::ZERO;
            while stopped.try_recv().is_err() {
                let due = Instant::now() + beat;
                tokio::time::sleep_until(due.into()).await;
                worst = worst.max(due.elapsed());
            }
            worst
        });
        Self { stop, task }
    }

    async fn stop(self) -> Duration {
        let _ = self.stop.send(());
        self.task.await.unwrap_or(Duration::MAX)
    }
}

/// The steered panics are meant; all others are shown as ever.
fn silence_what_is_meant() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let shown = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let text = panic.payload_as_str().unwrap_or_default();
            if !text.starts_with("told to panic") {
                shown(panic);
            }
        }));
    });
}
