//! The real models against llama.cpp on the same files (`scripts/reference/llamacpp.py`).

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use modelpool::models::{CacheFormat, DecoderFiles, DecoderOptions};
use modelpool::pool::capabilities::text_to_text::{BlockId, WantedLogits};

use crate::families::data;
use crate::real_models;
use crate::runner::{Part, Runner, blocks};

/// What llama.cpp made of a model.
#[derive(Deserialize)]
struct Reference {
    stretches: Vec<Stretch>,
    answers: Vec<Answer>,
}

/// A real text: for each position the most likely next token, and the summed negative
/// log-likelihood of the true ones; by llama.cpp, and by transformers in single precision on the
/// dequantised weights.
#[derive(Deserialize)]
struct Stretch {
    tokens: Vec<u32>,
    top: Vec<u32>,
    loss: f64,
    exact_top: Vec<u32>,
    exact_loss: f64,
}

/// A greedy answer; `gaps` says how far each token's logit was above the second best.
#[derive(Deserialize)]
struct Answer {
    prompt: Vec<u32>,
    answer: Vec<u32>,
    gaps: Vec<f32>,
}

fn reference(model: &str) -> Reference {
    let path = data("real").join(format!("{model}.json"));
    let text = std::fs::read_to_string(path).expect("reference values");
    serde_json::from_str(&text).expect("reference values")
}

fn top(row: &[f32]) -> u32 {
    let best = (0..).zip(row).max_by(|(_, a), (_, b)| a.total_cmp(b));
    best.map(|(token, _)| token).expect("a row")
}

/// The negative log-likelihood of a token.
fn loss(row: &[f32], token: u32) -> f64 {
    let largest = f64::from(row.iter().copied().fold(f32::MIN, f32::max));
    let sum: f64 = row
        .iter()
        .map(|value| (f64::from(*value) - largest).exp())
        .sum();
    sum.ln() + largest - f64::from(row[token as usize])
}

/// How alike two ways to compute a model are, over 2,304 positions.
#[derive(Debug)]
struct Likeness {
    /// The share of positions where the most likely token is the same.
    top: f64,
    /// The perplexity of the one, divided by that of the other.
    perplexity: f64,
}

/// This decoder beside llama.cpp and beside the exact values, and llama.cpp beside those; and the
/// share of the positions where those two agree at which this decoder does too.
fn likenesses(runner: &mut Runner, reference: &Reference) -> ([Likeness; 3], f64) {
    let mut positions = 0;
    let mut equal = [0; 3];
    let mut all_equal = 0;
    let (mut mine, mut theirs, mut exact, mut predicted) = (0.0, 0.0, 0.0, 0);
    for stretch in &reference.stretches {
        let table = blocks(0..stretch.tokens.len().div_ceil(32) as u32);
        let mut position = 0;
        for tokens in stretch.tokens.chunks(128) {
            let rows = runner.step(&[Part {
                tokens,
                position,
                blocks: &table,
                logits: WantedLogits::All,
            }]);
            for row in rows {
                let top = top(&row);
                let (their_top, exact_top) = (stretch.top[position], stretch.exact_top[position]);
                let pairs = [(top, their_top), (top, exact_top), (their_top, exact_top)];
                for (count, (one, other)) in equal.iter_mut().zip(pairs) {
                    *count += usize::from(one == other);
                }
                all_equal += usize::from(top == their_top && top == exact_top);
                positions += 1;
                position += 1;
                if let Some(next) = stretch.tokens.get(position) {
                    predicted += 1;
                    mine += loss(&row, *next);
                }
            }
        }
        theirs += stretch.loss;
        exact += stretch.exact_loss;
    }
    assert!(positions >= 2_000);
    let losses = [mine - theirs, mine - exact, theirs - exact];
    let pairs = std::array::from_fn(|pair| Likeness {
        top: equal[pair] as f64 / f64::from(positions),
        perplexity: (losses[pair] / f64::from(predicted)).exp(),
    });
    (pairs, all_equal as f64 / equal[2] as f64)
}

/// Greedy answers, all at the same time: where one first departs from llama.cpp's, that had two
/// tokens close together; and some stay the same for 64 tokens or to their end.
fn answers_are_alike(runner: &mut Runner, reference: &Reference) {
    let tables: Vec<Vec<BlockId>> = (0..)
        .take(reference.answers.len())
        .map(|number| blocks(number * 5..number * 5 + 5))
        .collect();
    let mut texts: Vec<Vec<u32>> = Vec::new();
    for (answer, table) in reference.answers.iter().zip(&tables) {
        let rows = runner.step(&[Part {
            tokens: &answer.prompt,
            position: 0,
            blocks: table,
            logits: WantedLogits::Last,
        }]);
        texts.push(vec![top(&rows[0])]);
    }
    let longest = reference.answers.iter().map(|answer| answer.answer.len());
    for step in 1..longest.max().unwrap_or(0) {
        let parts: Vec<Part<'_>> = texts
            .iter()
            .zip(&reference.answers)
            .zip(&tables)
            .map(|((text, answer), table)| Part {
                tokens: &text[step - 1..],
                position: answer.prompt.len() + step - 1,
                blocks: table,
                logits: WantedLogits::Last,
            })
            .collect();
        let rows = runner.step(&parts);
        for (text, row) in texts.iter_mut().zip(rows) {
            text.push(top(&row));
        }
    }
    let mut alike = 0;
    for (text, answer) in texts.iter().zip(&reference.answers) {
        let pairs = text.iter().zip(&answer.answer);
        let departure = pairs.take_while(|(mine, theirs)| mine == theirs).count();
        if departure >= answer.answer.len().min(64) {
            alike += 1;
        }
        if let Some(gap) = answer.gaps.get(departure) {
            println!("departs at {departure}, where the gap was {gap}");
            assert!(
                *gap < 0.6,
                "departs at {departure}, where the gap was {gap}"
            );
        }
    }
    println!("{alike} of {} answers alike", texts.len());
    assert!(alike >= texts.len() / 4, "{alike} of {}", texts.len());
}

fn open(path: &Path) -> Runner {
    let options = DecoderOptions::default()
        .context_tokens(1024)
        .cache_tokens(3200);
    let mut runner = Runner::open(path, &options);
    runner.threads = 2;
    runner
}

/// Both llama.cpp and this decoder round activations to eight bits before each product, and each
/// departs from the exact values for that: llama.cpp at 4 % of the positions. So this decoder is
/// held to the exact values, at least as close as llama.cpp comes to them, and to llama.cpp as close
/// as two such roundings can be.
fn check(path: &Path, name: &str) {
    let mut runner = open(path);
    let reference = reference(name);
    let (pairs, sure) = likenesses(&mut runner, &reference);
    println!("{name}: {pairs:?}, where the two agree {sure:.4}");
    let [theirs, exact, noise] = &pairs;
    let off = |likeness: &Likeness| (likeness.perplexity - 1.0).abs();
    assert!(off(exact) <= 0.005, "{pairs:?}");
    assert!(off(theirs) <= 0.005 + off(noise), "{pairs:?}");
    assert!(exact.top >= noise.top - 0.005, "{pairs:?}");
    assert!(theirs.top >= 0.94, "{pairs:?}");
    assert!(sure >= 0.97, "{pairs:?}, {sure}");
    answers_are_alike(&mut runner, &reference);
}

#[test]
fn smollm2_is_as_in_llama_cpp() {
    check(&real_models::smollm2(), "smollm2");
}

#[test]
fn gemma3_is_as_in_llama_cpp() {
    check(&real_models::gemma3(), "gemma3");
}

/// Without the rounding of activations, what is left are single precision's own errors: the decoder
/// itself is right, on 2,304 positions of a real model.
#[test]
fn smollm2_with_exact_weights_is_as_in_transformers() {
    let options = DecoderOptions::default()
        .context_tokens(768)
        .cache_format(CacheFormat::F32);
    let files = DecoderFiles::open(real_models::smollm2()).unwrap();
    let weights = Arc::new(files.load_exact().unwrap());
    let mut runner = Runner::with(weights, &options).unwrap();
    runner.threads = 2;
    let (pairs, _) = likenesses(&mut runner, &reference("smollm2"));
    println!("exact: {pairs:?}");
    let [_, exact, _] = &pairs;
    assert!(exact.top >= 0.998, "{pairs:?}");
    assert!((exact.perplexity - 1.0).abs() <= 1e-4, "{pairs:?}");
}
