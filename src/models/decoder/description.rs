//! What a decoder is, as data: read from a file's header, followed by the one code path.

use super::names::Names;
use super::rope::{Rope, Scaling};
use crate::kernels::Activation;

/// Which norms a layer has besides those of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Norms {
    /// Before each half: `x + f(norm(x))`.
    Before,
    /// Before and after each half: `x + norm(f(norm(x)))`.
    Around,
    /// After each half: `x + norm(f(x))`.
    After,
    /// One before both halves: `x + f(norm(x)) + g(norm(x))`.
    Shared,
}

/// How queries and keys are normalised before they are turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadNorm {
    None,
    /// Each head by itself.
    PerHead,
    /// All heads together.
    Whole,
}

/// Which linear layers have biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Biases {
    pub(super) qkv: bool,
    pub(super) attention_out: bool,
    pub(super) mlp: bool,
    pub(super) head: bool,
}

/// How a file holds what is one matrix to one model and several to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parts {
    /// Query, key and value apart; gate and up apart.
    Apart,
    /// Query, key and value in one; gate and up in one.
    Fused,
}

/// Positions of one kind of layer: the angles' base, and how they are scaled.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rotary {
    pub(super) theta: f64,
    /// Components of a head that are turned.
    pub(super) width: usize,
    pub(super) scaling: RotaryScaling,
    /// As [`Rope::axes`].
    pub(super) axes: Vec<u8>,
}

/// A scaling, or two of which the context's length decides.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RotaryScaling {
    Fixed(Scaling),
    ByContext {
        short: Scaling,
        long: Scaling,
        /// The longest context that is short.
        original: usize,
    },
}

impl Rotary {
    /// The frequencies for sequences of up to `context` tokens.
    pub(super) fn rope(&self, context: usize) -> Rope {
        let scaling = match &self.scaling {
            RotaryScaling::Fixed(scaling) => scaling,
            RotaryScaling::ByContext {
                short,
                long,
                original,
            } => {
                if context > *original {
                    long
                } else {
                    short
                }
            }
        };
        Rope {
            axes: self.axes.clone(),
            ..Rope::new(self.theta, self.width, scaling)
        }
    }
}

/// What differs from layer to layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LayerKind {
    /// How many tokens a token sees, itself included; `None` sees all before it.
    pub(super) window: Option<usize>,
    /// Which of the description's rotary positions; `None` for a layer that knows no positions.
    pub(super) rotary: Option<usize>,
}

/// A decoder's architecture.
#[derive(Debug, Clone)]
pub(super) struct Description {
    pub(super) architecture: String,
    /// Width of the residual stream.
    pub(super) hidden: usize,
    pub(super) vocabulary: usize,
    pub(super) heads: usize,
    /// Heads of keys and values; fewer than `heads` where several share one.
    pub(super) kv_heads: usize,
    pub(super) head_width: usize,
    /// Width of the feed-forward network's inside.
    pub(super) intermediate: usize,
    pub(super) activation: Activation,
    /// Whether the feed-forward network is `activation(gate) · up`; otherwise it is `activation(gate)`.
    pub(super) gated: bool,
    pub(super) norms: Norms,
    pub(super) head_norm: HeadNorm,
    /// Layer norms, with biases, in place of root-mean-square norms.
    pub(super) layer_norms: bool,
    pub(super) epsilon: f32,
    /// What is added to each stored norm weight.
    pub(super) norm_shift: f32,
    pub(super) biases: Biases,
    pub(super) parts: Parts,
    /// Rows of queries and keys lie so that components 2i and 2i + 1 are turned together, and not
    /// i and i + width/2.
    pub(super) interleaved: bool,
    /// What scores are multiplied by.
    pub(super) attention_scale: f32,
    /// Scores `s` become `cap · tanh(s / cap)`.
    pub(super) attention_cap: Option<f32>,
    /// The same for logits.
    pub(super) logit_cap: Option<f32>,
    pub(super) embedding_scale: f32,
    /// What each half of a layer is multiplied by before it is added.
    pub(super) residual_scale: f32,
    pub(super) logit_scale: f32,
    /// The head is the embedding table.
    pub(super) tied: bool,
    pub(super) rotaries: Vec<Rotary>,
    pub(super) layers: Vec<LayerKind>,
    /// The most tokens of a sequence that the model was made for.
    pub(super) context: usize,
    pub(super) names: &'static Names,
}

impl Description {
    /// Width of one token's queries, and of its attention result.
    pub(super) fn query_width(&self) -> usize {
        self.heads * self.head_width
    }

    /// Width of one token's keys, and of its values.
    pub(super) fn key_width(&self) -> usize {
        self.kv_heads * self.head_width
    }

    /// Query heads that share a head of keys and values.
    pub(super) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

/// The kinds of a model's layers, one of `period` of which sees everything: the last of them.
pub(super) fn alternating(
    layers: usize,
    period: usize,
    local: LayerKind,
    global: LayerKind,
) -> Vec<LayerKind> {
    (1..=layers)
        .map(|layer| {
            if layer.is_multiple_of(period) {
                global
            } else {
                local
            }
        })
        .collect()
}
