//! The servable model: shared weights, a cache and buffers of its own.

use std::fmt;
use std::sync::Arc;

use super::super::tower::{self, Eye};
use super::MARKS;
use super::attention::{AttentionScratch, Heads, Stored};
use super::files::BlipWeights;
use super::text::{Own, Pass, Rows, Scratch, Whole};
use crate::kernels::{Cpu, Team};
use crate::model::{CandleModel, ModelInfo};
use crate::models::ModelError;
use crate::models::decoder::DecoderOptions;
use crate::pool::capabilities::text_to_text::{
    BlockId, DecoderLimits, LogitRows, PictureRows, SequenceChunk, TextToTextCapable, WantedLogits,
    is_mark,
};
use crate::pool::capabilities::vision::{VisionInput, VisionLanguageCapable};
use crate::pool::core::StepContext;

/// Positions of one block of the cache.
pub(super) const BLOCK_TOKENS: usize = 32;

/// A BLIP model that a worker serves. It shares its weights with other workers and owns its cache, in
/// single precision, and the buffers of a step, which it keeps.
pub struct BlipModel {
    info: ModelInfo,
    weights: Arc<BlipWeights>,
    limits: DecoderLimits,
    cache: Cache,
    eye: tower::Scratch,
    scratch: Scratch,
}

impl fmt::Debug for BlipModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlipModel")
            .field("info", &self.info)
            .field("weights", &self.weights)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Keys and values of all layers, [layers, positions, 2 · hidden].
struct Cache {
    layers: Vec<Vec<f32>>,
    width: usize,
}

impl BlipModel {
    /// A worker's model over weights that others may use too. Of the options, the cache's format is not
    /// heeded.
    ///
    /// # Errors
    /// [`ModelError::InvalidConfig`] for options that do not fit the model.
    pub fn new(
        info: ModelInfo,
        weights: Arc<BlipWeights>,
        options: &DecoderOptions,
    ) -> Result<Self, ModelError> {
        let limits = weights.files().limits(options)?;
        let text = &weights.files().described().text;
        let values = limits.blocks * BLOCK_TOKENS * 2 * text.hidden;
        let cache = Cache {
            layers: vec![vec![0.0; values]; text.layers],
            width: text.hidden,
        };
        Ok(Self {
            info,
            limits,
            cache,
            weights,
            eye: tower::Scratch::default(),
            scratch: Scratch::default(),
        })
    }

    /// The vectors [rows, hidden] that the tower makes of a prepared picture.
    ///
    /// # Errors
    /// [`ModelError::WrongShape`] for pixels of a size that the tower does not take.
    #[cfg(feature = "testing")]
    pub fn tower(
        &mut self,
        pixels: &crate::images::PixelTensor,
        context: &StepContext,
    ) -> Result<Vec<f32>, ModelError> {
        let team = context.team();
        Ok(eye(&self.weights).look(team, pixels, &mut self.eye)?.rows)
    }

    /// What a question's tokens become, [tokens, hidden], when they are read beside a picture.
    #[cfg(feature = "testing")]
    pub fn question(&self) -> &[f32] {
        &self.scratch.hidden
    }

    /// Why a question cannot be read.
    fn check_question(&self, question: &[u32]) -> Result<(), ModelError> {
        let text = &self.weights.files().described().text;
        let most = text.positions;
        if question.is_empty() {
            let detail = "there is no question".to_owned();
            return Err(ModelError::Tokenize { detail });
        }
        if question.len() > most {
            let tokens = question.len();
            return Err(ModelError::PromptTooLong { tokens, most });
        }
        match question.iter().find(|id| **id as usize >= text.vocabulary) {
            Some(id) => Err(ModelError::Tokenize {
                detail: format!(
                    "token {id} is outside the vocabulary of {}",
                    text.vocabulary
                ),
            }),
            None => Ok(()),
        }
    }

    /// Why a step cannot be run.
    fn check(&self, chunk: &SequenceChunk<'_>) -> Result<(), ModelError> {
        let text = &self.weights.files().described().text;
        let end = chunk.position.saturating_add(chunk.tokens.len());
        let needed = end.div_ceil(BLOCK_TOKENS);
        let blocks = self.limits.blocks;
        let foreign = chunk.blocks.iter().find(|block| block.index() >= blocks);
        // Where positions end, there is no room.
        let places = (0..).map(|number| chunk.position.saturating_add(number));
        let mut tokens = places.zip(chunk.tokens);
        let unknown = tokens.find(|(place, id)| match place < &MARKS {
            true => !is_mark(**id),
            false => **id as usize >= text.vocabulary,
        });
        let beside = chunk
            .picture
            .filter(|picture| picture.rows.width() == text.row_values());
        let detail = if chunk.tokens.is_empty() {
            "it has no tokens".to_owned()
        } else if beside.is_none() {
            "it has no picture that the model has looked at".to_owned()
        } else if end > self.limits.context_tokens {
            format!("{end} tokens are more than {}", self.limits.context_tokens)
        } else if chunk.blocks.len() < needed {
            let blocks = chunk.blocks.len();
            format!("{end} tokens take {needed} blocks, it has {blocks}")
        } else if let Some(block) = foreign {
            format!("block {} is not one of {blocks}", block.0)
        } else if let Some((place, id)) = unknown {
            format!("at {place}, token {id} cannot be")
        } else {
            return Ok(());
        };
        Err(ModelError::InvalidStep {
            sequence: chunk.sequence.0,
            detail,
        })
    }
}

fn eye(weights: &BlipWeights) -> Eye<'_> {
    Eye {
        cpu: weights.files().cpu(),
        sight: &weights.files().described().sight,
        tensors: &weights.tensors().sight,
    }
}

impl VisionLanguageCapable for BlipModel {
    fn encode(
        &mut self,
        input: &VisionInput,
        context: &StepContext,
    ) -> Result<PictureRows, ModelError> {
        let [pixels] = input.pictures.as_slice() else {
            let count = input.pictures.len();
            return Err(ModelError::Other(format!("{count} pictures are not one")));
        };
        let tensors = self.weights.tensors();
        let text = &self.weights.files().described().text;
        if tensors.encoder.is_some() {
            self.check_question(&input.question)?;
        }
        let team = context.team();
        let cpu = self.weights.files().cpu();
        let seen = eye(&self.weights).look(team, pixels, &mut self.eye)?.rows;
        let scratch = &mut self.scratch;
        let values = team.run(|| {
            let pass = |tensors| Pass {
                cpu,
                team,
                text,
                tensors,
            };
            let decoder = pass(&tensors.decoder);
            let Some(encoder) = &tensors.encoder else {
                let count = seen.len() / text.seen;
                return decoder.beside(&seen, count, scratch);
            };
            let encoder = pass(encoder);
            let beside = encoder.beside(&seen, seen.len() / text.seen, scratch);
            let rows = Rows {
                tokens: &input.question,
                position: 0,
                beside: &beside,
            };
            let mut whole = Whole {
                cpu,
                heads: text.heads(),
            };
            encoder.run(&[rows], &mut whole, scratch);
            let read = std::mem::take(&mut scratch.hidden);
            let values = decoder.beside(&read, input.question.len(), scratch);
            scratch.hidden = read;
            values
        });
        if !values.iter().all(|value| value.is_finite()) {
            return Err(ModelError::NotFiniteOutput);
        }
        Ok(PictureRows::new(text.row_values(), values)?.beside(MARKS))
    }
}

impl CandleModel for BlipModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl TextToTextCapable for BlipModel {
    fn limits(&self) -> DecoderLimits {
        self.limits
    }

    fn forward(
        &mut self,
        chunks: &[SequenceChunk<'_>],
        logits: &mut LogitRows,
        context: &StepContext,
    ) -> Result<(), ModelError> {
        for chunk in chunks {
            self.check(chunk)?;
        }
        let text = &self.weights.files().described().text;
        if logits.vocabulary() != text.vocabulary {
            return Err(ModelError::InvalidStep {
                sequence: chunks.first().map_or(0, |chunk| chunk.sequence.0),
                detail: format!("rows of {} logits are asked for", logits.vocabulary()),
            });
        }
        let mut step = StepRows::default();
        for chunk in chunks {
            step.add(chunk);
        }
        let logits = logits.rows_mut(step.wanted.len());
        let (tensors, cpu) = (self.weights.tensors(), self.weights.files().cpu());
        let team = context.team();
        let (cache, scratch) = (&mut self.cache, &mut self.scratch);
        run(team, cpu, text, &step, cache, scratch, (tensors, logits));
        Ok(())
    }
}

/// The rows of a step: marks are none.
#[derive(Default)]
struct StepRows<'a> {
    texts: Vec<Rows<'a>>,
    blocks: Vec<&'a [BlockId]>,
    rows: usize,
    /// The rows whose logits are wanted.
    wanted: Vec<usize>,
}

impl<'a> StepRows<'a> {
    fn add(&mut self, chunk: &SequenceChunk<'a>) {
        let marks = MARKS.saturating_sub(chunk.position).min(chunk.tokens.len());
        let tokens = &chunk.tokens[marks..];
        let first = match chunk.logits {
            WantedLogits::None => tokens.len(),
            WantedLogits::Last => tokens.len().saturating_sub(1),
            WantedLogits::All => 0,
        };
        self.wanted
            .extend(self.rows + first..self.rows + tokens.len());
        self.rows += tokens.len();
        let Some(picture) = chunk.picture.filter(|_| !tokens.is_empty()) else {
            return;
        };
        self.blocks.push(chunk.blocks);
        self.texts.push(Rows {
            tokens,
            position: chunk.position + marks - MARKS,
            beside: picture.rows.values(),
        });
    }
}

fn run(
    team: &Team,
    cpu: Cpu,
    text: &super::config::Text,
    step: &StepRows<'_>,
    cache: &mut Cache,
    scratch: &mut Scratch,
    (tensors, logits): (&super::weights::BlipTensors, &mut [f32]),
) {
    team.run(|| {
        let pass = Pass {
            cpu,
            team,
            text,
            tensors: &tensors.decoder,
        };
        let mut cached = Cached {
            cpu,
            heads: text.heads(),
            texts: &step.texts,
            blocks: &step.blocks,
            cache,
            gathered: Vec::new(),
        };
        pass.run(&step.texts, &mut cached, scratch);
        pass.head(&tensors.head, &step.wanted, scratch, logits);
    });
}

/// Texts whose earlier rows lie in the cache.
struct Cached<'a> {
    cpu: Cpu,
    heads: Heads,
    texts: &'a [Rows<'a>],
    blocks: &'a [&'a [BlockId]],
    cache: &'a mut Cache,
    /// Keys and values of one text in one layer, one row after another.
    gathered: Vec<f32>,
}

impl Own for Cached<'_> {
    fn attend(
        &mut self,
        text: usize,
        layer: usize,
        [query, key, value]: [&[f32]; 3],
        scratch: &mut AttentionScratch,
        context: &mut [f32],
    ) {
        let width = self.cache.width;
        let stored = &mut self.cache.layers[layer];
        let blocks = self.blocks[text];
        let place = |position: usize| {
            let at = position + MARKS;
            let block = blocks[at / BLOCK_TOKENS].index();
            (block * BLOCK_TOKENS + at % BLOCK_TOKENS) * 2 * width
        };
        let first = self.texts[text].position;
        let rows = key.chunks_exact(width).zip(value.chunks_exact(width));
        for (position, (key, value)) in (first..).zip(rows) {
            let at = place(position);
            stored[at..at + width].copy_from_slice(key);
            stored[at + width..at + 2 * width].copy_from_slice(value);
        }
        let count = first + key.len() / width;
        self.gathered.clear();
        for position in 0..count {
            let at = place(position);
            self.gathered.extend_from_slice(&stored[at..at + 2 * width]);
        }
        let stored = Stored {
            keys: &self.gathered,
            values: &self.gathered[width..],
            stride: 2 * width,
            count,
        };
        let seen = |row: usize| first + row + 1;
        scratch.attend(self.cpu, self.heads, query, stored, seen, context);
    }
}
