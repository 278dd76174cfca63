//! Every family against transformers, on small random checkpoints (`scripts/reference/decoder.py`).

use std::path::{Path, PathBuf};

use modelpool::models::{CacheFormat, DecoderFiles, DecoderOptions};
use modelpool::pool::capabilities::text_to_text::WantedLogits;

use crate::runner::{Part, Runner, blocks, exact};

/// The absolute difference from transformers that is allowed in single precision.
const TOLERANCE: f32 = 1e-4;

const FAMILIES: [&str; 15] = [
    "gemma",
    "gemma2",
    "gemma3",
    "granite",
    "llama",
    "llama_biased",
    "mistral",
    "olmo2",
    "phi",
    "phi3",
    "phi4",
    "qwen2",
    "qwen2_window",
    "qwen3",
    "smollm3",
];

pub fn data(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/decoder")
        .join(family)
}

pub fn tokens() -> Vec<u32> {
    let text = std::fs::read_to_string(data("tokens.json")).expect("tokens.json");
    serde_json::from_str(&text).expect("a list of numbers")
}

fn reference(family: &str, file: &str, rows: usize) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(data(family).join(file)).expect("reference values");
    let (words, _) = bytes.as_chunks::<4>();
    let values: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
    let rows = values.chunks_exact(values.len() / rows);
    rows.map(<[f32]>::to_vec).collect()
}

pub fn difference(left: &[Vec<f32>], right: &[Vec<f32>]) -> f32 {
    assert_eq!(left.len(), right.len());
    let pairs = left.iter().flatten().zip(right.iter().flatten());
    let differences = pairs.map(|(a, b)| (a - b).abs());
    // Not `f32::max`, which would hide a NaN.
    differences.fold(0.0, |worst, next| if next <= worst { worst } else { next })
}

fn check(path: &Path, options: &DecoderOptions, wanted: &[Vec<f32>]) {
    let mut runner = Runner::open(path, options);
    let tokens = &tokens()[..wanted.len()];
    let found = runner.sequence(tokens, &blocks([3, 1]), tokens.len());
    let worst = difference(&found, wanted);
    assert!(worst <= TOLERANCE, "{}: {worst}", path.display());
}

#[test]
fn folders_give_the_logits_of_transformers() {
    for family in FAMILIES {
        let wanted = reference(family, "logits.f32", 45);
        check(&data(family), &exact(), &wanted);
    }
}

#[test]
fn gguf_files_give_the_same_logits() {
    let mut files = 0;
    for family in FAMILIES {
        let file = data(family).join("model.gguf");
        if file.exists() {
            files += 1;
            check(&file, &exact(), &reference(family, "logits.f32", 45));
        }
    }
    assert_eq!(files, 11, "of the families that the format knows");
}

#[test]
fn positions_are_scaled_as_the_configuration_says() {
    let variants = [
        ("llama", "linear"),
        ("llama", "llama3"),
        ("llama", "yarn"),
        ("phi3", "long"),
    ];
    for (family, variant) in variants {
        let wanted = reference(family, &format!("logits.{variant}.f32"), 45);
        let folder = Scrap::copy_of(family);
        folder.rename(&format!("config.{variant}.json"), "config.json");
        check(folder.path(), &exact(), &wanted);
        let file = data(family).join(format!("model.{variant}.gguf"));
        if file.exists() {
            check(&file, &exact(), &wanted);
        }
    }
}

#[test]
fn a_short_context_has_its_own_factors() {
    let wanted = reference("phi3", "logits.short.f32", 16);
    let folder = Scrap::copy_of("phi3");
    folder.rename("config.long.json", "config.json");
    for path in [folder.path(), &data("phi3").join("model.long.gguf")] {
        check(path, &exact().context_tokens(16), &wanted);
    }
}

#[test]
fn configurations_in_the_older_form_mean_the_same() {
    let llama = Scrap::copy_of("llama");
    llama.rename("config.llama3.json", "config.json");
    llama.edit_json("config.json", |config| {
        let mut rope = config["rope_parameters"].take();
        config["rope_theta"] = rope["rope_theta"].take();
        config["rope_scaling"] = rope;
    });
    check(
        llama.path(),
        &exact(),
        &reference("llama", "logits.llama3.f32", 45),
    );

    let gemma = Scrap::copy_of("gemma3");
    gemma.edit_json("config.json", |config| {
        config["rope_parameters"].take();
        config["layer_types"].take();
        config["rope_theta"] = 1_000_000.0.into();
        config["rope_local_base_freq"] = 10_000.0.into();
        config["rope_scaling"] = serde_json::json!({"rope_type": "linear", "factor": 8.0});
        config["sliding_window_pattern"] = 6.into();
    });
    check(
        gemma.path(),
        &exact(),
        &reference("gemma3", "logits.f32", 45),
    );
}

#[test]
fn chunks_company_and_threads_change_no_bit() {
    let tokens = tokens();
    for family in FAMILIES {
        for format in [CacheFormat::F32, CacheFormat::F16, CacheFormat::Q8] {
            let mut runner = Runner::open(&data(family), &exact().cache_format(format));
            let whole = runner.sequence(&tokens, &blocks([3, 1]), tokens.len());
            for (chunk, threads) in [(1, 1), (7, 2), (32, 3)] {
                runner.threads = threads;
                let cut = runner.sequence(&tokens, &blocks([7, 4]), chunk);
                assert!(cut == whole, "{family}, {format:?}, chunks of {chunk}");
            }
            // In one step with others, one of which is a prompt and one goes on; and, as after
            // preemption, over blocks that held another sequence.
            runner.threads = 2;
            let company: Vec<u32> = tokens.iter().rev().copied().collect();
            let (mine, other) = (blocks([4, 3]), blocks([1, 7]));
            let third = blocks([0]);
            runner.sequence(&company[..20], &third, 20);
            let mut together = Vec::new();
            for (start, end) in [(0, 12), (12, 13), (13, 45)] {
                let rows = runner.step(&[
                    Part {
                        tokens: &company[start..end],
                        position: start,
                        blocks: &other,
                        logits: WantedLogits::Last,
                    },
                    Part {
                        tokens: &tokens[start..end],
                        position: start,
                        blocks: &mine,
                        logits: WantedLogits::All,
                    },
                    Part {
                        tokens: &company[20..21],
                        position: 20,
                        blocks: &third,
                        logits: WantedLogits::None,
                    },
                ]);
                together.extend(rows.into_iter().skip(1));
            }
            assert!(together == whole, "{family}, {format:?}, in company");
        }
    }
}

#[test]
fn whole_blocks_may_be_shared() {
    let tokens = tokens();
    let mut runner = Runner::open(&data("gemma2"), &exact());
    let alone = runner.sequence(&tokens, &blocks([0, 1]), 45);
    // Another sequence goes on from the first block.
    let shared = blocks([0, 2]);
    let mut other = tokens.clone();
    other[40] = 5;
    let rest = |runner: &mut Runner, tokens: &[u32], blocks: &[_]| {
        runner.step(&[Part {
            tokens: &tokens[32..],
            position: 32,
            blocks,
            logits: WantedLogits::All,
        }])
    };
    let theirs = rest(&mut runner, &other, &shared);
    let mine = rest(&mut runner, &tokens, &blocks([0, 3]));
    assert!(mine[..] == alone[32..]);
    assert!(theirs[..8] == alone[32..40]);
    assert!(theirs[8..] != alone[40..]);
}

#[test]
fn smaller_caches_cost_little_precision() {
    for family in FAMILIES {
        let wanted = reference(family, "logits.f32", 45);
        for (format, tolerance) in [(CacheFormat::F16, 1e-2), (CacheFormat::Q8, 2e-1)] {
            let mut runner = Runner::open(&data(family), &exact().cache_format(format));
            let found = runner.sequence(&tokens(), &blocks([0, 1]), 45);
            let worst = difference(&found, &wanted);
            assert!(worst <= tolerance, "{family}, {format:?}: {worst}");
        }
    }
}

#[test]
fn every_instruction_set_gives_the_same_logits() {
    for family in ["gemma3", "phi4", "olmo2"] {
        let wanted = reference(family, "logits.f32", 45);
        let sets = DecoderFiles::open_for_each_instruction_set(data(family)).unwrap();
        assert!(!sets.is_empty());
        for (name, files) in sets {
            let mut runner = Runner::load(&files, &exact()).unwrap();
            let found = runner.sequence(&tokens(), &blocks([0, 1]), 45);
            let worst = difference(&found, &wanted);
            assert!(worst <= TOLERANCE, "{family}, {name}: {worst}");
        }
    }
}

use crate::scrap::Scrap;
