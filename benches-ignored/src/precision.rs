//! all-MiniLM-L6-v2 in other numbers than 32-bit floats: what is gained, and what it costs.

use std::fs;

use modelpool::models::EncoderPrecision;
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::arguments::Arguments;
use crate::corpus::Corpus;
use crate::embed::{CALLERS, Pooled, SHORT_TEXT, made};
use crate::environment::Environment;
use crate::neighbours::Neighbours;
use crate::peers;
use crate::real_models;
use crate::results::Page;
use crate::summary::Spread;
use crate::turns::{self, Contender, Table};

/// What people have said of the likeness of texts.
#[derive(Debug, Deserialize)]
struct Task {
    name: String,
    texts: Vec<String>,
    pairs: Vec<[usize; 2]>,
    human: Vec<f64>,
}

/// How well one precision does what the model is for.
#[derive(Debug, Serialize)]
struct Quality {
    precision: EncoderPrecision,
    weights_mib: f64,
    /// Cosine to the vectors of the first precision, over the corpus.
    cosine: Spread,
    /// Of each task: Spearman's rank correlation with people's judgement (Pearson's for Lee).
    tasks: Vec<(String, f64)>,
}

/// Everything that one run of the suite found.
#[derive(Debug, Serialize)]
struct Report {
    environment: Environment,
    threads: usize,
    texts: usize,
    quality: Vec<Quality>,
    throughput: Table,
    latency: Table,
}

/// The first is what the others are compared with.
const PRECISIONS: [(EncoderPrecision, &str); 4] = [
    (EncoderPrecision::F32Exact, "F32Exact"),
    (EncoderPrecision::F32, "F32"),
    (EncoderPrecision::Bf16, "Bf16"),
    (EncoderPrecision::Int8, "Int8"),
];

/// Runs the suite, prints its tables and keeps them.
///
/// # Errors
/// A model that cannot be served, or tasks that cannot be had.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let folder = real_models::minilm();
    let mut environment = Environment::observe(&["modelpool", "pulp"]);
    let texts = Corpus::seeded(1).mixed(if arguments.quick { 64 } else { 256 });
    let mut neighbours = Neighbours::watch()?;
    let tasks = tasks(arguments)?;
    let mut served = Vec::new();
    for (precision, name) in PRECISIONS {
        let pooled = Pooled::start_as(&folder, arguments.threads, 2, precision)?;
        served.push((precision, name, pooled));
    }

    let reference = served[0].2.vectors(&texts)?;
    let mut quality = Vec::new();
    for (precision, _, pooled) in &served {
        let vectors = pooled.vectors(&texts)?;
        let of_task = |task: &Task| {
            let vectors = pooled.vectors(&task.texts)?;
            let found: Vec<f64> = task
                .pairs
                .iter()
                .map(|[left, right]| product(&vectors[*left], &vectors[*right]))
                .collect();
            let agreement = match task.name.as_str() {
                "Lee" => pearson(&found, &task.human),
                _ => pearson(&ranks(&found), &ranks(&task.human)),
            };
            Ok::<_, Failure>((task.name.clone(), agreement))
        };
        let folder = modelpool::models::EncoderFolder::open_with(&folder, *precision)?;
        quality.push(Quality {
            precision: *precision,
            weights_mib: folder.weight_bytes() as f64 / f64::from(1 << 20),
            cosine: Spread::of(reference.iter().zip(&vectors).map(|(a, b)| product(a, b))),
            tasks: tasks.iter().map(of_task).collect::<Result<_, _>>()?,
        });
    }

    let rate = texts.len() as f64;
    let requests = if arguments.quick { 50 } else { 300 };
    let (mut all, mut one) = (Vec::new(), Vec::new());
    for (precision, name, pooled) in &served {
        let texts = &texts;
        let by_callers = move || Ok(rate / pooled.by_callers(texts, CALLERS)?);
        let alone = move || pooled.one(SHORT_TEXT, requests);
        // Ratios are those of the first to each.
        if *precision == EncoderPrecision::F32Exact {
            all.push(Contender::ours(*name, by_callers));
            one.push(Contender::ours(*name, alone));
        } else {
            all.push(Contender::peer(*name, by_callers));
            one.push(Contender::peer(*name, alone));
        }
    }
    neighbours.check_idle();
    let turns = arguments.rounds_or(7, 2);
    let throughput = turns::take("mixed lengths", "texts/s", turns, &mut neighbours, all)?;
    let title = "one text of 16 tokens, p50";
    let latency = turns::take(title, "ms", turns, &mut neighbours, one)?;
    environment.conclude();
    let report = Report {
        environment,
        threads: arguments.threads,
        texts: texts.len(),
        quality,
        throughput,
        latency,
    };
    report.page().publish(arguments.keep_results())
}

fn tasks(arguments: &Arguments) -> Result<Vec<Task>, Failure> {
    let file = made("precision-tasks.json");
    if !file.is_file() {
        let python = peers::provide("precision", arguments.python.as_deref())?;
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        peers::run_script(&python, "precision_tasks.py", [&file])?;
    }
    Ok(serde_json::from_slice(&fs::read(file)?)?)
}

/// Of vectors of unit length: their cosine.
fn product(left: &[f32], right: &[f32]) -> f64 {
    let pairs = left.iter().zip(right);
    pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Each value's place in order; those that are equal share the middle of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|left, right| values[*left].total_cmp(&values[*right]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for alike in order.chunk_by(|left, right| values[*left] == values[*right]) {
        let middle = first as f64 + (alike.len() - 1) as f64 / 2.0;
        alike.iter().for_each(|place| ranks[*place] = middle);
        first += alike.len();
    }
    ranks
}

fn pearson(left: &[f64], right: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (left_mean, right_mean) = (mean(left), mean(right));
    let (mut both, mut lefts, mut rights) = (0.0, 0.0, 0.0);
    for (left, right) in left.iter().zip(right) {
        let (left, right) = (left - left_mean, right - right_mean);
        both += left * right;
        lefts += left * left;
        rights += right * right;
    }
    both / (lefts * rights).sqrt()
}

impl Report {
    fn page(&self) -> Page<'_, Self> {
        let names = self.quality.first().map(|quality| &quality.tasks);
        let names: Vec<&str> = names
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect();
        let mut table = format!(
            "| precision | weights, MiB | cosine to F32Exact, median | lowest | {} |\n| --- | ---: | ---: | ---: |{}\n",
            names.join(" | "),
            " ---: |".repeat(names.len()),
        );
        for quality in &self.quality {
            let tasks: Vec<String> = quality
                .tasks
                .iter()
                .map(|(_, agreement)| format!("{agreement:.4}"))
                .collect();
            table.push_str(&format!(
                "| {:?} | {:.1} | {:.6} | {:.6} | {} |\n",
                quality.precision,
                quality.weights_mib,
                quality.cosine.median,
                quality.cosine.min,
                tasks.join(" | ")
            ));
        }
        let markdown = format!(
            "# precision\n\n\
             all-MiniLM-L6-v2 with its linear layers in several precisions, {threads} threads each, {CALLERS} callers, \
             tokenising included; they take turns. The texts are {texts} pieces of English prose, 5 to 200 tokens long. \
             WordSim-353 and SimLex-999: Spearman's rank correlation with people's judgement; Lee: Pearson's.\n\n\
             {environment}\n{table}\n{throughput}\n{latency}",
            threads = self.threads,
            texts = self.texts,
            environment = self.environment.to_markdown(),
            throughput = self.throughput.to_markdown(),
            latency = self.latency.to_markdown(),
        );
        Page {
            name: "precision",
            report: self,
            markdown,
            plots: vec![("throughput", self.throughput.plot())],
        }
    }
}
