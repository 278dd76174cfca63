//! Hundreds of loads and unloads of real models in one process: what it keeps.
//!
//! `tests/resident.rs` does the same in short. As there, glibc is told to keep little at the end of its
//! arenas, so that what is left is the pool's and the models' own. Growth counts from the tenth part of the
//! cycles on: before that, allocators and the runtime take what they keep for good. With `--seconds 1200`
//! each model is soaked for at least twenty minutes, and what grows after the tenth is told apart.

mod cycles;

use std::time::{Duration, Instant};

use modelpool::{ModelSpec, TextEmbedding};
use serde::Serialize;

use crate::Failure;
use crate::arguments::Arguments;
use crate::environment::Environment;
use crate::real_models;
use crate::results::Page;
use cycles::{Cycle, Soaked, cycle, growth, pool};

const RUNTIME_THREADS: usize = 2;
/// From here on nothing may grow any more.
const SETTLED_AFTER: Duration = Duration::from_secs(600);
/// Cycles that a median needs.
const FEW: usize = 25;
const TRIM_SETTING: &str = "MALLOC_TRIM_THRESHOLD_";

#[derive(Debug, Serialize)]
struct Row {
    model: &'static str,
    cycles: usize,
    seconds: f64,
    loaded_mib: f64,
    first_unloaded_mib: f64,
    last_unloaded_mib: f64,
    /// The most that one unload left above the state before the counted cycles, as a share of it.
    worst_growth: f64,
    /// The most that one unload left above what there was before its own load.
    worst_cycle: f64,
    /// Growth of the last tenth of the cycles, by its median.
    final_growth: f64,
    /// The same against the first cycles after the tenth minute, where there are enough of them.
    growth_after_ten_minutes: Option<f64>,
    threads_before: usize,
    threads_most: usize,
}

#[derive(Debug, Serialize)]
struct Report {
    environment: Environment,
    rows: Vec<Row>,
}

/// Runs the suite, prints its table and keeps it.
///
/// # Errors
/// A model that cannot be had, a request that fails, or a model that stays loaded.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if std::env::var_os(TRIM_SETTING).is_none() {
        return again_with_trimming();
    }
    let mut environment = Environment::observe(&["modelpool", "candle-core", "tokio"]);
    let rounds = arguments.rounds_or(500, 20);
    let at_least = arguments.round_time.unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()?;
    let rows = runtime.block_on(soak(arguments, rounds, at_least))?;
    environment.conclude();
    let report = Report { environment, rows };
    let page = Page {
        name: "soak",
        markdown: report.to_markdown(),
        report: &report,
        plots: Vec::new(),
    };
    page.publish(arguments.keep_results())
}

/// glibc reads its settings when a process starts.
fn again_with_trimming() -> Result<(), Failure> {
    let status = std::process::Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(TRIM_SETTING, "131072")
        .status()?;
    if status.success() {
        return Ok(());
    }
    Err(format!("the soaked process ended with {status}").into())
}

async fn soak(
    arguments: &Arguments,
    rounds: usize,
    at_least: Duration,
) -> Result<Vec<Row>, Failure> {
    let pool = pool().await;
    let mut rows = Vec::new();
    for name in ["embedded", "MiniLM", "SmolLM2"] {
        if !arguments.wants(name) {
            continue;
        }
        let model = match name {
            "embedded" => Soaked::embedder(&pool, ModelSpec::embedded()),
            "MiniLM" => {
                let spec = ModelSpec::<TextEmbedding>::folder(real_models::minilm())?;
                Soaked::embedder(&pool, spec)
            }
            _ => Soaked::writer(&pool, &real_models::smollm2()),
        };
        let started = Instant::now();
        let mut all = Vec::new();
        while all.len() < rounds || started.elapsed() < at_least {
            let done = cycle(&pool, &model).await?;
            all.push((started.elapsed(), done));
            if all.len() % 50 == 0 {
                eprintln!("{name}: {} cycles, {done:?}", all.len());
            }
        }
        rows.push(row(name, &all));
    }
    pool.shutdown(Duration::from_secs(5)).await;
    Ok(rows)
}

fn row(model: &'static str, timed: &[(Duration, Cycle)]) -> Row {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let all: Vec<Cycle> = timed.iter().map(|(_, cycle)| *cycle).collect();
    let late: Vec<u64> = timed
        .iter()
        .filter(|(at, _)| *at >= SETTLED_AFTER)
        .map(|(_, cycle)| cycle.unloaded.resident_bytes)
        .collect();
    let settled = (all.len() / 10).min(all.len().saturating_sub(1));
    let counted = &all[settled..];
    let before = all.get(settled.saturating_sub(1)).or(all.first());
    let before = before.map(|cycle| cycle.unloaded).unwrap_or_default();
    let grown = |cycle: &Cycle| growth(before.resident_bytes, cycle.unloaded.resident_bytes);
    let last_tenth = &all[all.len() - (all.len() / 10).clamp(1, all.len())..];
    let last = last_tenth.iter().map(|cycle| cycle.unloaded.resident_bytes);
    let last = median(last.collect());
    let worst_cycle = all[settled.saturating_sub(1)..]
        .windows(2)
        .map(|pair| {
            growth(
                pair[0].unloaded.resident_bytes,
                pair[1].unloaded.resident_bytes,
            )
        })
        .fold(f64::MIN, f64::max);
    Row {
        model,
        cycles: all.len(),
        seconds: timed.last().map_or(0.0, |(at, _)| at.as_secs_f64()),
        loaded_mib: counted
            .iter()
            .map(|cycle| mib(cycle.loaded.resident_bytes))
            .fold(0.0, f64::max),
        first_unloaded_mib: mib(before.resident_bytes),
        last_unloaded_mib: last_tenth
            .last()
            .map_or(0.0, |cycle| mib(cycle.unloaded.resident_bytes)),
        worst_growth: counted.iter().map(grown).fold(f64::MIN, f64::max),
        worst_cycle,
        final_growth: growth(before.resident_bytes, last),
        growth_after_ten_minutes: (late.len() >= FEW)
            .then(|| growth(median(late[..FEW].to_vec()), last)),
        threads_before: before.threads,
        threads_most: counted
            .iter()
            .map(|cycle| cycle.unloaded.threads)
            .max()
            .unwrap_or_default(),
    }
}

fn median(mut bytes: Vec<u64>) -> u64 {
    bytes.sort_unstable();
    bytes.get(bytes.len() / 2).copied().unwrap_or_default()
}

impl Report {
    fn to_markdown(&self) -> String {
        let mut page = format!(
            "# soak\n\n\
             Each cycle asks a model that is not loaded eight times at once (two workers start), then \
             waits until it is unloaded; `{TRIM_SETTING}=131072`. Resident set and threads are those of the whole process; \
             growth is counted from a tenth of the cycles on. *One cycle*: the most that an unload left above what \
             there was before its own load; *worst*: after any one unload, since the beginning; *end*: the \
             median of the last tenth; *from the tenth minute*: the same against the first {FEW} cycles after \
             it.\n\n{}\n\
             | model | cycles | seconds | loaded MiB | unloaded MiB, before → last | one cycle | worst | end | from the tenth minute | threads, before → most |\n\
             | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
            self.environment.to_markdown()
        );
        for row in &self.rows {
            page.push_str(&format!(
                "| {} | {} | {:.0} | {:.0} | {:.1} → {:.1} | {:.2} % | {:.2} % | {:.2} % | {} | {} → {} |\n",
                row.model,
                row.cycles,
                row.seconds,
                row.loaded_mib,
                row.first_unloaded_mib,
                row.last_unloaded_mib,
                row.worst_cycle * 100.0,
                row.worst_growth * 100.0,
                row.final_growth * 100.0,
                row.growth_after_ten_minutes
                    .map_or("–".to_owned(), |growth| format!("{:.2} %", growth * 100.0)),
                row.threads_before,
                row.threads_most,
            ));
        }
        page
    }
}
