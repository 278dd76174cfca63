//! BLIP's weights, laid out once for the kernels that read them.

use super::super::builder::{Builder, Linear, Norm};
use super::super::weights::SightTensors;
use super::config::{Blip, Text};
use crate::kernels::{Cpu, Matrix};
use crate::models::ModelError;
use crate::models::checkpoint::Checkpoint;

/// One attention, with the norm that follows it.
#[derive(Debug)]
pub(super) struct AttentionTensors {
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) out: Linear,
    pub(super) norm: Norm,
}

impl AttentionTensors {
    fn bytes(&self) -> usize {
        let linears = [&self.query, &self.key, &self.value, &self.out];
        linears.into_iter().map(Linear::bytes).sum::<usize>() + self.norm.bytes()
    }
}

#[derive(Debug)]
pub(super) struct LayerTensors {
    pub(super) own: AttentionTensors,
    /// Over the rows beside the text.
    pub(super) beside: AttentionTensors,
    pub(super) mlp_in: Linear,
    pub(super) mlp_out: Linear,
    pub(super) mlp_norm: Norm,
}

/// BERT's transformer with a second attention in each layer.
#[derive(Debug)]
pub(super) struct TextTensors {
    /// [vocabulary, hidden].
    pub(super) words: Matrix,
    /// [positions, hidden].
    pub(super) positions: Vec<f32>,
    pub(super) norm: Norm,
    pub(super) layers: Vec<LayerTensors>,
}

impl TextTensors {
    fn bytes(&self) -> usize {
        let layers = self.layers.iter().map(|layer| {
            layer.own.bytes()
                + layer.beside.bytes()
                + layer.mlp_in.bytes()
                + layer.mlp_out.bytes()
                + layer.mlp_norm.bytes()
        });
        self.words.bytes() + 4 * self.positions.len() + self.norm.bytes() + layers.sum::<usize>()
    }
}

/// From the decoder's rows to logits.
#[derive(Debug)]
pub(super) struct HeadTensors {
    pub(super) transform: Linear,
    pub(super) norm: Norm,
    /// `None` where it is the decoder's table of words.
    pub(super) words: Option<Matrix>,
    pub(super) bias: Vec<f32>,
}

/// All weights of a model.
#[derive(Debug)]
pub(super) struct BlipTensors {
    pub(super) sight: SightTensors,
    /// Reads questions.
    pub(super) encoder: Option<TextTensors>,
    pub(super) decoder: TextTensors,
    pub(super) head: HeadTensors,
}

impl BlipTensors {
    pub(super) fn bytes(&self) -> u64 {
        let HeadTensors {
            transform,
            norm,
            words,
            bias,
        } = &self.head;
        let words = words.as_ref().map_or(0, Matrix::bytes);
        let head = transform.bytes() + norm.bytes() + words + 4 * bias.len();
        let encoder = self.encoder.as_ref().map_or(0, TextTensors::bytes);
        self.sight.bytes() + (encoder + self.decoder.bytes() + head) as u64
    }
}

/// Checks a checkpoint's tensors and counts the bytes that they will take, by the headers alone.
pub(super) fn measure(cpu: Cpu, blip: &Blip, checkpoint: &Checkpoint) -> Result<u64, ModelError> {
    let mut builder = Builder::new(cpu, checkpoint, true);
    build(&mut builder, blip)?;
    Ok(builder.bytes())
}

/// Loads all weights.
pub(super) fn load(
    cpu: Cpu,
    blip: &Blip,
    checkpoint: &Checkpoint,
) -> Result<BlipTensors, ModelError> {
    build(&mut Builder::new(cpu, checkpoint, false), blip)
}

fn build(builder: &mut Builder<'_>, blip: &Blip) -> Result<BlipTensors, ModelError> {
    let text = &blip.text;
    let sight = builder.sight(&blip.sight)?;
    let encoder = match blip.answers {
        true => {
            builder.enter_at("text_encoder.");
            Some(transformer(builder, text, text.seen)?)
        }
        false => None,
    };
    builder.enter_at("text_decoder.bert.");
    let seen = if blip.answers { text.hidden } else { text.seen };
    let decoder = transformer(builder, text, seen)?;
    builder.enter_at("text_decoder.cls.predictions.");
    let hidden = text.hidden;
    let transform = builder.linear("transform.dense", hidden, hidden, true)?;
    let norm = builder.norm("transform.LayerNorm", hidden, false, text.epsilon)?;
    let words = match text.tied {
        true => None,
        false => Some(builder.matrix("decoder", text.vocabulary, hidden)?),
    };
    let bias = match builder.has("bias") {
        true => "bias",
        false => "decoder.bias",
    };
    let bias = builder.vector(bias, &[text.vocabulary])?;
    Ok(BlipTensors {
        sight,
        encoder,
        decoder,
        head: HeadTensors {
            transform,
            norm,
            words,
            bias,
        },
    })
}

fn transformer(
    builder: &mut Builder<'_>,
    text: &Text,
    seen: usize,
) -> Result<TextTensors, ModelError> {
    let (hidden, epsilon) = (text.hidden, text.epsilon);
    let words = builder.matrix("embeddings.word_embeddings", text.vocabulary, hidden)?;
    let positions = "embeddings.position_embeddings.weight";
    let positions = builder.vector(positions, &[text.positions, hidden])?;
    let norm = builder.norm("embeddings.LayerNorm", hidden, false, epsilon)?;
    let mut layers = Vec::new();
    for number in 0..text.layers {
        let at = |name: &str| format!("encoder.layer.{number}.{name}");
        let mut attention = |name: &str, inputs: usize| {
            let at = |part: &str| at(&format!("{name}.{part}"));
            Ok::<_, ModelError>(AttentionTensors {
                query: builder.linear(&at("self.query"), hidden, hidden, true)?,
                key: builder.linear(&at("self.key"), inputs, hidden, true)?,
                value: builder.linear(&at("self.value"), inputs, hidden, true)?,
                out: builder.linear(&at("output.dense"), hidden, hidden, true)?,
                norm: builder.norm(&at("output.LayerNorm"), hidden, false, epsilon)?,
            })
        };
        let own = attention("attention", hidden)?;
        let beside = attention("crossattention", seen)?;
        let inside = text.intermediate;
        layers.push(LayerTensors {
            own,
            beside,
            mlp_in: builder.linear(&at("intermediate.dense"), hidden, inside, true)?,
            mlp_out: builder.linear(&at("output.dense"), inside, hidden, true)?,
            mlp_norm: builder.norm(&at("output.LayerNorm"), hidden, false, epsilon)?,
        });
    }
    builder.require_all_used("encoder.layer.")?;
    Ok(TextTensors {
        words,
        positions,
        norm,
        layers,
    })
}
