//! Small tokenizers for tests.

use modelpool::language::TextTokenizer;

use crate::gguf_writer::{GgufWriter, Meta};

/// The 256 characters of byte-level BPE, in the order of their bytes.
pub fn byte_characters() -> Vec<String> {
    let mut next = 0x100_u32;
    (0..=255_u8)
        .map(|byte| {
            let is_itself = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
            let code = if is_itself {
                u32::from(byte)
            } else {
                next += 1;
                next - 1
            };
            char::from_u32(code).expect("a character").to_string()
        })
        .collect()
}

/// A file with these control tokens and, after them, one token for each byte.
pub fn byte_file(controls: &[&str], bos: u32, eos: u32) -> GgufWriter {
    let mut tokens: Vec<String> = controls.iter().map(|name| (*name).to_owned()).collect();
    let mut types = vec![3; tokens.len()];
    tokens.extend(byte_characters());
    types.resize(tokens.len(), 1);
    GgufWriter::new()
        .meta("tokenizer.ggml.model", Meta::text("gpt2"))
        .meta("tokenizer.ggml.pre", Meta::text("gpt-2"))
        .meta("tokenizer.ggml.tokens", Meta::Texts(tokens))
        .meta("tokenizer.ggml.token_type", Meta::I32s(types))
        .meta("tokenizer.ggml.merges", Meta::Texts(Vec::new()))
        .meta("tokenizer.ggml.bos_token_id", Meta::U32(bos))
        .meta("tokenizer.ggml.eos_token_id", Meta::U32(eos))
}

/// A tokenizer with these control tokens and one token for each byte.
pub fn byte_tokenizer(controls: &[&str], bos: u32, eos: u32) -> TextTokenizer {
    let gguf = byte_file(controls, bos, eos).read().expect("a file");
    TextTokenizer::from_gguf(&gguf).expect("a tokenizer")
}
