//! How files name a decoder's tensors.

/// Tensor names without `.weight` and `.bias`; those of a layer follow [`Names::layer`] and the
/// layer's number.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) words: &'static str,
    pub(super) final_norm: &'static str,
    pub(super) head: &'static str,
    pub(super) layer: &'static str,
    pub(super) attention_norm: &'static str,
    pub(super) query: &'static str,
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    /// Query, key and value in one.
    pub(super) qkv: &'static str,
    pub(super) query_norm: &'static str,
    pub(super) key_norm: &'static str,
    pub(super) attention_out: &'static str,
    /// Of the attention's result, where there are norms after the halves.
    pub(super) attention_post_norm: &'static str,
    pub(super) mlp_norm: &'static str,
    pub(super) gate: &'static str,
    pub(super) up: &'static str,
    /// Gate and up in one.
    pub(super) gate_up: &'static str,
    pub(super) down: &'static str,
    pub(super) mlp_post_norm: &'static str,
}

/// Names of the hub's checkpoints, after a prefix that is "model." as a rule.
pub(super) const HUB: Names = Names {
    words: "embed_tokens",
    final_norm: "norm",
    head: "lm_head",
    layer: "layers",
    attention_norm: "input_layernorm",
    query: "self_attn.q_proj",
    key: "self_attn.k_proj",
    value: "self_attn.v_proj",
    qkv: "self_attn.qkv_proj",
    query_norm: "self_attn.q_norm",
    key_norm: "self_attn.k_norm",
    attention_out: "self_attn.o_proj",
    attention_post_norm: "",
    mlp_norm: "post_attention_layernorm",
    gate: "mlp.gate_proj",
    up: "mlp.up_proj",
    gate_up: "mlp.gate_up_proj",
    down: "mlp.down_proj",
    mlp_post_norm: "",
};

/// The same where there are norms after the halves too.
pub(super) const HUB_POST: Names = Names {
    attention_post_norm: "post_attention_layernorm",
    mlp_norm: "pre_feedforward_layernorm",
    mlp_post_norm: "post_feedforward_layernorm",
    ..HUB
};

/// Those of Phi.
pub(super) const HUB_PHI: Names = Names {
    final_norm: "final_layernorm",
    attention_out: "self_attn.dense",
    mlp_norm: "",
    gate: "mlp.fc1",
    up: "",
    down: "mlp.fc2",
    ..HUB
};

/// Those of the Phi in Moondream.
pub(super) const MOONDREAM: Names = Names {
    words: "transformer.embd.wte",
    final_norm: "lm_head.ln",
    head: "lm_head.linear",
    layer: "transformer.h",
    attention_norm: "ln",
    qkv: "mixer.Wqkv",
    attention_out: "mixer.out_proj",
    ..HUB_PHI
};

/// Names in GGUF files.
pub(super) const GGUF: Names = Names {
    words: "token_embd",
    final_norm: "output_norm",
    head: "output",
    layer: "blk",
    attention_norm: "attn_norm",
    query: "attn_q",
    key: "attn_k",
    value: "attn_v",
    qkv: "attn_qkv",
    query_norm: "attn_q_norm",
    key_norm: "attn_k_norm",
    attention_out: "attn_output",
    attention_post_norm: "post_attention_norm",
    mlp_norm: "ffn_norm",
    gate: "ffn_gate",
    up: "ffn_up",
    // Of the fused form only.
    gate_up: "ffn_up",
    down: "ffn_down",
    mlp_post_norm: "post_ffw_norm",
};
