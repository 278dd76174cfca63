"""Tiny random checkpoints of every decoder family, in the hub's folder layout and, where the format
knows the family, as GGUF files, with reference logits by transformers.

    python scripts/reference/decoder.py

writes tests/data/decoder/FAMILY/. Weights are random but seeded; norm weights and biases too, so that
one left out shows. `logits.f32` are the logits [tokens, vocabulary] of the token ids in `tokens.json`;
further files `config.VARIANT.json` and `logits.VARIANT.f32` are other configurations of the same
weights. Whether the GGUF files mean the same to llama.cpp is checked by `llamacpp.py tiny`.
"""

import json
import pathlib
import shutil

import gguf
import numpy as np
import torch
import transformers as tf

OUT = pathlib.Path(__file__).parents[2] / "tests/data/decoder"
VOCABULARY = 48
TOKENS = 45

SMALL = dict(
    vocab_size=VOCABULARY, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5,
    bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=False,
)
FACTORS = dict(short_factor=[1.0, 1.1, 1.3, 1.7], long_factor=[1.2, 2.0, 3.5, 7.0])

FAMILIES = {
    # name: (config class, its fields beyond SMALL, variants of rope)
    "llama": (tf.LlamaConfig, dict(), {
        "linear": dict(rope_type="linear", factor=4.0, rope_theta=10000.0),
        "llama3": dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                       original_max_position_embeddings=16, rope_theta=500.0),
        "yarn": dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16,
                     rope_theta=10000.0),
    }),
    "llama_biased": (tf.LlamaConfig, dict(attention_bias=True, mlp_bias=True,
                                          num_key_value_heads=4), {}),
    "mistral": (tf.MistralConfig, dict(sliding_window=9, head_dim=16), {}),
    "qwen2": (tf.Qwen2Config, dict(tie_word_embeddings=True), {}),
    "qwen2_window": (tf.Qwen2Config, dict(use_sliding_window=True, sliding_window=7,
                                          max_window_layers=1), {}),
    "qwen3": (tf.Qwen3Config, dict(head_dim=16, tie_word_embeddings=True), {}),
    "gemma": (tf.GemmaConfig, dict(head_dim=16, num_key_value_heads=1, tie_word_embeddings=True,
                                   hidden_activation="gelu_pytorch_tanh"), {}),
    "gemma2": (tf.Gemma2Config, dict(head_dim=16, sliding_window=8, tie_word_embeddings=True,
                                     query_pre_attn_scalar=16, num_hidden_layers=3,
                                     attn_logit_softcapping=5.0, final_logit_softcapping=3.0), {}),
    "gemma3": (tf.Gemma3TextConfig, dict(
        head_dim=16, sliding_window=6, tie_word_embeddings=True, query_pre_attn_scalar=16,
        num_hidden_layers=7, num_key_value_heads=1, hidden_size=24, intermediate_size=32,
        rope_parameters=dict(
            sliding_attention=dict(rope_type="default", rope_theta=10000.0),
            full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1000000.0)),
    ), {}),
    "phi3": (tf.Phi3Config, dict(), {
        "long": dict(rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=1.0,
                     original_max_position_embeddings=16, **FACTORS),
    }),
    "phi4": (tf.Phi3Config, dict(sliding_window=30, partial_rotary_factor=0.75), {}),
    "granite": (tf.GraniteConfig, dict(embedding_multiplier=6.0, residual_multiplier=0.3,
                                       attention_multiplier=0.2, logits_scaling=5.0), {}),
    "smollm3": (tf.SmolLM3Config, dict(num_hidden_layers=5), {}),
    "olmo2": (tf.Olmo2Config, dict(), {}),
    "phi": (tf.PhiConfig, dict(num_key_value_heads=4, rope_parameters=dict(
        rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5)), {}),
}

# The format's name of the family, and whether its rows of queries and keys are interleaved.
GGUF = {
    "llama": ("llama", True), "llama_biased": ("llama", True), "qwen2": ("qwen2", False),
    "qwen3": ("qwen3", False), "gemma": ("gemma", False), "gemma2": ("gemma2", False),
    "gemma3": ("gemma3", False), "phi3": ("phi3", False), "granite": ("granite", True),
    "smollm3": ("smollm3", True), "olmo2": ("olmo2", False),
}

NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.qkv_proj": "attn_qkv",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def randomise(model: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name, weight in sorted(model.named_parameters()):
        values = torch.randn(weight.shape, generator=generator)
        if "norm" in name:
            centre = 0.0 if "gemma" in type(model).__name__.lower() else 1.0
            values = centre + 0.2 * values
        elif weight.dim() == 1:
            values = 0.3 * values
        else:
            values = values * weight.shape[-1] ** -0.5
        with torch.no_grad():
            weight.copy_(values)


def logits(config, state, tokens) -> np.ndarray:
    config._attn_implementation = "eager"
    model = tf.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    model.load_state_dict(state, strict=False)
    with torch.no_grad():
        return model(torch.tensor([tokens]), use_cache=False).logits[0].numpy().astype("<f4")


def write_gguf(path: pathlib.Path, family: str, config, state, rope: dict | None) -> None:
    architecture, interleaved = GGUF[family]
    writer = gguf.GGUFWriter(path, architecture)
    heads, shared = config.num_attention_heads, config.num_key_value_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(shared)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(width)
    writer.add_vocab_size(VOCABULARY)
    parameters = rope or config.rope_parameters
    parameters = parameters.get("full_attention", parameters)
    writer.add_rope_freq_base(parameters["rope_theta"])
    kind = parameters["rope_type"]
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(parameters["factor"])
    if kind in ("yarn", "longrope"):
        writer.add_rope_scaling_orig_ctx_len(parameters["original_max_position_embeddings"])
    if kind == "llama3":
        pairs = np.arange(0, width, 2, dtype=np.float32) / width
        length = 2 * np.pi * np.float32(parameters["rope_theta"]) ** pairs
        original, factor = parameters["original_max_position_embeddings"], parameters["factor"]
        low, high = parameters["low_freq_factor"], parameters["high_freq_factor"]
        smooth = (original / length - low) / (high - low)
        divisor = np.where(length < original / high, 1.0, np.where(
            length > original / low, factor, 1.0 / ((1 - smooth) / factor + smooth)))
        writer.add_tensor("rope_freqs.weight", divisor.astype(np.float32))
    if kind == "longrope":
        ratio = config.max_position_embeddings / parameters["original_max_position_embeddings"]
        factor = (1 + np.log(ratio) / np.log(parameters["original_max_position_embeddings"])) ** 0.5
        writer.add_rope_scaling_attn_factors(float(factor))
        for length in ("short", "long"):
            factors = np.array(parameters[f"{length}_factor"], dtype=np.float32)
            writer.add_tensor(f"rope_factors_{length}.weight", factors)
    if getattr(config, "sliding_window", None):
        writer.add_sliding_window(config.sliding_window)
    if family == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if family == "granite":
        writer.add_attention_scale(config.attention_multiplier)
        writer.add_embedding_scale(config.embedding_multiplier)
        writer.add_residual_scale(config.residual_multiplier)
        writer.add_logit_scale(config.logits_scaling)
    writer.add_tokenizer_model("none")

    post = {"post_attention_layernorm": "ffn_norm"}
    if family in ("gemma2", "gemma3", "olmo2"):
        post = {"post_attention_layernorm": "post_attention_norm",
                "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm"}
    names = NAMES | post
    for name, tensor in state.items():
        values = tensor.numpy()
        stem, part = name.rsplit(".", 1)
        if name == "lm_head.weight":
            if config.tie_word_embeddings:
                continue
            target = "output"
        elif stem == "model.embed_tokens":
            target = "token_embd"
        elif stem == "model.norm":
            target = "output_norm"
        else:
            _, _, number, inner = stem.split(".", 3)
            target = f"blk.{number}.{names[inner]}"
        if "norm" in target and family.startswith("gemma"):
            values = values + 1
        if interleaved and target.endswith(("attn_q", "attn_k")):
            count = heads if target.endswith("attn_q") else shared
            halves = values.reshape(count, 2, width // 2, *values.shape[1:])
            values = halves.swapaxes(1, 2).reshape(values.shape)
        writer.add_tensor(f"{target}.{part}", np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    tokens = np.random.default_rng(3).integers(3, VOCABULARY, TOKENS).tolist()
    for seed, (family, (kind, fields, variants)) in enumerate(FAMILIES.items()):
        folder = OUT / family
        config = kind(**(SMALL | fields))
        config._attn_implementation = "eager"
        model = tf.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        randomise(model, seed)
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        state = {name: value.detach().clone() for name, value in model.state_dict().items()}
        logits(config, state, tokens).tofile(folder / "logits.f32")
        if family in GGUF:
            write_gguf(folder / "model.gguf", family, config, state, None)
        for variant, rope in variants.items():
            changed = dict(rope_parameters=dict(rope))
            if variant == "long":
                changed["original_max_position_embeddings"] = rope["original_max_position_embeddings"]
            other = kind(**(SMALL | fields | changed))
            text = json.dumps(other.to_dict() | dict(architectures=None), indent=2, default=str)
            (folder / f"config.{variant}.json").write_text(text + "\n")
            logits(other, state, tokens).tofile(folder / f"logits.{variant}.f32")
            if variant == "long":
                short = logits(other, state, tokens[:16])
                short.tofile(folder / "logits.short.f32")
            if variant != "linear":
                write_gguf(folder / f"model.{variant}.gguf", family, other, state, rope)
    (OUT / "tokens.json").write_text(json.dumps(tokens) + "\n")


if __name__ == "__main__":
    main()
