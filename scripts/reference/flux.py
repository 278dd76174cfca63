"""Tiny random FLUX pipelines in the hub's folder layout, with reference values by diffusers.

    python scripts/reference/flux.py

writes tests/data/flux/schnell/ (a whole pipeline, without embedded guidance), tests/data/flux/dev/
(the transformer and the scheduler of one with it; its other parts are schnell's) and for each a
file of reference values: tokens, T5's hidden states, CLIP's pooled vector, one step of the
transformer at two sizes, the latents after every step, and the picture. Weights are random but
seeded, and stored in bf16; the reference computes with the rounded weights in f32.
"""

import json
import math
import pathlib
import shutil
import sys

import numpy as np
import torch
import transformers as tf
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from safetensors.numpy import save_file

from encoder import CORPUS, fast, unigram

sys.path.append(str(pathlib.Path(__file__).parents[1] / "demo"))
from word_pieces import write_tokenizer  # noqa: E402

OUT = pathlib.Path(__file__).parents[2] / "tests/data/flux"

PROMPTS = ["The quick brown fox", "Zürich, naïve café: rivers run to the sea, and " + "the sea is never full. " * 6]
LONGEST = 40
CHANNELS = 16
FACTOR = 4


@torch.no_grad()
def randomise(model, seed, gain):
    """Large enough values that a wrong order, form or sign shows; norms and biases too."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name and parameter.dim() == 1 and name.endswith("weight"):
            parameter.copy_(1 + 0.3 * noise)
        elif parameter.dim() == 1:
            parameter.copy_(0.2 * noise)
        elif "embedding" in name or name.startswith("shared"):
            parameter.copy_(noise)
        else:
            parameter.copy_(noise * gain / math.sqrt(parameter[0].numel()))
    return model.to(torch.bfloat16).float().eval()


def transformer(seed, layers, single, guidance, text, pooled):
    return randomise(
        FluxTransformer2DModel(
            in_channels=4 * CHANNELS,
            num_layers=layers,
            num_single_layers=single,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=text,
            pooled_projection_dim=pooled,
            guidance_embeds=guidance,
            axes_dims_rope=(4, 6, 6),
        ),
        seed,
        1.0,
    )


def pipeline():
    work = OUT / "work"
    write_tokenizer(work, [" ".join(CORPUS).lower()], 77)
    clip_tokenizer = tf.CLIPTokenizer.from_pretrained(work)
    clip = tf.CLIPTextModel(
        tf.CLIPTextConfig(
            vocab_size=len(clip_tokenizer), hidden_size=24, intermediate_size=40, projection_dim=24,
            num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=77,
            # As in the first CLIP's configuration: the end is then found as the largest token.
            bos_token_id=0, eos_token_id=2, pad_token_id=1,
        )
    )
    t5_tokenizer = unigram(["<pad>", "</s>", "<unk>"], "", "</s>")
    t5 = tf.T5EncoderModel(
        tf.T5Config(
            vocab_size=t5_tokenizer.get_vocab_size(), d_model=32, d_kv=12, d_ff=48, num_layers=2,
            num_heads=3, feed_forward_proj="gated-gelu",
        )
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 8),
        latent_channels=CHANNELS,
        norm_num_groups=4,
        sample_size=64,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=False),
        vae=randomise(vae, 1, 1.0),
        text_encoder=randomise(clip, 2, 1.5),
        tokenizer=clip_tokenizer,
        text_encoder_2=randomise(t5, 3, 1.5),
        tokenizer_2=fast(t5_tokenizer, LONGEST, "<pad>"),
        transformer=transformer(4, 2, 1, False, 32, 24),
    ), work


def save(pipe, work, folder):
    """As diffusers saves it, in bf16; tokenizers as the hub has them."""
    shutil.rmtree(folder, ignore_errors=True)
    parts = ("transformer", "vae", "text_encoder", "text_encoder_2")
    for name in parts:
        getattr(pipe, name).to(torch.bfloat16)
    pipe.save_pretrained(folder)
    for name in parts:
        getattr(pipe, name).float()
    shutil.rmtree(folder / "tokenizer")
    shutil.copytree(work, folder / "tokenizer")
    index = json.loads((folder / "model_index.json").read_text())
    index["tokenizer_2"] = ["transformers", "T5TokenizerFast"]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


@torch.no_grad()
def reference(pipe, sizes, steps, guidance):
    """`sizes` in latents: height and width. The last is painted whole."""
    made = {}
    embedded = torch.full([1], guidance) if pipe.transformer.config.guidance_embeds else None
    generator = torch.Generator().manual_seed(9)
    for number, prompt in enumerate(PROMPTS):
        hidden, pooled, _ = pipe.encode_prompt(prompt, max_sequence_length=LONGEST)
        tokens = pipe.tokenizer_2(prompt, padding="max_length", max_length=LONGEST, truncation=True).input_ids
        made[f"tokens.t5.{number}"] = np.array(tokens, np.uint32)
        tokens = pipe.tokenizer(prompt, padding="max_length", max_length=77, truncation=True).input_ids
        made[f"tokens.clip.{number}"] = np.array(tokens, np.uint32)
        made[f"hidden.{number}"] = hidden[0].numpy()
        made[f"pooled.{number}"] = pooled[0].numpy()
    hidden, pooled, text_ids = pipe.encode_prompt(PROMPTS[0], max_sequence_length=LONGEST)
    for number, (height, width) in enumerate(sizes):
        latents = torch.randn(1, CHANNELS, height, width, generator=generator)
        packed = pipe._pack_latents(latents, 1, CHANNELS, height, width)
        ids = pipe._prepare_latent_image_ids(1, height // 2, width // 2, "cpu", torch.float32)
        output = pipe.transformer(
            hidden_states=packed,
            timestep=torch.tensor([0.6123]),
            guidance=embedded,
            pooled_projections=pooled,
            encoder_hidden_states=hidden,
            txt_ids=text_ids,
            img_ids=ids,
        ).sample
        output = pipe._unpack_latents(output, height * FACTOR, width * FACTOR, FACTOR)
        made[f"step.{number}.latents"] = latents[0].numpy()
        made[f"step.{number}.output"] = output[0].numpy()

    def keep(_pipe, step, timestep, values):
        unpacked = pipe._unpack_latents(values["latents"], height * FACTOR, width * FACTOR, FACTOR)
        made[f"walk.{step}"] = unpacked[0].numpy()
        made[f"timestep.{step}"] = np.array([float(timestep)], np.float32)
        return values

    made["walk.start"] = latents[0].numpy()
    image = pipe(
        PROMPTS[0],
        height=height * FACTOR,
        width=width * FACTOR,
        num_inference_steps=steps,
        guidance_scale=guidance,
        max_sequence_length=LONGEST,
        latents=packed,
        callback_on_step_end=keep,
        output_type="np",
    ).images[0]
    made["pixels"] = np.round(image * 255).astype(np.uint8)
    print({name: (value.shape, float(np.abs(value).max())) for name, value in made.items()})
    return {name: np.ascontiguousarray(value) for name, value in made.items()}


def main():
    torch.set_num_threads(1)
    shutil.rmtree(OUT, ignore_errors=True)
    pipe, work = pipeline()
    save(pipe, work, OUT / "schnell")
    save_file(reference(pipe, [(8, 8), (6, 10)], 4, 0.0), OUT / "schnell.safetensors")
    pipe.transformer = transformer(5, 1, 2, True, 32, 24)
    # Narrower bounds than FLUX's, so that such small pictures lie between them.
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(
        shift=3.0, use_dynamic_shifting=True, base_image_seq_len=8, max_image_seq_len=64
    )
    for name in ("transformer", "scheduler"):
        getattr(pipe, name).to(torch.bfloat16) if name == "transformer" else None
        getattr(pipe, name).save_pretrained(OUT / "dev" / name)
    pipe.transformer.float()
    save_file(reference(pipe, [(8, 8), (10, 6)], 3, 3.5), OUT / "dev.safetensors")
    shutil.rmtree(work)
    for folder in ("schnell", "dev"):
        size = sum(path.stat().st_size for path in (OUT / folder).rglob("*") if path.is_file())
        print(f"{folder}: {size // 1024} KB")


if __name__ == "__main__":
    main()
