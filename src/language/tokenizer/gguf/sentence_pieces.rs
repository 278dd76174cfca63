//! SentencePiece's BPE: of all neighbours that together are a token, those with the highest score are
//! joined first.
//!
//! The library's BPE joins by a list of pairs; here, the pairs that give a token take its score for
//! their rank. With scores that differ from token to token, as trained ones do, that comes to the same.

use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence};
use tokenizers::{DecoderWrapper, Tokenizer, decoders};

use super::vocabulary::{Kind, Vocabulary};
use super::{Habits, invalid};
use crate::models::{Gguf, ModelError};

/// Stands for a space within tokens.
const SPACE: &str = "\u{2581}";

pub(super) fn build(
    gguf: &Gguf,
    vocabulary: &Vocabulary,
) -> Result<(Tokenizer, Habits), ModelError> {
    let broken = |error: tokenizers::Error| invalid("tokenizer.ggml.tokens", error.to_string());
    let scores = vocabulary.scores(gguf)?;
    let ids: Vocab = vocabulary
        .iter()
        .map(|(id, text, _)| (text.to_owned(), id))
        .collect();
    let merges = merges(vocabulary, &scores, &ids);
    let has_bytes = vocabulary.iter().any(|(_, _, kind)| kind == Kind::Byte);
    let unknown = vocabulary
        .iter()
        .find(|(_, _, kind)| *kind == Kind::Unknown)
        .or_else(|| vocabulary.text(0).map(|text| (0, text, Kind::Unknown)));
    let mut model = BPE::builder()
        .vocab_and_merges(ids, merges)
        .byte_fallback(has_bytes)
        .fuse_unk(true);
    if let Some((_, text, _)) = unknown {
        model = model.unk_token(text.to_owned());
    }
    let mut tokenizer = Tokenizer::new(model.build().map_err(broken)?);
    let adds_space = gguf
        .bool("tokenizer.ggml.add_space_prefix")?
        .unwrap_or(true);
    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    if adds_space {
        steps.push(Prepend::new(SPACE.to_owned()).into());
    }
    steps.push(Replace::new(" ", SPACE).map_err(broken)?.into());
    tokenizer
        .with_normalizer(Some(Sequence::new(steps)))
        .map_err(broken)?;
    tokenizer.with_decoder(Some(decoder(adds_space).map_err(broken)?));
    // Its own tokenizer says so of each control token; the file does not.
    let is_phi3 = gguf.str("general.architecture")? == Some("phi3");
    let habits = Habits {
        bos: Some(1),
        eos: Some(2),
        unknown: Some(0),
        add_bos: true,
        strips_after_controls: is_phi3,
        ..Habits::default()
    };
    Ok((tokenizer, habits))
}

fn decoder(adds_space: bool) -> Result<decoders::sequence::Sequence, tokenizers::Error> {
    let mut steps = vec![
        DecoderWrapper::Replace(Replace::new(SPACE, " ")?),
        DecoderWrapper::ByteFallback(decoders::byte_fallback::ByteFallback::new()),
        DecoderWrapper::Fuse(decoders::fuse::Fuse::new()),
    ];
    if adds_space {
        steps.push(DecoderWrapper::Strip(decoders::strip::Strip::new(
            ' ', 1, 0,
        )));
    }
    Ok(decoders::sequence::Sequence::new(steps))
}

/// Every way to put a token together from two others, best score first.
fn merges(vocabulary: &Vocabulary, scores: &[f32], ids: &Vocab) -> Merges {
    struct Merge<'a> {
        score: f32,
        id: u32,
        left: &'a str,
        right: &'a str,
    }
    let mut merges = Vec::new();
    for ((id, text, kind), &score) in vocabulary.iter().zip(scores) {
        if !matches!(kind, Kind::Normal | Kind::UserDefined | Kind::Unused) {
            continue;
        }
        for (place, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(place);
            if ids.contains_key(left) && ids.contains_key(right) {
                merges.push(Merge {
                    score,
                    id,
                    left,
                    right,
                });
            }
        }
    }
    merges.sort_by(|one, other| {
        let by_score = other.score.total_cmp(&one.score);
        by_score.then(one.id.cmp(&other.id))
    });
    merges
        .iter()
        .map(|merge| (merge.left.to_owned(), merge.right.to_owned()))
        .collect()
}
