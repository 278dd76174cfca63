//! Runs the acts' work while showing what the pool says meanwhile. Everything shown comes from
//! `pool.events()` and `pool.status()`.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use console::style;
use futures_util::FutureExt;
use modelpool::pool::core::{EventKind, EventStream, ModelStatus, StartReason, WorkerState};
use modelpool::{Pool, PoolEvent};

use crate::paced;
use crate::screen::{Screen, answers_line, column, short};

const REDRAW_EVERY: Duration = Duration::from_millis(50);
/// How often a line says how a burst goes where there is no panel.
const PLAIN_EVERY: Duration = Duration::from_millis(500);
/// A rate over less time than this says little, since answers come a step at a time.
const SHORTEST_MEASURE: Duration = Duration::from_millis(200);
/// After so long without any event, nothing more is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many events were seen, in all and of the kinds that acts wait for.
#[derive(Default)]
pub struct Seen {
    pub events: u64,
    pub ready: u64,
    pub failed: u64,
    pub retired: u64,
    pub missed: u64,
}

pub struct Stage {
    pub pool: Pool,
    pub screen: Screen,
    pub seen: Seen,
    pub pace: Pace,
    /// What this program asked for, and got; to be compared with the pool's own count.
    pub asked: u64,
    pub answered: u64,
    events: EventStream,
    started: SystemTime,
    last_plain: Instant,
}

impl Stage {
    pub fn new(pool: Pool, screen: Screen) -> Self {
        Self {
            events: pool.events(),
            pool,
            screen,
            seen: Seen::default(),
            pace: Pace::default(),
            asked: 0,
            answered: 0,
            started: SystemTime::now(),
            last_plain: Instant::now(),
        }
    }

    /// A line that stays.
    pub fn line(&self, text: impl AsRef<str>) {
        self.screen.line(text);
    }

    /// Runs `work`, and shows what happens in the pool until it is done.
    pub async fn watch<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut redraw = tokio::time::interval(REDRAW_EVERY);
        let done = loop {
            tokio::select! {
                Some(event) = self.events.next() => self.tell(&event),
                _ = redraw.tick() => self.redraw(),
                done = &mut work => break done,
            }
        };
        while let Some(Some(event)) = self.events.next().now_or_never() {
            self.tell(&event);
        }
        self.redraw();
        done
    }

    /// Shows what happens until `reached`, or until nothing happens any more.
    pub async fn watch_until(&mut self, reached: impl Fn(&Seen) -> bool) {
        let mut quiet_since = Instant::now();
        while !reached(&self.seen) && quiet_since.elapsed() < PATIENCE {
            let before = self.seen.events;
            self.watch(tokio::time::sleep(Duration::from_millis(10)))
                .await;
            if self.seen.events > before || self.is_starting() {
                quiet_since = Instant::now();
            }
        }
    }

    /// A moment to read, where somebody watches.
    pub async fn pause(&mut self) {
        if self.screen.is_live() {
            self.watch(tokio::time::sleep(Duration::from_millis(800)))
                .await;
        }
    }

    fn is_starting(&self) -> bool {
        let status = self.pool.status();
        let mut workers = status.models.iter().flat_map(|model| &model.workers);
        workers.any(|worker| matches!(worker.state, WorkerState::Reserved | WorkerState::Loading))
    }

    fn redraw(&mut self) {
        let status = self.pool.status();
        let paced = status.models.iter().find(|model| model.name == paced::NAME);
        let rate = paced.and_then(|model| self.pace.sample(model));
        self.screen.redraw(&status, rate);
        let is_due = rate.is_some() && self.last_plain.elapsed() >= PLAIN_EVERY;
        if is_due && !self.screen.is_live() {
            self.last_plain = Instant::now();
            self.screen.line(answers_line(&status, rate));
        }
    }

    fn tell(&mut self, event: &PoolEvent) {
        self.seen.count(&event.kind);
        let Some(text) = describe(&event.kind) else {
            return;
        };
        let at = event.at.duration_since(self.started).unwrap_or_default();
        let at = style(format!("{:>7.3} s", at.as_secs_f64())).dim();
        let worker = event
            .worker
            .map_or(String::new(), |id| format!("worker {id}"));
        let model = column(&event.model);
        self.line(format!("  {at}  {model} {worker:<9} {text}"));
    }
}

impl Seen {
    fn count(&mut self, kind: &EventKind) {
        self.events += 1;
        match kind {
            EventKind::Ready { .. } => self.ready += 1,
            EventKind::Failed { .. } => self.failed += 1,
            EventKind::Retired => self.retired += 1,
            EventKind::Missed { events } => self.missed += events,
            _ => {}
        }
    }
}

/// An event in words; `None` for those that come with every request, which the panel shows.
fn describe(kind: &EventKind) -> Option<String> {
    Some(match kind {
        EventKind::Busy | EventKind::Idle => return None,
        EventKind::Reserved { bytes, reason } => {
            let reason = match reason {
                StartReason::ColdStart => "a cold start",
                StartReason::Expand => "an expansion",
                StartReason::Restart => "a restart",
                _ => "a trial",
            };
            format!("reserved    {} MiB for {reason}", bytes >> 20)
        }
        EventKind::Loading => "loading".to_owned(),
        EventKind::Ready { load_time } => {
            format!(
                "{}       loaded in {}",
                style("ready").green(),
                short(*load_time)
            )
        }
        EventKind::Failed { reason } => format!("{}      {reason}", style("failed").red()),
        EventKind::Restarting { after } => {
            format!("{}  after {}", style("restarting").yellow(), short(*after))
        }
        EventKind::Retiring { reason } => {
            format!("retiring    {}", format!("{reason:?}").to_lowercase())
        }
        EventKind::Retired => "retired     its memory is free".to_owned(),
        other => format!("{other:?}"),
    })
}

/// How fast a model answers while work waits, by how many workers serve.
#[derive(Default)]
pub struct Pace {
    by_workers: BTreeMap<usize, (Duration, u64)>,
    last: Option<(Instant, usize, u64)>,
}

impl Pace {
    /// Takes a look; the answers a second with as many workers as serve now, if work waits.
    fn sample(&mut self, model: &ModelStatus) -> Option<f64> {
        let serves = |state| matches!(state, WorkerState::Idle | WorkerState::Busy);
        let serving = model
            .workers
            .iter()
            .filter(|worker| serves(worker.state))
            .count();
        let now = (Instant::now(), serving, model.metrics.answered);
        let is_measured = model.queue.interactive > 0 && serving > 0;
        let last = std::mem::replace(&mut self.last, is_measured.then_some(now));
        if let (Some(then), true) = (last, is_measured)
            && then.1 == serving
        {
            let (time, answers) = self.by_workers.entry(serving).or_default();
            *time += now.0 - then.0;
            *answers += now.2 - then.2;
        }
        let (time, answers) = self.by_workers.get(&serving).filter(|_| is_measured)?;
        (*time > SHORTEST_MEASURE).then(|| *answers as f64 / time.as_secs_f64())
    }

    /// All that was measured, fewest workers first.
    pub fn summary(&self) -> String {
        let rates = self.by_workers.iter().map(|(workers, (time, answers))| {
            format!(
                "{workers} workers {:.0}/s",
                *answers as f64 / time.as_secs_f64()
            )
        });
        rates.collect::<Vec<String>>().join(", ")
    }
}
