//! The tokenizers of the two real GGUF files, against llama.cpp and transformers.

use std::path::Path;
use std::sync::Arc;

use modelpool::language::{Detokenizer, TextTokenizer};
use modelpool::models::Gguf;
use serde::Deserialize;

use crate::{data, read_json, real_models};

#[derive(Deserialize)]
struct Table {
    ids: Vec<Vec<u32>>,
    texts: Vec<String>,
}

fn open(path: &Path) -> TextTokenizer {
    let gguf = Gguf::open(path).expect("a sound file");
    TextTokenizer::from_gguf(&gguf).expect("a tokenizer that is known")
}

fn compare(tokenizer: TextTokenizer, table: &str) {
    let tokenizer = Arc::new(tokenizer);
    let prompts: Vec<String> = read_json(&data("prompts.json"));
    let table: Table = read_json(&data(table));
    assert!(prompts.len() >= 200);
    assert_eq!(prompts.len(), table.ids.len());
    let mut wrong = Vec::new();
    for ((prompt, ids), text) in prompts.iter().zip(&table.ids).zip(&table.texts) {
        let got = tokenizer.encode(prompt, false).expect("ids");
        if got != *ids {
            wrong.push(format!("{prompt:?}: {got:?}, wanted {ids:?}"));
        }
        let got = tokenizer.decode(ids);
        if got != *text {
            wrong.push(format!("{ids:?}: {got:?}, wanted {text:?}"));
        }
        let mut increments = Detokenizer::new(Arc::clone(&tokenizer));
        let mut joined: String = ids.iter().map(|id| increments.push(*id)).collect();
        joined.push_str(&increments.finish());
        assert_eq!(&joined, &got, "{prompt:?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn smollm2_tokenises_as_llama_cpp() {
    compare(open(&real_models::smollm2()), "tokens_smollm2.json");
}

#[test]
fn gemma3_tokenises_as_llama_cpp() {
    compare(open(&real_models::gemma3()), "tokens_gemma3.json");
}
