//! The tokenizers of T5 and of BERT.

use tokenizers::models::bpe::Vocab;
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{BertNormalizer, NormalizerWrapper, Precompiled, Replace, Sequence};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{DecoderWrapper, Tokenizer, decoders};

use super::vocabulary::{Kind, Vocabulary};
use super::{Habits, invalid};
use crate::language::tokenizer::guarded;
use crate::models::{Gguf, ModelError};

const CHARSMAP: &str = "tokenizer.ggml.precompiled_charsmap";
const SPACE: char = '\u{2581}';

/// SentencePiece's Unigram: the most likely way to cut a text.
pub(super) fn build_unigram(
    gguf: &Gguf,
    vocabulary: &Vocabulary,
) -> Result<(Tokenizer, Habits), ModelError> {
    let broken = |error: tokenizers::Error| invalid("tokenizer.ggml.tokens", error.to_string());
    let scores = vocabulary.scores(gguf)?;
    let unknown = vocabulary
        .iter()
        .find(|(_, _, kind)| *kind == Kind::Unknown)
        .map(|(id, _, _)| id)
        .or(gguf.u32("tokenizer.ggml.unknown_token_id")?)
        .unwrap_or(2);
    let pieces = vocabulary
        .iter()
        .zip(&scores)
        .map(|((_, text, _), score)| (text.to_owned(), f64::from(*score)))
        .collect();
    let has_bytes = vocabulary.iter().any(|(_, _, kind)| kind == Kind::Byte);
    let model = Unigram::from(pieces, Some(unknown as usize), has_bytes).map_err(broken)?;
    let mut tokenizer = Tokenizer::new(model);

    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    if let Some(table) = gguf.i32s(CHARSMAP)?.filter(|table| !table.is_empty()) {
        // Signed or not, each is a byte.
        let bytes: Vec<u8> = table.into_iter().map(|byte| byte as u8).collect();
        let precompiled = guarded(|| Ok(Precompiled::from(&bytes)?))
            .map_err(|error| invalid(CHARSMAP, error.to_string()))?;
        steps.push(precompiled.into());
    }
    if gguf.bool("tokenizer.ggml.remove_extra_whitespaces")? == Some(true) {
        for (runs, content) in [("^ +| +$", ""), (" {2,}", " ")] {
            let runs = ReplacePattern::Regex(runs.to_owned());
            steps.push(Replace::new(runs, content).map_err(broken)?.into());
        }
    }
    if !steps.is_empty() {
        tokenizer
            .with_normalizer(Some(Sequence::new(steps)))
            .map_err(broken)?;
    }
    let prepend = match gguf.bool("tokenizer.ggml.add_space_prefix")? {
        Some(true) => PrependScheme::Always,
        Some(false) | None => PrependScheme::Never,
    };
    let spaces = Metaspace::new(SPACE, prepend, true);
    tokenizer.with_pre_tokenizer(Some(spaces.clone()));
    tokenizer.with_decoder(Some(DecoderWrapper::Metaspace(spaces)));
    let habits = Habits {
        eos: Some(1),
        unknown: Some(2),
        add_eos: true,
        ..Habits::default()
    };
    Ok((tokenizer, habits))
}

/// BERT's WordPiece. The format writes a word's beginning with the mark of a space, and its
/// continuations without anything; the library wants `##` before those.
pub(super) fn build_word_pieces(
    gguf: &Gguf,
    vocabulary: &Vocabulary,
) -> Result<(Tokenizer, Habits), ModelError> {
    let broken = |error: tokenizers::Error| invalid("tokenizer.ggml.tokens", error.to_string());
    let ids: Vocab = vocabulary
        .iter()
        .map(|(id, text, kind)| {
            let is_name = kind != Kind::Normal || (text.starts_with('[') && text.ends_with(']'));
            let piece = match text.strip_prefix(SPACE) {
                Some(word) => word.to_owned(),
                None if is_name => text.to_owned(),
                None => format!("##{text}"),
            };
            (piece, id)
        })
        .collect();
    if ids.len() != vocabulary.len() {
        return Err(invalid("tokenizer.ggml.tokens", "a word is there twice").into());
    }
    let unknown = gguf.u32("tokenizer.ggml.unknown_token_id")?.unwrap_or(100);
    let unknown = vocabulary.text(unknown).unwrap_or("[UNK]").to_owned();
    let model = WordPiece::builder()
        .vocab(ids)
        .unk_token(unknown)
        .build()
        .map_err(broken)?;
    let mut tokenizer = Tokenizer::new(model);
    let lower_case = gguf
        .bool("tokenizer.ggml.normalizer.lowercase")?
        .unwrap_or(true);
    tokenizer
        .with_normalizer(Some(BertNormalizer::new(true, true, None, lower_case)))
        .map_err(broken)?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_decoder(Some(DecoderWrapper::WordPiece(
        decoders::wordpiece::WordPiece::default(),
    )));
    let habits = Habits {
        bos: Some(101),
        unknown: Some(100),
        separator: Some(102),
        add_bos: true,
        add_separator: true,
        ..Habits::default()
    };
    Ok((tokenizer, habits))
}
