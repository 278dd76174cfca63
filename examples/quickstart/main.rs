//! A pool at work, told in six short acts: `cargo run --example quickstart`.
//!
//! It searches a few documents with the embedded model, or with `--model <folder or hub id>`, and
//! then makes a slowed-down model expand and crash. The exit status is 0 only if every request
//! was answered.

mod paced;
mod screen;
mod stage;

use std::error::Error;
use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use console::style;
use futures_util::future::join_all;
use modelpool::pool::core::MemoryBudget;
use modelpool::sources::HubModel;
use modelpool::{
    EmbedOptions, EmbedTask, Embedding, ModelError, ModelHandle, ModelSpec, Pool, PoolConfig,
    TextEmbedding,
};

use screen::{Screen, bar, column, short};
use stage::Stage;

type Failure = Box<dyn Error>;
type Embedder = ModelHandle<TextEmbedding>;

const USAGE: &str = "usage: quickstart [--model <folder or hub id>]";
/// One a line: a title, and the text that is embedded.
const DOCUMENTS: &str = include_str!("documents.txt");
/// A query, and the title of the document that it should find.
const QUERIES: [(&str, &str); 6] = [
    ("Italian dinner recipe", "pasta"),
    ("get my money back", "refund"),
    ("stock market losses", "shares"),
    ("art theft", "museum"),
    ("pictures from another planet", "mars"),
    ("how to teach my dog", "puppy"),
];
const BURST: usize = 600;
const BYSTANDERS: usize = 40;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let model = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => None,
        ["--model", model] => Some(model),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let screen = Screen::new();
    let outcome = perform(model, &screen).await;
    screen.clear();
    if let Err(failure) = outcome {
        eprintln!("failed: {failure}");
        let mut source = failure.source();
        while let Some(cause) = source {
            eprintln!("  because: {cause}");
            source = cause.source();
        }
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn perform(model: Option<&str>, screen: &Screen) -> Result<(), Failure> {
    let spec = match model {
        None => ModelSpec::embedded(),
        Some(model) => given_model(model, screen).await?,
    };
    let memory = match model {
        None => MemoryBudget::Megabytes(128),
        Some(_) => MemoryBudget::default(),
    };
    let pool = Pool::start(PoolConfig {
        memory,
        expand_after: Duration::from_millis(400),
        idle_after: Duration::from_secs(1),
        ..PoolConfig::default()
    });
    let mut stage = Stage::new(pool.await?, screen.clone());
    let embedder = register(&stage, spec.max_workers(2))?;
    stage.pause().await;
    cold_start(&mut stage, &embedder).await?;
    stage.pause().await;
    search(&mut stage, &embedder).await?;
    stage.pause().await;
    let paced = burst(&mut stage).await?;
    stage.pause().await;
    crash(&mut stage, &paced).await?;
    stage.pause().await;
    close(&mut stage).await;
    balance(&stage)
}

/// A model of the user's: in a folder of this machine, or else in a repository of the hub.
async fn given_model(name: &str, screen: &Screen) -> Result<ModelSpec<TextEmbedding>, ModelError> {
    if Path::new(name).exists() {
        return ModelSpec::<TextEmbedding>::folder(name);
    }
    screen.aside("No such folder, so the hub is asked for what its cache here does not hold.");
    let shown = screen.clone();
    let model = HubModel::new(name).progress(move |event| shown.download(&event));
    ModelSpec::<TextEmbedding>::hub(model).await
}

fn register(stage: &Stage, spec: ModelSpec<TextEmbedding>) -> Result<Embedder, Failure> {
    let screen = &stage.screen;
    screen.heading(
        1,
        "Register: the pool knows a model, and has loaded nothing",
    );
    screen.aside(
        "Set for this example: without --model the memory limit is 128 MiB (default:\n\
         80 % of memory); a worker that is idle for 1 s goes (default: 60 s).",
    );
    if screen.is_live() {
        screen.aside("After each act it waits for 0.8 s, so that you can read.");
    }
    let embedder = stage.pool.register(spec)?;
    let (info, status) = (embedder.info(), stage.pool.status());
    let (name, each, memory) = (&info.name, info.est_memory_allocation_mb, status.memory);
    let (threads, reserved, limit) = (status.threads, memory.reserved_mb, memory.limit_mb);
    screen.line(format!("  {name}: {each} MiB a worker, once there is one"));
    screen.line(format!(
        "  now: {threads} threads, {reserved} of {limit} MiB reserved"
    ));
    Ok(embedder)
}

async fn cold_start(stage: &mut Stage, embedder: &Embedder) -> Result<(), Failure> {
    stage
        .screen
        .heading(2, "First request: a cold start, from no worker to two");
    let answers = ask(stage, embedder, ["a first request"], EmbedTask::Default).await?;
    stage.watch_until(|seen| seen.ready >= 2).await;
    for (vector, took) in answers {
        let (dimensions, took) = (vector.len(), short(took));
        let text =
            format!("  {dimensions} dimensions, {took} after the call: loading is part of it");
        stage.line(text);
    }
    Ok(())
}

/// Asks for all texts at once. Each answer comes with the time that it took.
async fn ask(
    stage: &mut Stage,
    embedder: &Embedder,
    texts: impl IntoIterator<Item = impl Into<String>>,
    task: EmbedTask,
) -> Result<Vec<(Embedding, Duration)>, Failure> {
    let options = EmbedOptions {
        task,
        ..EmbedOptions::default()
    };
    let requests = texts.into_iter().map(|text| {
        let (text, options) = (text.into(), options.clone());
        async move {
            let started = Instant::now();
            let vector = embedder.embed_with(text, options).await?;
            Ok((vector, started.elapsed()))
        }
    });
    let results = stage.watch(join_all(requests)).await;
    stage.asked += results.len() as u64;
    stage.answered += results.iter().filter(|result| result.is_ok()).count() as u64;
    results.into_iter().collect()
}

async fn search(stage: &mut Stage, embedder: &Embedder) -> Result<(), Failure> {
    stage
        .screen
        .heading(3, "Search: a batch of documents, then queries by meaning");
    let documents: Vec<(&str, &str)> = DOCUMENTS
        .lines()
        .filter_map(|line| line.split_once(": "))
        .collect();
    let passage = EmbedOptions {
        task: EmbedTask::Passage,
        ..EmbedOptions::default()
    };
    let started = Instant::now();
    let batch = embedder.embed_batch_with(documents.iter().map(|(_, text)| *text), passage);
    let vectors = stage.watch(batch).await?;
    let took = short(started.elapsed());
    stage.asked += documents.len() as u64;
    stage.answered += vectors.len() as u64;
    stage.line(format!("  {} documents embedded in {took}", vectors.len()));

    let mut found = 0;
    for (query, expected) in QUERIES {
        for (vector, took) in ask(stage, embedder, [query], EmbedTask::Query).await? {
            let scores = vectors.iter().map(|document| cosine(&vector, document));
            let mut hits: Vec<_> = scores.zip(&documents).collect();
            hits.sort_by(|one, other| other.0.total_cmp(&one.0));
            found += hits
                .iter()
                .take(1)
                .filter(|(_, best)| best.0 == expected)
                .count();
            let (query, took) = (style(query).bold(), style(short(took)).dim());
            stage.line(format!("\n  {query}  {took}"));
            for (score, (_, text)) in hits.iter().take(3) {
                let text = console::truncate_str(text, 44, "…");
                stage.line(format!("    {score:.2} {}  {text}", bar((*score).into())));
            }
        }
    }
    let of = QUERIES.len();
    stage.line(format!(
        "\n  the expected document came first for {found} of {of} queries"
    ));
    Ok(())
}

fn cosine(one: &Embedding, other: &Embedding) -> f32 {
    let dot = |a: &Embedding, b: &Embedding| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    dot(one, other) / (dot(one, one) * dot(other, other)).sqrt()
}

async fn burst(stage: &mut Stage) -> Result<Embedder, Failure> {
    let screen = &stage.screen;
    screen.heading(4, "Burst: work waits, so the workers grow from two to four");
    screen.aside(
        "Slowed down to be seen: \"paced\" is the embedded model, whatever --model says,\n\
         in a wrapper that sleeps 20 ms a step and takes one text a step. A worker is\n\
         added when work has waited for 400 ms (default: 100 ms).",
    );
    let paced = stage.pool.register(paced::spec().max_workers(4))?;
    let texts = (0..BURST).map(|number| format!("text number {number} of a burst"));
    let started = Instant::now();
    let answers = ask(stage, &paced, texts, EmbedTask::Default).await?;
    let (count, took) = (answers.len(), short(started.elapsed()));
    stage.line(format!("  {count} of {BURST} answered in {took}"));
    stage.line(format!("  measured: {}", stage.pace.summary()));
    Ok(paced)
}

async fn crash(stage: &mut Stage, paced: &Embedder) -> Result<(), Failure> {
    stage
        .screen
        .heading(5, "Crash: a worker panics with a request in its hands");
    stage
        .screen
        .aside("Provoked: the paced model panics at a marked text, once. Others come along.");
    announce_panics(stage.screen.clone());
    let ready_before = stage.seen.ready;
    let others = (0..BYSTANDERS).map(|number| format!("bystander {number}"));
    let texts = std::iter::once(paced::FATAL_TEXT.to_owned()).chain(others);
    let answers = ask(stage, paced, texts, EmbedTask::Default).await?;
    stage
        .watch_until(|seen| seen.failed > 0 && seen.ready > ready_before)
        .await;
    if stage.seen.failed == 0 {
        return Err("the provoked crash did not happen".into());
    }
    if let [(_, marked), others @ ..] = &answers[..] {
        let (marked, others) = (short(*marked), others.len());
        let text = format!("  answered by another worker, {marked} after the call;");
        stage.line(format!("{text} {others} of {BYSTANDERS} others, too"));
    }
    Ok(())
}

/// One line for a paced worker's panic, in place of the message that Rust prints.
fn announce_panics(screen: Screen) {
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let Some(name) = thread.name().filter(|name| name.ends_with(paced::NAME)) else {
            return default_hook(panic);
        };
        let message = panic.payload_as_str().unwrap_or("no message");
        let line = format!("  {} thread {name} panics: {message}", style("!").red());
        // indicatif draws nothing on a thread that panics, so another one has to.
        let screen = screen.clone();
        drop(std::thread::spawn(move || screen.line(line)).join());
    }));
}

async fn close(stage: &mut Stage) {
    stage
        .screen
        .heading(6, "The ledger, an idle worker, shutdown");
    show_ledger(stage);
    let retired_before = stage.seen.retired;
    stage
        .watch_until(|seen| seen.retired > retired_before)
        .await;
    let pool = stage.pool.clone();
    let report = stage.watch(pool.shutdown(Duration::from_secs(5))).await;
    let (status, took) = (pool.status(), short(report.took));
    stage.line(format!(
        "  shut down in {took}: {} refused, {} abandoned; {} threads and {} MiB left",
        report.refused,
        report.abandoned.len(),
        status.threads,
        status.memory.reserved_mb,
    ));
}

fn show_ledger(stage: &Stage) {
    let row = |name: &str, cells: &[&dyn Display]| {
        let start = format!("  {}", column(name));
        cells
            .iter()
            .fold(start, |line, cell| format!("{line} {cell:>8}"))
    };
    let titles = [
        "workers", "MiB", "accepted", "answered", "crashes", "retried",
    ];
    let titles = row(
        "model",
        &titles.each_ref().map(|title| title as &dyn Display),
    );
    stage.line(style(titles).dim().to_string());
    let status = stage.pool.status();
    for model in &status.models {
        let (workers, counts) = (&model.workers, &model.metrics);
        let reserved: u64 = workers.iter().map(|worker| worker.reserved_mb).sum();
        let (crashes, retried) = (counts.worker_failures, counts.redelivered);
        stage.line(row(
            &model.name,
            &[
                &workers.len(),
                &reserved,
                &counts.accepted,
                &counts.answered,
                &crashes,
                &retried,
            ],
        ));
    }
    let memory = status.memory;
    let (limit, peak) = (memory.limit_mb, memory.peak_mb);
    let total = row("ledger", &[&status.threads, &memory.reserved_mb]);
    stage.line(format!("{total}  of {limit} MiB allowed; peak {peak} MiB"));
}

/// Compares what this program asked and got with the pool's own count.
fn balance(stage: &Stage) -> Result<(), Failure> {
    let (asked, got) = (stage.asked, stage.answered);
    let status = stage.pool.status();
    let metrics = || status.models.iter().map(|model| model.metrics);
    let accepted: u64 = metrics().map(|counts| counts.accepted).sum();
    let answered: u64 = metrics().map(|counts| counts.answered).sum();
    let pool_counts = format!("the pool counts {accepted} accepted, {answered} answered");
    if [got, accepted, answered] != [asked; 3] {
        return Err(format!("asked {asked}, answered {got}; {pool_counts}").into());
    }
    let tick = style("✓").green().bold();
    stage.line(format!(
        "\n{tick} every request is accounted for: asked {asked} = answered {got}"
    ));
    let (events, missed) = (stage.seen.events, stage.seen.missed);
    stage.line(format!(
        "  {pool_counts}; {events} events read, {missed} missed"
    ));
    Ok(())
}
