//! What an encoder is, as data: read from `config.json`, followed by the one code path.

use super::names::Names;
use crate::kernels::Activation;

/// Where the norms stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    /// After the residual sum, as in the first Transformer: `x = norm(x + f(x))`.
    Post,
    /// Before each half of a layer: `x = x + f(norm(x))`, with a norm after the last layer.
    Pre,
}

/// How the model knows the order of its tokens, apart from the attention's bias.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Positions {
    /// It does not.
    None,
    /// A table of learned vectors, of which the first `offset` are not for tokens.
    Learned { offset: usize, count: usize },
    /// Rotated queries and keys (RoPE); the angle's base is each layer's own.
    Rotary,
}

/// What is added to the attention scores by the distance of key from query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DistanceBias {
    None,
    /// A slope for each head (ALiBi, Press et al. 2022), the same in both directions.
    Alibi,
    /// A learned value for each head and bucket of distances (T5's, Raffel et al. 2020).
    Buckets {
        count: usize,
    },
}

/// What differs from layer to layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LayerKind {
    /// A token sees those at most this far away; `None` sees all.
    pub(super) window: Option<usize>,
    /// RoPE's base.
    pub(super) theta: f64,
    /// Whether a norm stands before the attention (pre-norm models only).
    pub(super) attention_norm: bool,
}

impl LayerKind {
    /// A token sees all others.
    pub(super) const GLOBAL: Self = Self {
        window: None,
        theta: 10_000.0,
        attention_norm: true,
    };
}

/// Which linear layers and norms have biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Biases {
    pub(super) qkv: bool,
    pub(super) attention_out: bool,
    pub(super) mlp_in: bool,
    pub(super) mlp_out: bool,
    pub(super) norm: bool,
}

impl Biases {
    pub(super) const ALL: Self = Self {
        qkv: true,
        attention_out: true,
        mlp_in: true,
        mlp_out: true,
        norm: true,
    };
    pub(super) const NONE: Self = Self {
        norm: false,
        ..Self::NORMS_ONLY
    };
    pub(super) const NORMS_ONLY: Self = Self {
        qkv: false,
        attention_out: false,
        mlp_in: false,
        mlp_out: false,
        norm: true,
    };
}

/// A text encoder's architecture.
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
    /// Whether the feed-forward network is `activation(gate) · up`.
    pub(super) gated: bool,
    pub(super) placement: Placement,
    /// Root-mean-square norms in place of layer norms.
    pub(super) rms: bool,
    pub(super) epsilon: f32,
    pub(super) positions: Positions,
    /// Rows of the token type table; 0 for none. All tokens are of type 0.
    pub(super) token_types: usize,
    pub(super) distance_bias: DistanceBias,
    /// Attention scores are divided by the square root of the heads' width.
    pub(super) scaled: bool,
    /// A token sees only itself and those before it.
    pub(super) causal: bool,
    pub(super) biases: Biases,
    pub(super) layers: Vec<LayerKind>,
    /// How many tokens the positions allow.
    pub(super) max_positions: usize,
    pub(super) names: &'static Names,
}

impl Description {
    /// Width of one token's queries, keys and values together.
    pub(super) fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_width
    }

    /// Width of one token's attention result.
    pub(super) fn context_width(&self) -> usize {
        self.heads * self.head_width
    }

    /// Width of the feed-forward network's first product.
    pub(super) fn mlp_width(&self) -> usize {
        self.intermediate * (1 + usize::from(self.gated))
    }
}
