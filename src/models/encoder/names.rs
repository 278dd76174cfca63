//! How the checkpoints of each family name their tensors.

/// Tensor names without `.weight` and `.bias`; those of a layer follow [`Names::layer`] and the
/// layer's number. What a family has not, is empty.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) word: &'static str,
    pub(super) position: &'static str,
    pub(super) token_type: &'static str,
    pub(super) embedding_norm: &'static str,
    pub(super) distance_bias: &'static str,
    pub(super) final_norm: &'static str,
    pub(super) layer: &'static str,
    /// Query, key and value; a single name where the file holds them as one.
    pub(super) qkv: &'static [&'static str],
    pub(super) query_norm: &'static str,
    pub(super) key_norm: &'static str,
    pub(super) attention_out: &'static str,
    /// The full name of a factor for each of the attention's results.
    pub(super) attention_scale: &'static str,
    pub(super) attention_norm: &'static str,
    /// The inner projection; with a gate, gate and up, or a single name for both as one.
    pub(super) mlp_in: &'static [&'static str],
    pub(super) mlp_out: &'static str,
    /// The full name of a factor for each of the feed-forward network's results.
    pub(super) mlp_scale: &'static str,
    pub(super) mlp_norm: &'static str,
}

pub(super) const BERT: Names = Names {
    word: "embeddings.word_embeddings",
    position: "embeddings.position_embeddings",
    token_type: "embeddings.token_type_embeddings",
    embedding_norm: "embeddings.LayerNorm",
    distance_bias: "",
    final_norm: "",
    layer: "encoder.layer",
    qkv: &[
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
    ],
    query_norm: "",
    key_norm: "",
    attention_out: "attention.output.dense",
    attention_scale: "",
    attention_norm: "attention.output.LayerNorm",
    mlp_in: &["intermediate.dense"],
    mlp_out: "output.dense",
    mlp_scale: "",
    mlp_norm: "output.LayerNorm",
};

pub(super) const JINA_BERT: Names = Names {
    position: "",
    mlp_in: &["mlp.gated_layers"],
    mlp_out: "mlp.wo",
    mlp_norm: "mlp.layernorm",
    ..BERT
};

pub(super) const DISTILBERT: Names = Names {
    token_type: "",
    layer: "transformer.layer",
    qkv: &["attention.q_lin", "attention.k_lin", "attention.v_lin"],
    attention_out: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    mlp_in: &["ffn.lin1"],
    mlp_out: "ffn.lin2",
    mlp_norm: "output_layer_norm",
    ..BERT
};

pub(super) const MPNET: Names = Names {
    token_type: "",
    distance_bias: "encoder.relative_attention_bias",
    qkv: &["attention.attn.q", "attention.attn.k", "attention.attn.v"],
    attention_out: "attention.attn.o",
    attention_norm: "attention.LayerNorm",
    ..BERT
};

pub(super) const MODERNBERT: Names = Names {
    word: "embeddings.tok_embeddings",
    position: "",
    token_type: "",
    embedding_norm: "embeddings.norm",
    distance_bias: "",
    final_norm: "final_norm",
    layer: "layers",
    qkv: &["attn.Wqkv"],
    query_norm: "",
    key_norm: "",
    attention_out: "attn.Wo",
    attention_scale: "",
    attention_norm: "attn_norm",
    mlp_in: &["mlp.Wi"],
    mlp_out: "mlp.Wo",
    mlp_scale: "",
    mlp_norm: "mlp_norm",
};

/// As the files on the hub have it; `fc12` is the gate.
pub(super) const NOMIC_BERT: Names = Names {
    word: "embeddings.word_embeddings",
    position: "",
    token_type: "embeddings.token_type_embeddings",
    embedding_norm: "emb_ln",
    distance_bias: "",
    final_norm: "",
    layer: "encoder.layers",
    qkv: &["attn.Wqkv"],
    query_norm: "",
    key_norm: "",
    attention_out: "attn.out_proj",
    attention_scale: "",
    attention_norm: "norm1",
    mlp_in: &["mlp.fc12", "mlp.fc11"],
    mlp_out: "mlp.fc2",
    mlp_scale: "",
    mlp_norm: "norm2",
};

pub(super) const QWEN3: Names = Names {
    word: "embed_tokens",
    position: "",
    token_type: "",
    embedding_norm: "",
    distance_bias: "",
    final_norm: "norm",
    layer: "layers",
    qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    query_norm: "self_attn.q_norm",
    key_norm: "self_attn.k_norm",
    attention_out: "self_attn.o_proj",
    attention_scale: "",
    attention_norm: "input_layernorm",
    mlp_in: &["mlp.gate_proj", "mlp.up_proj"],
    mlp_out: "mlp.down_proj",
    mlp_scale: "",
    mlp_norm: "post_attention_layernorm",
};

pub(super) const T5: Names = Names {
    word: "shared",
    position: "",
    token_type: "",
    embedding_norm: "",
    distance_bias: "encoder.block.0.layer.0.SelfAttention.relative_attention_bias",
    final_norm: "encoder.final_layer_norm",
    layer: "encoder.block",
    qkv: &[
        "layer.0.SelfAttention.q",
        "layer.0.SelfAttention.k",
        "layer.0.SelfAttention.v",
    ],
    query_norm: "",
    key_norm: "",
    attention_out: "layer.0.SelfAttention.o",
    attention_scale: "",
    attention_norm: "layer.0.layer_norm",
    mlp_in: &["layer.1.DenseReluDense.wi_0", "layer.1.DenseReluDense.wi_1"],
    mlp_out: "layer.1.DenseReluDense.wo",
    mlp_scale: "",
    mlp_norm: "layer.1.layer_norm",
};

/// As the first T5 was, without a gate.
pub(super) const FIRST_T5: Names = Names {
    mlp_in: &["layer.1.DenseReluDense.wi"],
    ..T5
};
