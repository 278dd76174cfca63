//! Whether a request costs more where many ask, and where many models are registered.

use std::sync::Arc;
use std::time::Duration;

use modelpool::pool::core::{ModelHandle, Pool, PoolConfig};
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::Failure;
use crate::arguments::Arguments;
use crate::dispatch::mailbox::Mailbox;
use crate::dispatch::pooled::{Echo, spec};
use crate::dispatch::{Contender, STEP_LIMIT, round};
use crate::environment::Environment;
use crate::neighbours::Neighbours;
use crate::results::Page;
use crate::turns::{self, Table};

const CALLERS: [usize; 5] = [1, 10, 100, 1_000, 10_000];
const MODELS: [usize; 4] = [1, 10, 100, 1_000];
/// How many callers ask where the number of models varies.
const SOME_CALLERS: usize = 64;
const RUNTIME_THREADS: usize = 2;

/// Everything that one run of the suite found.
#[derive(Debug, Serialize)]
struct Report {
    environment: Environment,
    round_seconds: f64,
    tables: Vec<Table>,
}

/// Models, or what takes their place, that are asked in turn.
struct Asked<T>(Arc<[T]>);

impl<T> Clone for Asked<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Contender> Contender for Asked<T> {
    async fn ask(&self, request: u64) -> Result<u64, Failure> {
        // The upper half tells the caller, the lower half counts: neighbours ask neighbours.
        let turn = (request >> 32) + (request & u64::from(u32::MAX));
        let models = self.0.len() as u64;
        self.0[(turn % models) as usize].ask(request).await
    }
}

impl Contender for ModelHandle<Echo> {
    async fn ask(&self, request: u64) -> Result<u64, Failure> {
        Ok(Self::ask(self, request).await?)
    }
}

/// Runs the suite, prints its tables and keeps them.
///
/// # Errors
/// A request that is not answered.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut environment = Environment::observe(&["modelpool", "ractor", "tokio"]);
    let time = arguments.round_time_or(Duration::from_secs(1), Duration::from_millis(300));
    let turns = arguments.rounds_or(7, 2);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()?;
    let mut neighbours = Neighbours::watch()?;
    neighbours.check_idle();
    let mut tables = Vec::new();

    let (pool, models) = runtime.block_on(pool_of(1, 2))?;
    let asked = Asked(models.into());
    let contender = |callers: usize| {
        let (runtime, asked) = (&runtime, &asked);
        turns::Contender::ours(with_unit(callers, "caller"), move || {
            runtime.block_on(cost(asked, callers, time))
        })
    };
    let callers = arguments.callers.clone().unwrap_or(CALLERS.to_vec());
    let all = callers.into_iter().map(contender).collect();
    let title = "callers of one model with two workers";
    tables.push(turns::take(title, UNIT, turns, &mut neighbours, all)?);
    runtime.block_on(pool.shutdown(Duration::from_secs(5)));

    let mut pools = Vec::new();
    for count in MODELS {
        pools.push((count, runtime.block_on(pool_of(count, 1))?));
    }
    for (title, only_first) in [
        ("registered models, of which one is asked", true),
        ("registered models, all asked in turn", false),
    ] {
        let contender = |(count, (_, models)): &(usize, (Pool, Vec<ModelHandle<Echo>>))| {
            let some = if only_first { &models[..1] } else { models };
            let (runtime, asked) = (&runtime, Asked(some.into()));
            turns::Contender::ours(with_unit(*count, "model"), move || {
                runtime.block_on(cost(&asked, SOME_CALLERS, time))
            })
        };
        let all = pools.iter().map(contender).collect();
        tables.push(turns::take(title, UNIT, turns, &mut neighbours, all)?);
    }
    tables.push(beside_mailboxes(
        &runtime,
        &pools[pools.len() - 1].1.1,
        (time, turns),
        &mut neighbours,
    )?);
    for (_, (pool, _)) in &pools {
        runtime.block_on(pool.shutdown(Duration::from_secs(5)));
    }
    environment.conclude();
    let report = Report {
        environment,
        round_seconds: time.as_secs_f64(),
        tables,
    };
    report.page().publish(arguments.keep_results())
}

/// What it costs to ask as many models in turn as there are mailboxes with a thread behind each.
fn beside_mailboxes(
    runtime: &Runtime,
    models: &[ModelHandle<Echo>],
    (time, turns): (Duration, usize),
    neighbours: &mut Neighbours,
) -> Result<Table, Failure> {
    let mailboxes = runtime.block_on(async {
        let mut mailboxes = Vec::with_capacity(models.len());
        for _ in models {
            mailboxes.push(Mailbox::start(1, STEP_LIMIT).await?);
        }
        Ok::<_, Failure>(mailboxes)
    })?;
    let (models, mailboxes) = (Asked(models.into()), Asked(mailboxes.into()));
    let count = models.0.len();
    let contenders = vec![
        turns::Contender::ours(with_unit(count, "model"), || {
            runtime.block_on(cost(&models, SOME_CALLERS, time))
        }),
        turns::Contender::peer(with_unit(count, "mailbox"), || {
            runtime.block_on(cost(&mailboxes, SOME_CALLERS, time))
        }),
    ];
    let title = "models beside bare mailboxes, all asked in turn";
    turns::take(title, UNIT, turns, neighbours, contenders)
}

const UNIT: &str = "CPU µs per request";

/// A pool with so many models, each served by `workers` workers that have started.
async fn pool_of(models: usize, workers: usize) -> Result<(Pool, Vec<ModelHandle<Echo>>), Failure> {
    let pool = Pool::start(PoolConfig {
        cold_start_workers: workers,
        // Nobody goes while the others are measured.
        idle_after: Duration::from_secs(3600),
        ..PoolConfig::default()
    })
    .await?;
    let mut handles = Vec::with_capacity(models);
    for number in 0..models {
        let handle = pool.register(spec(format!("echo {number}"), workers, 20_000))?;
        pool.warm(&handle).await?;
        handles.push(handle);
    }
    Ok((pool, handles))
}

/// CPU time of the whole process for one request, in µs.
async fn cost(asked: &impl Contender, callers: usize, time: Duration) -> Result<f64, Failure> {
    let round = round::run(asked, callers, time, &mut Neighbours::watch()?).await?;
    Ok(round.cpu_micros_per_request)
}

fn with_unit(count: usize, unit: &str) -> String {
    let ending = match unit {
        _ if count == 1 => "",
        "mailbox" => "es",
        _ => "s",
    };
    format!("{count} {unit}{ending}")
}

impl Report {
    fn page(&self) -> Page<'_, Self> {
        let tables: Vec<String> = self.tables.iter().map(Table::to_markdown).collect();
        let markdown = format!(
            "# scale\n\n\
             The whole process's CPU time for one request of a `u64` to a model that answers with \
             it at once: callers, actors and workers ({RUNTIME_THREADS} threads of the tokio \
             runtime, rounds of {seconds} s). First with more and more callers; then {SOME_CALLERS} \
             callers, more and more models registered and loaded, one worker each: one model is \
             asked, or all in turn. Where each request goes to another thread than the last, none \
             can be taken along with another, and each wakes a thread; that is what the third table shows. \
             The last sets it beside what the same costs without a pool: as many ractor actors, each with a channel to a \
             thread of its own.\n\n\
             {environment}\n{tables}",
            seconds = self.round_seconds,
            environment = self.environment.to_markdown(),
            tables = tables.join("\n"),
        );
        let ends = ["callers", "one-asked", "all-asked", "mailboxes"];
        let plots = ends.into_iter().zip(self.tables.iter().map(Table::plot));
        Page {
            name: "scale",
            report: self,
            markdown,
            plots: plots.collect(),
        }
    }
}
