//! What a worker takes is known from the header: measured in a process of its own.

use std::process::Command;

use modelpool::models::{CacheFormat, DecoderFiles, DecoderOptions};
use modelpool::pool::capabilities::text_to_text::{TextToTextCapable, WantedLogits};

use crate::real_models;
use crate::runner::{Part, Runner, blocks};

/// Set in the measuring process: model, cache format and context.
const CASE: &str = "MODELPOOL_TEST_MEMORY_CASE";

/// The resident set of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux's own figures");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    1024 * kilobytes
        .and_then(|text| text.parse::<u64>().ok())
        .expect("a number")
}

/// Loads a model, uses all of its cache, runs steps, and prints the bytes that were estimated and
/// those that have become resident.
fn measure(case: &str) {
    let words: Vec<&str> = case.split(' ').collect();
    let path = match words[0] {
        "smollm2" => real_models::smollm2(),
        _ => real_models::gemma3(),
    };
    let format = match words[1] {
        "f16" => CacheFormat::F16,
        _ => CacheFormat::Q8,
    };
    let context: usize = words[2].parse().expect("a number");
    let options = DecoderOptions::default()
        .context_tokens(context)
        .cache_tokens(2 * context)
        .cache_format(format);

    let before = resident();
    let files = DecoderFiles::open(path).unwrap();
    let rows = 4 * files.vocabulary() as u64;
    let estimated = files.estimated_bytes(&options).unwrap() + rows;
    let mut runner = Runner::load(&files, &options).unwrap();
    runner.threads = 2;
    runner.decoder.touch_cache();
    let limits = runner.decoder.limits();
    let table = blocks(0..context.div_ceil(limits.block_tokens) as u32);
    let tokens = vec![7; limits.step_tokens];
    for (tokens, position) in [(&tokens[..], 0), (&tokens[..1], context - 1)] {
        runner.step(&[Part {
            tokens,
            position,
            blocks: &table,
            logits: WantedLogits::Last,
        }]);
    }
    println!("measured {estimated} {}", resident() - before);
}

fn check(model: &str) {
    if let Ok(case) = std::env::var(CASE) {
        return measure(&case);
    }
    for format in ["f16", "q8"] {
        for context in [512, 8192] {
            let case = format!("{model} {format} {context}");
            let output = Command::new(std::env::current_exe().expect("this program"))
                .args(["--exact", "--nocapture", "--test-threads=1"])
                .arg(format!("memory::{model}_takes_what_its_header_says"))
                .env(CASE, &case)
                .output()
                .expect("a process");
            let text = String::from_utf8_lossy(&output.stdout);
            let line = text.lines().find_map(|line| {
                let (_, numbers) = line.split_once("measured ")?;
                let (estimated, found) = numbers.split_once(' ')?;
                Some((estimated.parse::<f64>().ok()?, found.parse::<f64>().ok()?))
            });
            let (estimated, found) = line.unwrap_or_else(|| panic!("{case}: {output:?}"));
            let ratio = estimated / found;
            println!("{case}: {estimated} estimated, {found} measured, {ratio:.3}");
            assert!(
                (ratio - 1.0).abs() <= 0.05,
                "{case}: {estimated} for {found}"
            );
        }
    }
}

#[test]
fn smollm2_takes_what_its_header_says() {
    check("smollm2");
}

#[test]
fn gemma3_takes_what_its_header_says() {
    check("gemma3");
}
