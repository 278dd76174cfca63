//! The fuzz targets without a fuzzer: the corpus as it is, and damaged in ways drawn from a fixed
//! seed. The same on every machine.

#[path = "fuzz/mod.rs"]
mod fuzz;

use std::path::{Path, PathBuf};

use fuzz::mutation::Mutator;
use fuzz::{TARGETS, target};

/// How many damaged inputs each target is given, shared among its seeds. A target that asks the
/// network or reads a folder each time gets fewer.
fn mutations(name: &str) -> usize {
    match name {
        "hub_answers" => 150,
        "encoder_folder" | "decoder_folder" | "tokenizer_folder" | "static_folder" => 1_500,
        "gguf_model" | "pth" => 2_000,
        "templates" | "constraints" => 400,
        _ => 8_000,
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = root().join("tests/fuzz/corpus").join(name);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("a corpus for each target")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    // Whole models, too: small ones that the tests have anyway.
    if name == "gguf_model" {
        paths.push(root().join("tests/data/decoder/llama/model.gguf"));
        paths.push(root().join("tests/data/decoder/gemma/model.gguf"));
    }
    paths.sort();
    let read = |path: PathBuf| std::fs::read(path).expect("a seed");
    paths.into_iter().map(read).collect()
}

#[test]
fn the_corpus_and_its_damaged_copies_are_taken_without_a_crash() {
    let threads: Vec<_> = TARGETS
        .iter()
        .map(|&(name, _)| std::thread::spawn(move || replay(name)))
        .collect();
    for (thread, (name, _)) in threads.into_iter().zip(TARGETS) {
        assert!(thread.join().is_ok(), "{name} panicked");
    }
}

fn replay(name: &str) {
    let run = target(name);
    let seeds = seeds(name);
    assert!(!seeds.is_empty(), "{name} has a corpus");
    for (number, seed) in seeds.iter().enumerate() {
        run(seed);
        let mut mutator = Mutator::new(number as u64);
        for _ in 0..mutations(name) / seeds.len() {
            let mut damaged = seed.clone();
            mutator.damage(&mut damaged);
            run(&damaged);
        }
    }
}
