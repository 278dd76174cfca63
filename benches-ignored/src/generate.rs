//! Language models from their GGUF files, served by modelpool and run by llama.cpp.
//!
//! Both get the same tokens, take the likeliest token always, and have as many threads.

mod pooled;

use std::cell::RefCell;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use crate::Failure;
use crate::arguments::Arguments;
use crate::environment::Environment;
use crate::neighbours::Neighbours;
use crate::peers::{self, Peer};
use crate::real_models;
use crate::results::Page;
use crate::summary::Spread;
use crate::turns::{self, Contender, Table};

use pooled::{Gaps, Pooled};

/// Streams that run side by side.
const STREAMS: usize = 16;
/// Tokens of one stream, prompt and answer together.
const CONTEXT: usize = 1024;
/// Tokens of a prompt of which only the answer is measured.
const SHORT: usize = 16;
/// Tokens of a prompt of which the reading is measured.
const LONG: usize = 512;

/// Everything that one run of the suite found.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(skip)]
    suite: &'static str,
    model: &'static str,
    environment: Environment,
    threads: usize,
    file_mib: f64,
    /// Of this process, after all was measured.
    resident_mib: f64,
    peer_resident_mib: f64,
    tables: Vec<Table>,
    gaps: Vec<Gaps>,
}

/// Runs the suite on SmolLM2, prints its tables and keeps them.
///
/// # Errors
/// A contender that cannot be started or fails.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let model = "SmolLM2-135M-Instruct, the GGUF file as it comes (Q4_1 with Q8_0 embeddings)";
    measure(arguments, "generate", model, &real_models::smollm2())
}

/// Runs it on Gemma 3.
///
/// # Errors
/// As [`run`].
pub fn run_gemma(arguments: &Arguments) -> Result<(), Failure> {
    let model = "Gemma 3 270M, Q4_K_M (most of it Q8_0 and Q5_0)";
    measure(arguments, "generate-gemma", model, &real_models::gemma3())
}

fn measure(
    arguments: &Arguments,
    suite: &'static str,
    model: &'static str,
    file: &Path,
) -> Result<(), Failure> {
    let mut environment = Environment::observe(&["modelpool", "pulp"]);
    let mut neighbours = Neighbours::watch()?;
    let pooled = Pooled::start(file, arguments.threads, STREAMS, CONTEXT)?;
    let llama = RefCell::new(llama_cpp(arguments, file)?);
    {
        let mut peer = llama.borrow_mut();
        environment.add(peer.versions());
        neighbours.count_as_own(peer.id());
        let _seconds: f64 = peer.ask("load", Value::Null)?;
    }

    neighbours.check_idle();
    let turns = arguments.rounds_or(5, 1);
    let tokens = if arguments.quick { 24 } else { 96 };
    let fresh = RefCell::new(Fresh(1));
    let mut tables = Vec::new();
    for streams in [1, 4, 8, STREAMS] {
        let prompts = || -> Vec<Vec<u32>> {
            let mut fresh = fresh.borrow_mut();
            (0..streams).map(|_| fresh.prompt(SHORT)).collect()
        };
        let mut both = vec![
            Contender::ours("modelpool", || {
                let (seconds, tokens) = pooled.decode(&prompts(), tokens)?;
                Ok(tokens as f64 / seconds)
            }),
            Contender::peer("llama.cpp", || {
                let with = json!({ "prompts": prompts(), "tokens": tokens });
                let seconds: f64 = llama.borrow_mut().ask("decode", with)?;
                Ok((streams * tokens) as f64 / seconds)
            }),
        ];
        both.retain(|contender| arguments.wants(contender.name()));
        let title = format!("decoding, streams: {streams}");
        tables.push(turns::take(
            &title,
            "tokens/s",
            turns,
            &mut neighbours,
            both,
        )?);
    }
    let mut both = vec![
        Contender::ours("modelpool", || {
            Ok(LONG as f64 / pooled.read(fresh.borrow_mut().prompt(LONG))?)
        }),
        Contender::peer("llama.cpp", || {
            let with = json!({ "prompt": fresh.borrow_mut().prompt(LONG) });
            let seconds: f64 = llama.borrow_mut().ask("read", with)?;
            Ok(LONG as f64 / seconds)
        }),
    ];
    both.retain(|contender| arguments.wants(contender.name()));
    let title = format!("reading a prompt of {LONG} tokens");
    tables.push(turns::take(
        &title,
        "tokens/s",
        turns,
        &mut neighbours,
        both,
    )?);

    let mut gaps = Vec::new();
    for _ in 0..turns {
        let mut fresh = fresh.borrow_mut();
        let prompts: Vec<Vec<u32>> = (0..STREAMS).map(|_| fresh.prompt(SHORT)).collect();
        gaps.push(pooled.gaps(&prompts, 3 * tokens, fresh.prompt(CONTEXT - 1))?);
    }
    environment.conclude();
    let report = Report {
        suite,
        model,
        environment,
        threads: arguments.threads,
        file_mib: std::fs::metadata(file)?.len() as f64 / f64::from(1 << 20),
        resident_mib: peers::resident_mib(std::process::id())?,
        peer_resident_mib: llama.borrow().resident_mib()?,
        tables,
        gaps,
    };
    report.page().publish(arguments.keep_results())
}

fn llama_cpp(arguments: &Arguments, file: &Path) -> Result<Peer, Failure> {
    let python = peers::provide("generate", arguments.python.as_deref())?;
    let numbers = [arguments.threads, STREAMS, CONTEXT].map(|number| number.to_string());
    let with = std::iter::once(file.as_os_str()).chain(numbers.iter().map(AsRef::as_ref));
    let script = "generate_llamacpp.py";
    Peer::start(&python, "llama.cpp", script, arguments.threads, with)
}

/// Prompts that nobody has seen: no cache has their beginnings.
struct Fresh(u64);

impl Fresh {
    fn prompt(&mut self, tokens: usize) -> Vec<u32> {
        let mut next = || {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // Ordinary tokens of either vocabulary.
            1000 + u32::try_from(self.0 >> 33).unwrap_or(0) % 40_000
        };
        (0..tokens).map(|_| next()).collect()
    }
}

impl Report {
    fn page(&self) -> Page<'_, Self> {
        let tables: Vec<String> = self.tables.iter().map(Table::to_markdown).collect();
        let spread = |of: fn(&Gaps) -> f64| {
            let values = Spread::of(self.gaps.iter().map(of));
            values.written(|ms| format!("{ms:.1}"))
        };
        let markdown = format!(
            "# {suite}\n\n\
             {model}, {threads} \
             threads for each contender, the likeliest token always. The contenders take turns; \
             figures are the median of the turns [lowest–highest]; *modelpool ÷ this* is taken turn \
             by turn. Prompts are random tokens, {SHORT} before a decoding; what is decoded is \
             counted from the moment at which every stream has its first token. modelpool is asked \
             through the pool; llama.cpp is called directly, with all streams in one batch.\n\n\
             {environment}\n{tables}\n\
             ## A prompt of {prompt} tokens beside {STREAMS} running streams\n\n\
             Milliseconds between the tokens of a stream, modelpool:\n\n\
             | | before | while the prompt is read |\n| --- | ---: | ---: |\n\
             | p50 | {before_p50} | {during_p50} |\n| p99 | {before_p99} | {during_p99} |\n\n\
             p99 while ÷ before, round by round: {ratio}.\n\n\
             ## Memory\n\n\
             The file has {file:.0} MiB. Resident after all of this: modelpool {ours:.0} MiB (with this \
             harness), llama.cpp {theirs:.0} MiB (with Python), both with caches for {STREAMS} × \
             {CONTEXT} tokens.\n",
            suite = self.suite,
            model = self.model,
            threads = self.threads,
            environment = self.environment.to_markdown(),
            tables = tables.join("\n"),
            prompt = CONTEXT - 1,
            before_p50 = spread(|gaps| gaps.before_p50_ms),
            before_p99 = spread(|gaps| gaps.before_p99_ms),
            during_p50 = spread(|gaps| gaps.during_p50_ms),
            during_p99 = spread(|gaps| gaps.during_p99_ms),
            ratio = Spread::of(self.gaps.iter().map(|g| g.during_p99_ms / g.before_p99_ms)),
            file = self.file_mib,
            ours = self.resident_mib,
            theirs = self.peer_resident_mib,
        );
        let plots = ["1", "4", "8", "16", "read"].into_iter().zip(&self.tables);
        Page {
            name: self.suite,
            report: self,
            markdown,
            plots: plots.map(|(end, table)| (end, table.plot())).collect(),
        }
    }
}
