//! Byte-level BPE, as GPT-2 began it.

use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{Tokenizer, decoders};

use super::vocabulary::Vocabulary;
use super::{Habits, invalid, missing, pre_tokenizer};
use crate::models::{Gguf, ModelError};

const MERGES: &str = "tokenizer.ggml.merges";

pub(super) fn build(
    gguf: &Gguf,
    vocabulary: &Vocabulary,
) -> Result<(Tokenizer, Habits), ModelError> {
    let pre = pre_tokenizer::find(gguf)?;
    let ids: Vocab = vocabulary
        .iter()
        .map(|(id, text, _)| (text.to_owned(), id))
        .collect();
    let merges = read_merges(gguf, &ids)?;
    let model = BPE::builder()
        .vocab_and_merges(ids, merges)
        .ignore_merges(pre.whole_words)
        .build()
        .map_err(|error| invalid(MERGES, error.to_string()))?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(pre.build()?));
    tokenizer.with_decoder(Some(decoders::DecoderWrapper::ByteLevel(
        ByteLevel::default(),
    )));
    let habits = Habits {
        add_bos: pre.add_bos,
        ..Habits::default()
    };
    Ok((tokenizer, habits))
}

/// Pairs of tokens that give a token.
fn read_merges(gguf: &Gguf, ids: &Vocab) -> Result<Merges, ModelError> {
    let lines = gguf.strs(MERGES)?.ok_or_else(|| missing(MERGES))?;
    let mut whole = String::new();
    let mut merges = Merges::with_capacity(lines.len());
    for line in lines.iter() {
        // The first half may itself begin with a space.
        let second = line
            .char_indices()
            .skip(1)
            .find(|(_, character)| *character == ' ')
            .map(|(place, _)| place);
        let halves = second.map(|place| (&line[..place], &line[place + 1..]));
        let Some((left, right)) = halves.filter(|(_, right)| !right.is_empty()) else {
            return Err(invalid(MERGES, format!("{line:?} is not a pair")).into());
        };
        whole.clear();
        whole.push_str(left);
        whole.push_str(right);
        let unknown = [left, right, &whole]
            .into_iter()
            .find(|token| !ids.contains_key(*token));
        if let Some(token) = unknown {
            let detail = format!("{line:?} needs {token:?}, which is no token");
            return Err(invalid(MERGES, detail).into());
        }
        merges.push((left.to_owned(), right.to_owned()));
    }
    Ok(merges)
}
