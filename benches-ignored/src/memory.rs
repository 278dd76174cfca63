//! What a process that serves all-MiniLM-L6-v2 holds in memory, seen from outside.

use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use crate::Failure;
use crate::arguments::Arguments;
use crate::corpus::Corpus;
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
    texts: usize,
    fingerprint: String,
    whole: Table,
    model: Table,
}

/// Runs the suite, prints its tables and keeps them.
///
/// # Errors
/// A contender that cannot be started or fails.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let folder = real_models::minilm();
    let mut environment = Environment::observe(&["modelpool", "candle-core"]);
    let texts = Corpus::seeded(1).mixed(if arguments.quick { 32 } else { 128 });
    let turns = arguments.rounds_or(3, 1);
    let mut neighbours = Neighbours::watch()?;
    for peer in [
        embed::onnxruntime(arguments, &folder)?,
        embed::sentence_transformers(arguments, &folder)?,
    ] {
        environment.add(peer.versions());
    }
    let mut table = |title: &str, count_empty: bool| {
        let resident = |peer: Peer, load: (&str, Value), corpus: Value| {
            resident_after(peer, load, &texts, corpus, count_empty)
        };
        let pooled = |workers: usize| {
            let peer = serving(arguments, &folder)?;
            resident(peer, ("load", json!({ "workers": workers })), json!({}))
        };
        let onnx = |corpus: Value| {
            let peer = embed::onnxruntime(arguments, &folder)?;
            resident(peer, ("load", json!({})), corpus)
        };
        let mut all = vec![
            Contender::ours("modelpool, 1 worker", || pooled(1)),
            Contender::ours("modelpool, 2 workers", || pooled(2)),
            Contender::peer("onnxruntime, batches of 8 sorted", || {
                onnx(json!({"batch": 8, "ordered": true}))
            }),
            Contender::peer("onnxruntime, batches of 32 as they come", || {
                onnx(json!({"batch": 32, "ordered": false}))
            }),
            Contender::peer("sentence-transformers, batches of 32 sorted", || {
                let peer = embed::sentence_transformers(arguments, &folder)?;
                resident(peer, ("load", json!({})), json!({"batch": 32}))
            }),
        ];
        #[cfg(feature = "candle-peer")]
        all.push(Contender::peer(
            "candle, batches of 32 as they come",
            || {
                let peer = serving(arguments, &folder)?;
                resident(peer, ("load_candle", json!({})), json!({}))
            },
        ));
        all.retain(|contender| arguments.wants(contender.name()));
        turns::take(title, "MiB", turns, &mut neighbours, all)
    };
    let whole = table("the whole process", true)?;
    let model = table("above the process before it loads", false)?;
    environment.conclude();
    let report = Report {
        environment,
        threads: arguments.threads,
        texts: texts.len(),
        fingerprint: Corpus::fingerprint(&texts),
        whole,
        model,
    };
    report.page().publish(arguments.keep_results())
}

/// A fresh process of this program.
fn serving(arguments: &Arguments, folder: &Path) -> Result<Peer, Failure> {
    let threads = arguments.threads.to_string();
    let with = [
        serve::ARGUMENT.as_ref(),
        folder.as_os_str(),
        threads.as_ref(),
    ];
    Peer::start_self("modelpool", arguments.threads, with)
}

/// The resident set, in MiB, of a process that has loaded the model and embedded the texts twice.
fn resident_after(
    mut peer: Peer,
    (load, with): (&str, Value),
    texts: &[String],
    corpus: Value,
    count_empty: bool,
) -> Result<f64, Failure> {
    let empty = if count_empty {
        0.0
    } else {
        peer.resident_mib()?
    };
    let _seconds: f64 = peer.ask(load, with)?;
    let () = peer.ask("texts", json!({ "texts": texts }))?;
    for _ in 0..2 {
        let _seconds: f64 = peer.ask("corpus", corpus.clone())?;
    }
    Ok(peer.resident_mib()? - empty)
}

impl Report {
    fn page(&self) -> Page<'_, Self> {
        let markdown = format!(
            "# memory\n\n\
             The resident set of a fresh process that has loaded all-MiniLM-L6-v2 (90.9 MB of \
             32-bit floats) and embedded {texts} texts of mixed lengths twice (fingerprint \
             {fingerprint}), with {threads} threads: read from the system, for all contenders \
             alike. modelpool is asked by 64 callers. Weights are shared among its workers.\n\n\
             The whole process contains what it starts with, for the peers in Python the \
             interpreter and its libraries; the second table leaves that out.\n\n\
             {environment}\n{whole}\n{model}",
            texts = self.texts,
            fingerprint = self.fingerprint,
            threads = self.threads,
            environment = self.environment.to_markdown(),
            whole = self.whole.to_markdown(),
            model = self.model.to_markdown(),
        );
        Page {
            name: "memory",
            report: self,
            markdown,
            plots: vec![("whole", self.whole.plot()), ("model", self.model.plot())],
        }
    }
}
