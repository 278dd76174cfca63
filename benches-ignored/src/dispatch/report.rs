//! The suite's results, for people and for programs.

use serde::Serialize;

use super::{CONTENDERS, Score};
use crate::environment::Environment;
use crate::plot::{self, Line};
use crate::results::Page;

/// Everything that one run of the suite found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) environment: Environment,
    pub(super) rounds: usize,
    pub(super) round_seconds: f64,
    pub(super) workers: usize,
    pub(super) runtime_threads: usize,
    pub(super) scores: Vec<Score>,
}

/// What stands above the table.
const INTRODUCTION: &str = "\
A request of one `u64` to a model that answers with it at once; each caller is a task that sends,
awaits the answer, and sends again. The contenders take turns, round by round, in one process:

1. **bare**: the request and a tokio oneshot over one shared crossbeam channel to the threads;
2. **mailbox**: the same, behind one ractor actor for each thread, callers taking turns over them;
3. **batched**: as *mailbox*, but a thread takes what waits, up to 64, before it answers, as the
   pool's workers do: what remains between it and the pool is the pool's own work;
4. **modelpool**: `ModelHandle::ask` with as many workers, 64 requests to a step at most.

Figures are the median of the rounds [lowest–highest]. CPU is the process's CPU time for one
request, callers and actors included. A ratio sets a contender against another in the same turn:
time per request (1.00 = as fast, 2.00 = half the requests a second) and CPU time per request.
Turns: how many passed undisturbed by other processes; only those count where there are 3 or more.
Others: how many cores other processes kept busy in the turns that count.
";

impl Report {
    /// The results as a page.
    fn to_markdown(&self) -> String {
        let rows: String = self.scores.iter().map(row).collect();
        format!(
            "# dispatch\n\n{INTRODUCTION}\n{environment}- {rounds} undisturbed turns wanted, {seconds} s for each round; \
             {workers} worker threads for each contender, {runtime_threads} threads of the tokio \
             runtime; no tracing subscriber, no metrics recorder\n\n\
             | callers | contender | requests/s | p50 µs | p99 µs | CPU µs{ratios} | turns | others |\n\
             | ---: | --- | ---: | ---: | ---: | ---:{rules} | ---: | ---: |\n{rows}",
            environment = self.environment.to_markdown(),
            rounds = self.rounds,
            seconds = self.round_seconds,
            workers = self.workers,
            runtime_threads = self.runtime_threads,
            ratios = self.ratio_columns(|to| format!(" | time ÷ {to} | CPU ÷ {to}")),
            rules = self.ratio_columns(|_| " | ---: | ---:".to_owned()),
        )
    }

    fn plot(&self) -> String {
        let contenders = CONTENDERS.iter().filter_map(|contender| {
            let scores = self.scores.iter();
            let points: Vec<(f64, f64)> = scores
                .filter(|score| score.contender == *contender)
                .map(|score| (score.callers as f64, 1e6 / score.requests_per_second.median))
                .collect();
            let label = (*contender).to_owned();
            (!points.is_empty()).then_some(Line { label, points })
        });
        let lines: Vec<Line> = contenders.collect();
        plot::lines("time per request", "µs", "callers", &lines)
    }

    fn ratio_columns(&self, column: impl Fn(&str) -> String) -> String {
        let ratios = self.scores.first().map(|score| score.ratios.as_slice());
        let baselines = ratios.unwrap_or_default().iter().map(|ratio| ratio.to);
        baselines.map(column).collect()
    }

    /// All of it, ready to be shown and kept.
    pub(super) fn page(&self) -> Page<'_, Self> {
        Page {
            name: "dispatch",
            report: self,
            markdown: self.to_markdown(),
            plots: vec![("time", self.plot())],
        }
    }
}

fn row(score: &Score) -> String {
    let ratios = score.ratios.iter();
    let ratios: String = ratios
        .map(|ratio| format!(" | {} | {}", ratio.time, ratio.cpu))
        .collect();
    format!(
        "| {callers} | {contender} | {rate} | {p50} | {p99} | {cpu}{ratios} | {undisturbed} of {tried} | {others} |\n",
        callers = score.callers,
        contender = score.contender,
        rate = score.requests_per_second.written(thousands),
        p50 = score.p50_micros.written(micros),
        p99 = score.p99_micros.written(micros),
        cpu = score.cpu_micros_per_request,
        undisturbed = score.turns_undisturbed,
        tried = score.turns_tried,
        others = score.others_cores,
    )
}

/// A rate in thousands.
fn thousands(rate: f64) -> String {
    format!("{:.0} k", rate / 1e3)
}

/// Microseconds, with no more digits than mean anything.
fn micros(value: f64) -> String {
    if value < 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}
