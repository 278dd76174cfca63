//! How checkpoints name the tensors of a vision tower and of what stands behind it.

/// Names of a tower's tensors without `.weight` and `.bias`, after a prefix; those of a layer follow
/// [`TowerNames::layer`] and the layer's number. What a tower does not have is empty.
#[derive(Debug)]
pub(super) struct TowerNames {
    pub(super) patches: &'static str,
    /// The full name of the row that stands for the whole picture.
    pub(super) class: &'static str,
    /// The full name of the table of positions.
    pub(super) positions: &'static str,
    /// Before the first layer.
    pub(super) first_norm: &'static str,
    pub(super) layer: &'static str,
    pub(super) attention_norm: &'static str,
    /// Query, key and value: one tensor, or three.
    pub(super) qkv: &'static [&'static str],
    pub(super) attention_out: &'static str,
    pub(super) mlp_norm: &'static str,
    /// One tensor, or gate and up.
    pub(super) mlp_in: &'static [&'static str],
    pub(super) mlp_out: &'static str,
    /// After the last layer.
    pub(super) last_norm: &'static str,
}

/// CLIP's, which LLaVA has.
pub(super) const CLIP: TowerNames = TowerNames {
    patches: "embeddings.patch_embedding",
    class: "embeddings.class_embedding",
    positions: "embeddings.position_embedding.weight",
    first_norm: "pre_layrnorm",
    layer: "encoder.layers",
    attention_norm: "layer_norm1",
    qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    attention_out: "self_attn.out_proj",
    mlp_norm: "layer_norm2",
    mlp_in: &["mlp.fc1"],
    mlp_out: "mlp.fc2",
    last_norm: "",
};

/// BLIP's.
pub(super) const BLIP: TowerNames = TowerNames {
    positions: "embeddings.position_embedding",
    first_norm: "",
    qkv: &["self_attn.qkv"],
    attention_out: "self_attn.projection",
    last_norm: "post_layernorm",
    ..CLIP
};

/// Moondream's.
pub(super) const MOONDREAM: TowerNames = TowerNames {
    patches: "patch_embed.linear",
    class: "",
    positions: "pos_embed",
    first_norm: "",
    layer: "blocks",
    attention_norm: "norm1",
    qkv: &["attn.qkv"],
    attention_out: "attn.proj",
    mlp_norm: "norm2",
    mlp_in: &["mlp.fc1"],
    mlp_out: "mlp.fc2",
    last_norm: "norm",
};

/// Qwen2.5-VL's.
pub(super) const QWEN: TowerNames = TowerNames {
    patches: "patch_embed.proj",
    class: "",
    positions: "",
    first_norm: "",
    layer: "blocks",
    attention_norm: "norm1",
    qkv: &["attn.qkv"],
    attention_out: "attn.proj",
    mlp_norm: "norm2",
    mlp_in: &["mlp.gate_proj", "mlp.up_proj"],
    mlp_out: "mlp.down_proj",
    last_norm: "",
};

/// Names of what makes the decoder's rows of the tower's.
#[derive(Debug)]
pub(super) struct ProjectorNames {
    /// Before the first layer.
    pub(super) norm: &'static str,
    pub(super) layers: [&'static str; 2],
}

pub(super) const LLAVA_PROJECTOR: ProjectorNames = ProjectorNames {
    norm: "",
    layers: ["linear_1", "linear_2"],
};

pub(super) const MOONDREAM_PROJECTOR: ProjectorNames = ProjectorNames {
    norm: "",
    layers: ["projection.mlp.fc1", "projection.mlp.fc2"],
};

pub(super) const QWEN_PROJECTOR: ProjectorNames = ProjectorNames {
    norm: "merger.ln_q",
    layers: ["merger.mlp.0", "merger.mlp.2"],
};
