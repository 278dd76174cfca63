//! From nothing to the first vector of all-MiniLM-L6-v2, and to its second worker.

use std::cell::Cell;

use serde::Serialize;
use serde_json::json;

use crate::Failure;
use crate::arguments::Arguments;
use crate::embed;
use crate::environment::Environment;
use crate::neighbours::Neighbours;
use crate::peers::Peer;
use crate::real_models;
use crate::results::Page;
use crate::serve;
use crate::turns::{self, Contender, Table};

/// Everything that one run of the suite found.
#[derive(Debug, Serialize)]
struct Report {
    environment: Environment,
    threads: usize,
    first: Table,
    workers: Table,
}

/// Runs the suite, prints its table and keeps it.
///
/// # Errors
/// A contender that cannot be started or fails.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let folder = real_models::minilm();
    let mut environment = Environment::observe(&["modelpool", "candle-core"]);
    let mut neighbours = Neighbours::watch()?;
    for peer in [
        embed::onnxruntime(arguments, &folder)?,
        embed::sentence_transformers(arguments, &folder)?,
    ] {
        environment.add(peer.versions());
    }
    let threads = arguments.threads.to_string();
    let load = |mut peer: Peer, operation: &str| -> Result<f64, Failure> {
        let seconds: f64 = peer.ask(operation, json!({}))?;
        Ok(seconds * 1e3)
    };
    let serving = |operation: &str| {
        let with = [
            serve::ARGUMENT.as_ref(),
            folder.as_os_str(),
            threads.as_ref(),
        ];
        load(
            Peer::start_self("modelpool", arguments.threads, with)?,
            operation,
        )
    };
    let mut all = vec![
        Contender::ours("modelpool, from Pool::start", || serving("load")),
        Contender::ours("its encoder alone, no pool", || serving("load_bare")),
        Contender::peer("onnxruntime", || {
            load(embed::onnxruntime(arguments, &folder)?, "load")
        }),
        Contender::peer("sentence-transformers", || {
            load(embed::sentence_transformers(arguments, &folder)?, "load")
        }),
    ];
    #[cfg(feature = "candle-peer")]
    all.push(Contender::peer("candle", || serving("load_candle")));
    all.retain(|contender| arguments.wants(contender.name()));

    neighbours.check_idle();
    let turns = arguments.rounds_or(7, 2);
    let first = turns::take("to the first vector", "ms", turns, &mut neighbours, all)?;
    let starts = Starts::default();
    let measure = || -> Result<[f64; 2], Failure> {
        let with = [
            serve::ARGUMENT.as_ref(),
            folder.as_os_str(),
            threads.as_ref(),
        ];
        let mut peer = Peer::start_self("modelpool", arguments.threads, with)?;
        let seconds: [f64; 2] = peer.ask("first_and_second", json!({}))?;
        Ok(seconds.map(|seconds| seconds * 1e3))
    };
    let both = vec![
        Contender::ours("the second worker", || starts.take(1, measure)),
        Contender::ours("the first worker", || starts.take(0, measure)),
    ];
    let turns = arguments.rounds_or(7, 2);
    let workers = turns::take("until a worker serves", "ms", turns, &mut neighbours, both)?;
    environment.conclude();
    let report = Report {
        environment,
        threads: arguments.threads,
        first,
        workers,
    };
    report.page().publish(arguments.keep_results())
}

/// What the starts of a process's two workers took, kept until both contenders have had theirs.
#[derive(Default)]
struct Starts([Cell<Option<f64>>; 2]);

impl Starts {
    fn take(
        &self,
        number: usize,
        measure: impl Fn() -> Result<[f64; 2], Failure>,
    ) -> Result<f64, Failure> {
        if let Some(known) = self.0[number].take() {
            return Ok(known);
        }
        let both = measure()?;
        self.0[1 - number].set(Some(both[1 - number]));
        Ok(both[number])
    }
}

impl Report {
    fn page(&self) -> Page<'_, Self> {
        let markdown = format!(
            "# coldstart\n\n\
             How long a fresh process takes from its first look at the model's folder to the \
             first vector of all-MiniLM-L6-v2: configuration, weights, tokenizer and one short \
             text, with {threads} threads. The files are in the page cache; the libraries, \
             Python's too, are loaded already. For modelpool the pool is started within that \
             time too. candle's figure is what a model loaded for each call costs, each call.\n\n\
             The second table is of one process: from the pool's decision to start a worker until \
             that serves. The first loads the model; the second is started because the first is \
             busy, shares its weights, and competes with it for the cores.\n\n\
             {environment}\n{first}\n{workers}",
            threads = self.threads,
            environment = self.environment.to_markdown(),
            first = self.first.to_markdown(),
            workers = self.workers.to_markdown(),
        );
        Page {
            name: "coldstart",
            report: self,
            markdown,
            plots: vec![
                ("first", self.first.plot()),
                ("workers", self.workers.plot()),
            ],
        }
    }
}
