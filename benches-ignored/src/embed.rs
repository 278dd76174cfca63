//! all-MiniLM-L6-v2 in 32-bit floats, served by modelpool and by what users have today.
//!
//! Every contender gets the same texts, in the same order, and as many threads. Tokenising is part
//! of the work.

#[cfg(feature = "candle-peer")]
pub mod candle;
mod pooled;
mod python;

use std::cell::RefCell;
use std::path::Path;

use serde::Serialize;

use crate::Failure;
use crate::arguments::Arguments;
use crate::corpus::Corpus;
use crate::environment::Environment;
use crate::neighbours::Neighbours;
use crate::real_models;
use crate::results::Page;
use crate::summary::Spread;
use crate::turns::{self, Contender, Table};

pub use pooled::Pooled;
pub use python::{onnxruntime, sentence_transformers};

/// How many callers ask the pool at once.
pub const CALLERS: usize = 64;
/// Sixteen tokens, the two that BERT adds included.
pub const SHORT_TEXT: &str = "the first of them was asked where the key to the door had been";
/// Vectors of two contenders are the same if their cosine is at least this.
const SAME: f64 = 0.999_99;

/// Everything that one run of the suite found.
#[derive(Debug, Serialize)]
struct Report {
    environment: Environment,
    threads: usize,
    texts: usize,
    characters: usize,
    fingerprint: String,
    /// The lowest cosine between modelpool's vectors and each peer's.
    agreement: Vec<(String, f64)>,
    throughput: Table,
    latency: Table,
}

/// Runs the suite, prints its tables and keeps them.
///
/// # Errors
/// A contender that cannot be started, fails, or gives other vectors than the rest.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let folder = real_models::minilm();
    let mut environment = Environment::observe(&["modelpool", "candle-core", "gemm", "pulp"]);
    let texts = Corpus::seeded(1).mixed(if arguments.quick { 64 } else { 256 });
    let mut neighbours = Neighbours::watch()?;

    let pooled = Pooled::start(&folder, arguments.threads, 2)?;
    let onnx = RefCell::new(onnxruntime(arguments, &folder)?);
    let sentences = RefCell::new(sentence_transformers(arguments, &folder)?);
    for peer in [&onnx, &sentences] {
        let mut peer = peer.borrow_mut();
        environment.add(peer.versions());
        neighbours.count_as_own(peer.id());
        python::prepare(&mut peer, &texts)?;
    }
    #[cfg(feature = "candle-peer")]
    let candle = candle::Locked::load(&folder, arguments.threads)?;

    let sample = &texts[..8];
    let ours = pooled.vectors(sample)?;
    let mut agreement = Vec::new();
    let mut compare = |name: &str, theirs: Vec<Vec<f32>>| {
        agreement.push((name.to_owned(), lowest_cosine(name, &ours, &theirs)?));
        Ok::<_, Failure>(())
    };
    let theirs = python::vectors(&mut onnx.borrow_mut(), sample)?;
    compare("onnxruntime", theirs)?;
    let theirs = python::vectors(&mut sentences.borrow_mut(), sample)?;
    compare("sentence-transformers", theirs)?;
    #[cfg(feature = "candle-peer")]
    compare("candle", candle.embed(sample)?)?;

    let rate = texts.len() as f64;
    let mut all = vec![
        Contender::ours(format!("modelpool, {CALLERS} callers"), || {
            Ok(rate / pooled.by_callers(&texts, CALLERS)?)
        }),
        Contender::ours("modelpool, embed_batch", || {
            Ok(rate / pooled.by_batch(&texts)?)
        }),
        Contender::peer("onnxruntime, batches of 8 sorted", || {
            Ok(rate / python::corpus(&mut onnx.borrow_mut(), 8, true)?)
        }),
        Contender::peer("onnxruntime, batches of 32 sorted", || {
            Ok(rate / python::corpus(&mut onnx.borrow_mut(), 32, true)?)
        }),
        Contender::peer("onnxruntime, batches of 32 as they come", || {
            Ok(rate / python::corpus(&mut onnx.borrow_mut(), 32, false)?)
        }),
        Contender::peer("onnxruntime, one by one", || {
            Ok(rate / python::corpus(&mut onnx.borrow_mut(), 1, false)?)
        }),
        Contender::peer("sentence-transformers, batches of 32 sorted", || {
            Ok(rate / python::sorted_corpus(&mut sentences.borrow_mut(), 32)?)
        }),
    ];
    let requests = if arguments.quick { 50 } else { 300 };
    let mut one = vec![
        Contender::ours("modelpool", || pooled.one(SHORT_TEXT, requests)),
        Contender::peer("onnxruntime", || {
            python::one(&mut onnx.borrow_mut(), SHORT_TEXT, requests)
        }),
        Contender::peer("sentence-transformers", || {
            python::one(&mut sentences.borrow_mut(), SHORT_TEXT, requests)
        }),
    ];
    #[cfg(feature = "candle-peer")]
    {
        for (name, batch) in [("batches of 32 as they come", 32), ("one by one", 1)] {
            let candle = &candle;
            let texts = &texts;
            let measure = move || Ok(rate / candle.by_callers(texts, batch)?);
            all.push(Contender::peer(
                format!("candle behind a mutex, {name}"),
                measure,
            ));
        }
        one.push(Contender::peer("candle behind a mutex", || {
            candle.one(SHORT_TEXT, requests)
        }));
    }
    for contenders in [&mut all, &mut one] {
        contenders.retain(|contender| arguments.wants(contender.name()));
    }

    neighbours.check_idle();
    let turns = arguments.rounds_or(7, 2);
    let throughput = turns::take("mixed lengths", "texts/s", turns, &mut neighbours, all)?;
    let latency = turns::take(
        "one text of 16 tokens, p50",
        "ms",
        turns,
        &mut neighbours,
        one,
    )?;
    environment.conclude();
    let report = Report {
        environment,
        threads: arguments.threads,
        texts: texts.len(),
        characters: texts.iter().map(String::len).sum(),
        fingerprint: Corpus::fingerprint(&texts),
        agreement,
        throughput,
        latency,
    };
    report.page().publish(arguments.keep_results())
}

impl Report {
    fn page(&self) -> Page<'_, Self> {
        let agreement: Vec<String> = self
            .agreement
            .iter()
            .map(|(name, cosine)| format!("{name} {cosine:.7}"))
            .collect();
        let markdown = format!(
            "# embed\n\n\
             all-MiniLM-L6-v2 in 32-bit floats, {threads} threads for each contender, tokenising \
             included. The contenders take turns; figures are the median of the turns \
             [lowest–highest]; *modelpool ÷ this* is taken turn by turn.\n\n\
             The texts are {texts} pieces of English prose, 5 to 200 tokens long and in no order \
             ({characters} characters, fingerprint {fingerprint}). Batches of the others are \
             padded to their longest text; *sorted* means by length, beforehand, as a bulk job \
             can and a service cannot. modelpool is asked text by text ({CALLERS} tasks, each \
             awaiting its answer), or for all at once. *One text* goes through the pool too; the \
             others are called directly.\n\n\
             Same vectors: lowest cosine to modelpool's over 8 texts: {agreement}.\n\n\
             {environment}\n{throughput}\n{latency}",
            threads = self.threads,
            texts = self.texts,
            characters = self.characters,
            fingerprint = self.fingerprint,
            agreement = agreement.join(", "),
            environment = self.environment.to_markdown(),
            throughput = self.throughput.to_markdown(),
            latency = self.latency.to_markdown(),
        );
        Page {
            name: "embed",
            report: self,
            markdown,
            plots: vec![
                ("throughput", self.throughput.plot()),
                ("latency", self.latency.plot()),
            ],
        }
    }
}

fn lowest_cosine(name: &str, ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> Result<f64, Failure> {
    let product = |a: &[f32], b: &[f32]| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let cosine =
        |(a, b): (&Vec<f32>, &Vec<f32>)| product(a, b) / (product(a, a) * product(b, b)).sqrt();
    let lowest = Spread::of(ours.iter().zip(theirs).map(cosine)).min;
    if lowest < SAME {
        return Err(format!("{name} gives other vectors: cosine {lowest}").into());
    }
    Ok(lowest)
}

/// Where the harness keeps what it makes for the peers.
pub fn made(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/python")
        .join(file)
}
