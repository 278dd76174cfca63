//! What it costs to reach a model that does nothing, and to be answered.
//!
//! Four ways to bring the same `u64` to the same number of OS threads and back: a channel alone,
//! a channel behind one actor's mailbox, the same with threads that take many requests at once,
//! and a pool. They are measured in turn, round by round,
//! so that whatever else the machine does meets all of them alike.

mod bare;
mod mailbox;
mod pooled;
mod report;
mod round;

use std::time::Duration;

use serde::Serialize;

use crate::Failure;
use crate::arguments::Arguments;
use crate::environment::Environment;
use crate::summary::Spread;
use report::Report;
use round::Round;

/// Threads that answer, for each contender.
const WORKERS: usize = 2;
/// Threads of the tokio runtime that the callers and the actors share.
const RUNTIME_THREADS: usize = 2;
/// How many requests the threads of `batched` and of the pool take into one step.
const STEP_LIMIT: usize = 64;
/// The longest that a contender is warmed up for.
const WARM_UP: Duration = Duration::from_millis(500);

/// One way to have a request answered.
trait Contender: Clone + Send + Sync + 'static {
    /// Sends the request and waits for its answer.
    fn ask(&self, request: u64) -> impl Future<Output = Result<u64, Failure>> + Send;
}

/// The contenders by name, in the order in which they take turns.
const CONTENDERS: [&str; 4] = ["bare", "mailbox", "batched", "modelpool"];
/// Those that the others are compared with.
const BASELINES: [&str; 2] = ["mailbox", "batched"];

/// What one contender did in all rounds with one number of callers.
#[derive(Debug, Clone, Serialize)]
struct Score {
    contender: &'static str,
    callers: usize,
    requests_per_second: Spread,
    p50_micros: Spread,
    p99_micros: Spread,
    /// CPU time of the whole process for one request: callers, actors and workers.
    cpu_micros_per_request: Spread,
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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()?;
    let scores = runtime.block_on(measure(arguments))?;
    environment.conclude();
    let report = Report {
        environment,
        rounds: arguments.rounds,
        round_seconds: arguments.round_time.as_secs_f64(),
        workers: WORKERS,
        runtime_threads: RUNTIME_THREADS,
        scores,
    };
    println!("\n{}", report.to_markdown());
    if arguments.keep_results {
        report.write()?;
    }
    Ok(())
}

async fn measure(arguments: &Arguments) -> Result<Vec<Score>, Failure> {
    let bare = bare::Bare::start(WORKERS, 1)?;
    let mailbox = mailbox::Mailbox::start(WORKERS, 1).await?;
    let batched = mailbox::Mailbox::start(WORKERS, STEP_LIMIT).await?;
    let (pool, pooled) = pooled::start(WORKERS, &arguments.callers).await?;
    let contenders: Vec<&'static str> = CONTENDERS
        .into_iter()
        .filter(|name| arguments.only.is_empty() || arguments.only.iter().any(|only| only == name))
        .collect();

    let mut scores = Vec::new();
    for &callers in &arguments.callers {
        let turn = async |name: &str, time: Duration| match name {
            "bare" => round::run(&bare, callers, time).await,
            "mailbox" => round::run(&mailbox, callers, time).await,
            "batched" => round::run(&batched, callers, time).await,
            _ => round::run(&pooled, callers, time).await,
        };
        for name in &contenders {
            turn(name, WARM_UP.min(arguments.round_time)).await?;
        }
        let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); contenders.len()];
        for number in 1..=arguments.rounds {
            eprint!("{callers} callers, round {number}/{}:", arguments.rounds);
            for (name, rounds) in contenders.iter().zip(&mut rounds) {
                let round = turn(name, arguments.round_time).await?;
                eprint!("  {name} {:.0}/s", round.requests_per_second);
                rounds.push(round);
            }
            eprintln!();
        }
        scores.extend(scored(&contenders, callers, &rounds));
    }
    let report = pool.shutdown(Duration::from_secs(5)).await;
    eprintln!("pool shut down: {report:?}");
    Ok(scores)
}

fn scored(contenders: &[&'static str], callers: usize, rounds: &[Vec<Round>]) -> Vec<Score> {
    let ratios = |own: &[Round]| {
        let baselines = contenders.iter().zip(rounds);
        baselines
            .filter(|(name, _)| BASELINES.contains(*name))
            .map(|(&to, theirs)| Ratio {
                to,
                time: Spread::of(
                    theirs
                        .iter()
                        .zip(own)
                        .map(|(theirs, own)| theirs.requests_per_second / own.requests_per_second),
                ),
                cpu: Spread::of(theirs.iter().zip(own).map(|(theirs, own)| {
                    own.cpu_micros_per_request / theirs.cpu_micros_per_request
                })),
            })
            .collect()
    };
    let score = |(&contender, own): (&&'static str, &Vec<Round>)| {
        let spread = |of: fn(&Round) -> f64| Spread::of(own.iter().map(of));
        Score {
            contender,
            callers,
            requests_per_second: spread(|round| round.requests_per_second),
            p50_micros: spread(|round| round.p50_micros),
            p99_micros: spread(|round| round.p99_micros),
            cpu_micros_per_request: spread(|round| round.cpu_micros_per_request),
            ratios: ratios(own),
            rounds: own.clone(),
        }
    };
    contenders.iter().zip(rounds).map(score).collect()
}
