//! Answers, put together of their pieces.

use super::answer::{Answer, Generation, TextChunk, Token};

/// The pieces of all answers so far.
#[derive(Debug, Default)]
pub(in crate::pool::capabilities) struct Pieces(Vec<(String, Vec<Token>)>);

impl Pieces {
    /// Adds a piece; the last one completes the answers.
    pub(in crate::pool::capabilities) fn add(&mut self, chunk: TextChunk) -> Option<Generation> {
        if self.0.len() <= chunk.choice {
            self.0.resize_with(chunk.choice + 1, Default::default);
        }
        let (text, tokens) = &mut self.0[chunk.choice];
        text.push_str(&chunk.text);
        tokens.extend(chunk.tokens);
        let summary = chunk.summary?;
        let answers = std::mem::take(&mut self.0)
            .into_iter()
            .zip(summary.finish.iter().cloned())
            .map(|((text, tokens), finish)| Answer {
                text,
                tokens,
                finish,
            });
        Some(Generation {
            answers: answers.collect(),
            summary,
        })
    }
}
