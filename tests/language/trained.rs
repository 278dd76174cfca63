//! Small trained tokenizers in GGUF metadata, against llama.cpp; where that has changed a model's own
//! expression (tekken, gpt-4o), against the `tokenizers` library with the model's own.

use std::collections::BTreeMap;

use modelpool::language::{LanguageError, TextTokenizer};
use modelpool::models::ModelError;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::gguf_writer::{GgufWriter, Meta};
use crate::{data, read_json};

#[derive(Deserialize)]
struct Trained<Ids> {
    metadata: Map<String, Value>,
    prompts: Vec<String>,
    ids: Ids,
}

/// The metadata as a GGUF file has them.
fn file(metadata: &Map<String, Value>) -> GgufWriter {
    let mut file = GgufWriter::new();
    for (key, value) in metadata {
        let meta = match value {
            Value::Bool(flag) => Meta::Bool(*flag),
            Value::String(text) => Meta::text(text),
            Value::Number(_) => Meta::U32(read(value)),
            _ if key == "scores" => Meta::F32s(read(value)),
            _ if key == "tokens" || key == "merges" => Meta::Texts(read(value)),
            _ => Meta::I32s(read(value)),
        };
        file = file.meta(&format!("tokenizer.ggml.{key}"), meta);
    }
    file
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).expect("a value of its type")
}

fn open(file: &GgufWriter) -> Result<TextTokenizer, ModelError> {
    TextTokenizer::from_gguf(&file.read().expect("a sound file"))
}

fn differences(tokenizer: &TextTokenizer, prompts: &[String], ids: &[Vec<u32>]) -> Vec<String> {
    assert_eq!(prompts.len(), ids.len());
    prompts
        .iter()
        .zip(ids)
        .filter_map(|(prompt, wanted)| {
            let got = tokenizer.encode(prompt, false).expect("ids");
            (got != *wanted).then(|| format!("{prompt:?}: {got:?}, wanted {wanted:?}"))
        })
        .collect()
}

#[test]
fn every_pre_tokenizer_cuts_as_it_should() {
    let table: Trained<BTreeMap<String, Vec<Vec<u32>>>> = read_json(&data("trained_bpe.json"));
    assert!(table.ids.len() >= 11);
    let mut wrong = Vec::new();
    for (pre, ids) in &table.ids {
        let file = file(&table.metadata).meta("tokenizer.ggml.pre", Meta::text(pre));
        let tokenizer = open(&file).expect("a tokenizer");
        for difference in differences(&tokenizer, &table.prompts, ids) {
            wrong.push(format!("{pre} {difference}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn sentence_pieces_are_joined_as_in_llama_cpp() {
    for name in [
        "trained_spm.json",
        "trained_spm_bare.json",
        "trained_unigram.json",
    ] {
        let table: Trained<Vec<Vec<u32>>> = read_json(&data(name));
        let tokenizer = open(&file(&table.metadata)).expect("a tokenizer");
        let mut wrong = differences(&tokenizer, &table.prompts, &table.ids);
        // llama.cpp doubles a mark of a space that is in the text; sentencepiece does not.
        wrong.retain(|difference| !difference.starts_with("\"▁\": [5], wanted [5, 5]"));
        assert!(wrong.is_empty(), "{name}\n{}", wrong.join("\n"));
    }
}

#[test]
fn what_stands_around_a_text_is_as_the_file_says() {
    let table: Trained<Vec<Vec<u32>>> = read_json(&data("trained_spm.json"));
    let mut metadata = table.metadata.clone();
    let with = |metadata: &Map<String, Value>| {
        let tokenizer = open(&file(metadata)).expect("a tokenizer");
        let plain = tokenizer.encode("Once", false).expect("ids");
        let special = tokenizer.encode("Once", true).expect("ids");
        (plain, special)
    };
    let (plain, special) = with(&metadata);
    assert_eq!(plain, special);
    metadata.insert("add_eos_token".to_owned(), true.into());
    metadata.remove("add_bos_token");
    let (plain, special) = with(&metadata);
    let wanted: Vec<u32> = [1].into_iter().chain(plain).chain([2]).collect();
    assert_eq!(special, wanted, "this kind adds bos unless told otherwise");
}

#[test]
fn the_ends_of_a_turn_are_known() {
    let table: Trained<BTreeMap<String, Vec<Vec<u32>>>> = read_json(&data("trained_bpe.json"));
    let sound = file(&table.metadata).meta("tokenizer.ggml.pre", Meta::text("qwen2"));
    let tokenizer = open(&sound).expect("a tokenizer");
    // Its own end, and those that are known by their names.
    assert_eq!(tokenizer.special().ends, [1, 2]);
    assert!(tokenizer.is_end(2) && !tokenizer.is_end(0));
    assert_eq!(tokenizer.special().bos, Some(0));
    assert_eq!(tokenizer.token_id("<|im_end|>"), Some(2));
    assert_eq!(tokenizer.token_bytes(2), Some("<|im_end|>".as_bytes()));
    assert_eq!(tokenizer.token_bytes(tokenizer.vocabulary() as u32), None);
}

/// The sound metadata with one entry changed, or left out.
fn damaged(key: &str, value: Option<Meta>) -> Result<TextTokenizer, ModelError> {
    let table: Trained<Vec<Vec<u32>>> = read_json(&data("trained_spm.json"));
    let mut file = file(&table.metadata);
    let key = format!("tokenizer.ggml.{key}");
    file.metadata.retain(|(name, _)| *name != key);
    file.metadata.extend(value.map(|value| (key, value)));
    open(&file)
}

fn bytes_with(key: &str, value: Meta) -> Result<TextTokenizer, ModelError> {
    let mut file = crate::tokenizers::byte_file(&["<s>", "</s>"], 0, 1);
    let key = format!("tokenizer.ggml.{key}");
    file.metadata.retain(|(name, _)| *name != key);
    file.metadata.push((key, value));
    open(&file)
}

#[test]
fn damaged_metadata_are_refused_by_name() {
    let many = |count: usize| vec!["x".to_owned(); count];
    let numbered = |count: usize| (0..count).map(|number| number.to_string()).collect();
    let refused = [
        ("model", damaged("model", None)),
        ("tokens", damaged("tokens", None)),
        ("scores", damaged("scores", None)),
        ("tokens", damaged("tokens", Some(Meta::Texts(Vec::new())))),
        ("tokens", damaged("tokens", Some(Meta::Texts(many(600))))),
        (
            "tokens",
            damaged("tokens", Some(Meta::texts(&["a", "", "b"]))),
        ),
        (
            "token_type",
            damaged("tokens", Some(Meta::Texts(numbered(7)))),
        ),
        (
            "token_type",
            damaged("token_type", Some(Meta::I32s(vec![1; 5]))),
        ),
        ("scores", damaged("scores", Some(Meta::F32s(vec![0.0; 5])))),
        (
            "bos_token_id",
            damaged("bos_token_id", Some(Meta::U32(600))),
        ),
        (
            "eos_token_id",
            damaged("eos_token_id", Some(Meta::U32(u32::MAX))),
        ),
        (
            "eot_token_id",
            damaged("eot_token_id", Some(Meta::U32(99_999))),
        ),
        ("merges", bytes_with("merges", Meta::texts(&["ab"]))),
        ("merges", bytes_with("merges", Meta::texts(&["a "]))),
        ("merges", bytes_with("merges", Meta::texts(&["a b"]))),
        ("merges", bytes_with("merges", Meta::texts(&["a bc"]))),
        ("merges", bytes_with("merges", Meta::texts(&["", "a a"]))),
        ("separator", bytes_with("add_sep_token", Meta::Bool(true))),
    ];
    for (name, result) in refused {
        match result {
            Err(ModelError::Language(LanguageError::InvalidTokenizer { field, .. })) => {
                assert!(field.contains(name), "{field}, expected {name}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    let wrong_types = [
        damaged("tokens", Some(Meta::U32(7))),
        damaged("scores", Some(Meta::F32s(vec![f32::NAN; 600]))),
        damaged("model", Some(Meta::Bool(true))),
        damaged("bos_token_id", Some(Meta::text("1"))),
        damaged("add_bos_token", Some(Meta::U32(7))),
        damaged("add_space_prefix", Some(Meta::text("yes"))),
    ];
    for result in wrong_types {
        assert!(
            matches!(result, Err(ModelError::InvalidConfig { .. })),
            "{result:?}"
        );
    }
}

#[test]
fn unknown_kinds_are_refused_with_those_that_are_known() {
    match damaged("model", Some(Meta::text("rwkv"))) {
        Err(ModelError::Language(LanguageError::UnsupportedTokenizer { found, known, .. })) => {
            assert_eq!(found, "rwkv");
            assert_eq!(known, ["gpt2", "llama", "t5", "bert"]);
        }
        other => panic!("{other:?}"),
    }
    match bytes_with("pre", Meta::text("brand-new")) {
        Err(ModelError::Language(LanguageError::UnsupportedTokenizer { found, known, .. })) => {
            assert_eq!(found, "brand-new");
            assert!(known.contains(&"llama-bpe") && known.contains(&"qwen2"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_broken_normaliser_table_is_an_error_and_no_panic() {
    for table in [vec![1], vec![255; 40], vec![4, 0, 0, 0, 1, 2, 3, 4, 65, 0]] {
        let trained: Trained<Vec<Vec<u32>>> = read_json(&data("trained_unigram.json"));
        let mut metadata = trained.metadata;
        metadata.insert("precompiled_charsmap".to_owned(), table.into());
        if let Ok(tokenizer) = open(&file(&metadata)) {
            let _ = tokenizer.encode("ﬁne ½ Ａ", true);
        }
    }
}

#[test]
fn word_pieces_are_found_by_the_longest_first() {
    let tokens = [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁play", "▁the", "ing", "▁un", "s", "▁.",
    ];
    let file = GgufWriter::new()
        .meta("tokenizer.ggml.model", Meta::text("bert"))
        .meta("tokenizer.ggml.tokens", Meta::texts(&tokens))
        .meta(
            "tokenizer.ggml.token_type",
            Meta::I32s(vec![3, 3, 3, 3, 1, 1, 1, 1, 1, 1]),
        )
        .meta("tokenizer.ggml.unknown_token_id", Meta::U32(1))
        .meta("tokenizer.ggml.bos_token_id", Meta::U32(2))
        .meta("tokenizer.ggml.seperator_token_id", Meta::U32(3));
    let tokenizer = open(&file).expect("a tokenizer");
    let ids = tokenizer
        .encode("Playing the plays unthe. Zebra", true)
        .expect("ids");
    assert_eq!(ids, [2, 4, 6, 5, 4, 8, 1, 9, 1, 3]);
    assert_eq!(tokenizer.decode(&ids), "playing the plays.");
}
