//! How the checkpoints of image towers, and of the text towers beside them, name their tensors.

use super::super::names::Names;

/// A vision tower's tensors before its first layer and after its last one: full names, but those of
/// linear layers without `.weight` and `.bias`. What a tower does not have is empty.
#[derive(Debug)]
pub(super) struct SightNames {
    /// The linear layer that makes rows of patches.
    pub(super) patches: &'static str,
    /// The row that stands for the whole picture.
    pub(super) class: &'static str,
    /// Rows that stand for nothing.
    pub(super) registers: &'static str,
    pub(super) positions: &'static str,
    /// Whether rows and positions have a side of 1 before their own, the class two of them.
    pub(super) batched: bool,
    /// The attention that pools all rows.
    pub(super) pooling: &'static str,
    /// The linear layer into the space that texts share.
    pub(super) projection: &'static str,
}

/// CLIP's layers, which SigLIP's are called by, too.
const CLIP: Names = Names {
    word: "",
    position: "",
    token_type: "",
    embedding_norm: "",
    distance_bias: "",
    final_norm: "",
    layer: "encoder.layers",
    qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    query_norm: "",
    key_norm: "",
    attention_out: "self_attn.out_proj",
    attention_scale: "",
    attention_norm: "layer_norm1",
    mlp_in: &["mlp.fc1"],
    mlp_out: "mlp.fc2",
    mlp_scale: "",
    mlp_norm: "layer_norm2",
};

pub(super) const CLIP_TEXT: Names = Names {
    word: "embeddings.token_embedding",
    position: "embeddings.position_embedding",
    final_norm: "final_layer_norm",
    ..CLIP
};

/// The first norm's name is misspelt in every checkpoint.
pub(super) const CLIP_VISION: Names = Names {
    embedding_norm: "pre_layrnorm",
    final_norm: "post_layernorm",
    ..CLIP
};

pub(super) const SIGLIP_VISION: Names = Names {
    final_norm: "post_layernorm",
    ..CLIP
};

pub(super) const VIT: Names = Names {
    final_norm: "layernorm",
    layer: "encoder.layer",
    qkv: &[
        "attention.attention.query",
        "attention.attention.key",
        "attention.attention.value",
    ],
    attention_out: "attention.output.dense",
    attention_norm: "layernorm_before",
    mlp_in: &["intermediate.dense"],
    mlp_out: "output.dense",
    mlp_norm: "layernorm_after",
    ..CLIP
};

pub(super) const DINOV2: Names = Names {
    attention_scale: "layer_scale1.lambda1",
    attention_norm: "norm1",
    mlp_in: &["mlp.fc1"],
    mlp_out: "mlp.fc2",
    mlp_scale: "layer_scale2.lambda1",
    mlp_norm: "norm2",
    ..VIT
};

/// DINOv2's largest, whose networks have a gate.
pub(super) const GATED_DINOV2: Names = Names {
    mlp_in: &["mlp.weights_in"],
    mlp_out: "mlp.weights_out",
    ..DINOV2
};

pub(super) const CLIP_SIGHT: SightNames = SightNames {
    patches: "embeddings.patch_embedding",
    class: "embeddings.class_embedding",
    registers: "",
    positions: "embeddings.position_embedding.weight",
    batched: false,
    pooling: "",
    projection: "visual_projection",
};

pub(super) const SIGLIP_SIGHT: SightNames = SightNames {
    class: "",
    pooling: "head",
    projection: "",
    ..CLIP_SIGHT
};

pub(super) const VIT_SIGHT: SightNames = SightNames {
    patches: "embeddings.patch_embeddings.projection",
    class: "embeddings.cls_token",
    registers: "",
    positions: "embeddings.position_embeddings",
    batched: true,
    pooling: "",
    projection: "",
};

pub(super) const REGISTERED_SIGHT: SightNames = SightNames {
    registers: "embeddings.register_tokens",
    ..VIT_SIGHT
};
