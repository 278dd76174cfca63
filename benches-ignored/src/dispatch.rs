//! What it costs to reach a model that does nothing, and to be answered.
//!
//! Four ways to bring the same `u64` to the same number of OS threads and back: a channel alone,
//! a channel behind one actor's mailbox, the same with threads that take many requests at once,
//! and a pool. They are measured in turn, round by round,
//! so that whatever else the machine does meets all of them alike.

mod bare;
pub(crate) mod mailbox;
pub(crate) mod pooled;
mod report;
pub(crate) mod round;

use std::time::Duration;

use serde::Serialize;

use crate::Failure;
use crate::arguments::Arguments;
use crate::environment::Environment;
use crate::neighbours::{DISTURBED, Neighbours};
use crate::summary::Spread;
use report::Report;
use round::Round;

/// Threads that answer, for each contender.
const WORKERS: usize = 2;
/// Threads of the tokio runtime that the callers and the actors share.
const RUNTIME_THREADS: usize = 2;
/// How many requests the threads of `batched` and of the pool take into one step.
pub(crate) const STEP_LIMIT: usize = 64;
/// The longest that a contender is warmed up for.
const WARM_UP: Duration = Duration::from_millis(500);

/// One way to have a request answered.
pub(crate) trait Contender: Clone + Send + Sync + 'static {
    /// Sends the request and waits for its answer.
    fn ask(&self, request: u64) -> impl Future<Output = Result<u64, Failure>> + Send;
}

/// How many turns are tried at most for each that is wanted undisturbed.
const ATTEMPTS: usize = 2;
/// With fewer undisturbed turns than this, the disturbed ones count too.
const ENOUGH: usize = 3;

/// The contenders by name, in the order in which they take turns.
const CONTENDERS: [&str; 4] = ["bare", "mailbox", "batched", "modelpool"];
/// Those that the others are compared with.
const BASELINES: [&str; 2] = ["mailbox", "batched"];

/// What one contender did with one number of callers, in the turns that count.
#[derive(Debug, Clone, Serialize)]
struct Score {
    contender: &'static str,
    callers: usize,
    turns_tried: usize,
    turns_undisturbed: usize,
    requests_per_second: Spread,
    p50_micros: Spread,
    p99_micros: Spread,
    /// CPU time of the whole process for one request: callers, actors and workers.
    cpu_micros_per_request: Spread,
    /// How many cores other processes kept busy meanwhile.
    others_cores: Spread,
    /// Set against each of [`BASELINES`] that was measured too.
    ratios: Vec<Ratio>,
    rounds: Vec<Round>,
}

/// One contender set against another, turn by turn.
#[derive(Debug, Clone, Serialize)]
struct Ratio {
    to: &'static str,
    /// Time per request over the other's in the same turn.
    time: Spread,
    /// CPU time per request over the other's in the same turn.
    cpu: Spread,
}

/// Runs the suite, prints its table and keeps it.
///
/// # Errors
/// A contender that cannot be started or does not answer, or results that cannot be written.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let packages = ["modelpool", "ractor", "crossbeam-channel", "tokio"];
    let mut environment = Environment::observe(&packages);
    let rounds = arguments.rounds_or(7, 3);
    let round_time = arguments.round_time_or(Duration::from_secs(1), Duration::from_millis(300));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()?;
    let scores = runtime.block_on(measure(arguments, rounds, round_time))?;
    environment.conclude();
    let report = Report {
        environment,
        rounds,
        round_seconds: round_time.as_secs_f64(),
        workers: WORKERS,
        runtime_threads: RUNTIME_THREADS,
        scores,
    };
    report.page().publish(arguments.keep_results())
}

async fn measure(
    arguments: &Arguments,
    rounds: usize,
    round_time: Duration,
) -> Result<Vec<Score>, Failure> {
    let all_callers = arguments.callers.clone().unwrap_or(vec![1, 64, 1000]);
    let bare = bare::Bare::start(WORKERS, 1)?;
    let mailbox = mailbox::Mailbox::start(WORKERS, 1).await?;
    let batched = mailbox::Mailbox::start(WORKERS, STEP_LIMIT).await?;
    let (pool, pooled) = pooled::start(WORKERS, &all_callers).await?;
    let contenders: Vec<&'static str> = CONTENDERS
        .into_iter()
        .filter(|name| arguments.wants(name))
        .collect();

    let mut neighbours = Neighbours::watch()?;
    neighbours.check_idle();
    let mut scores = Vec::new();
    for &callers in &all_callers {
        let turn = async |name: &str, time: Duration, watch: &mut Neighbours| match name {
            "bare" => round::run(&bare, callers, time, watch).await,
            "mailbox" => round::run(&mailbox, callers, time, watch).await,
            "batched" => round::run(&batched, callers, time, watch).await,
            _ => round::run(&pooled, callers, time, watch).await,
        };
        for name in &contenders {
            let warm_up = WARM_UP.min(round_time);
            turn(name, warm_up, &mut neighbours).await?;
        }
        let mut turns = Vec::new();
        let mut undisturbed = 0;
        while undisturbed < rounds && turns.len() < rounds * ATTEMPTS {
            eprint!("{callers} callers:");
            neighbours.rest();
            let mut turn_rounds = Vec::new();
            for name in &contenders {
                let round = turn(name, round_time, &mut neighbours).await?;
                eprint!("  {name} {:.0}/s", round.requests_per_second);
                turn_rounds.push(round);
            }
            let quiet = is_undisturbed(&turn_rounds);
            eprintln!("{}", if quiet { "" } else { "  (disturbed)" });
            undisturbed += usize::from(quiet);
            turns.push(turn_rounds);
        }
        scores.extend(scored(&contenders, callers, turns));
    }
    let report = pool.shutdown(Duration::from_secs(5)).await;
    eprintln!("pool shut down: {report:?}");
    Ok(scores)
}

fn is_undisturbed(turn: &[Round]) -> bool {
    turn.iter().all(|round| round.others_cores <= DISTURBED)
}

fn scored(contenders: &[&'static str], callers: usize, mut turns: Vec<Vec<Round>>) -> Vec<Score> {
    let tried = turns.len();
    let undisturbed = turns.iter().filter(|turn| is_undisturbed(turn)).count();
    if undisturbed >= ENOUGH.min(tried) {
        turns.retain(|turn| is_undisturbed(turn));
    }
    let ratios =
        |own: usize| {
            let baselines = contenders.iter().enumerate();
            baselines
                .filter(|(_, name)| BASELINES.contains(*name))
                .map(|(theirs, &to)| Ratio {
                    to,
                    time: Spread::of(turns.iter().map(|turn| {
                        turn[theirs].requests_per_second / turn[own].requests_per_second
                    })),
                    cpu: Spread::of(turns.iter().map(|turn| {
                        turn[own].cpu_micros_per_request / turn[theirs].cpu_micros_per_request
                    })),
                })
                .collect()
        };
    let score = |(own, &contender): (usize, &&'static str)| {
        let spread = |of: fn(&Round) -> f64| Spread::of(turns.iter().map(|turn| of(&turn[own])));
        Score {
            contender,
            callers,
            turns_tried: tried,
            turns_undisturbed: undisturbed,
            requests_per_second: spread(|round| round.requests_per_second),
            p50_micros: spread(|round| round.p50_micros),
            p99_micros: spread(|round| round.p99_micros),
            cpu_micros_per_request: spread(|round| round.cpu_micros_per_request),
            others_cores: spread(|round| round.others_cores),
            ratios: ratios(own),
            rounds: turns.iter().map(|turn| turn[own].clone()).collect(),
        }
    };
    contenders.iter().enumerate().map(score).collect()
}
