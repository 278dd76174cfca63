//! From nothing to the first vector of all-MiniLM-L6-v2.

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
    environment.conclude();
    let report = Report {
        environment,
        threads: arguments.threads,
        first,
    };
    report.page().publish(arguments.keep_results())
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
             {environment}\n{first}",
            threads = self.threads,
            environment = self.environment.to_markdown(),
            first = self.first.to_markdown(),
        );
        Page {
            name: "coldstart",
            report: self,
            markdown,
            plots: vec![("first", self.first.plot())],
        }
    }
}
