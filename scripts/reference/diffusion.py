"""Tiny random pipelines of Stable Diffusion's kinds, in the hub's folder layout, with what diffusers
makes of them.

    python scripts/reference/diffusion.py

writes tests/data/diffusion/NAME/ for each of the pipelines below: the folder as it is on the hub, with
weights in half precision; and reference.safetensors beside it, with the values of every stage computed
in single precision. Weights, biases and norms are random but seeded.
"""

import json
import pathlib

import diffusers as df
import numpy as np
import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from tokenizers.pre_tokenizers import ByteLevel

OUT = pathlib.Path(__file__).parents[2] / "tests/data/diffusion"
BEGIN, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77

CORPUS = """a photograph of an astronaut riding a horse on the moon painting of a lighthouse at dusk in
the style of an old master the sea is never full cat dog castle mountain river portrait detailed""".split()

PROMPTS = [
    "a photograph of an astronaut riding a horse",
    "",
    "  A Cat's\tportrait,\n\n 42 castles & Zürich café 東京 🙂!! ",
    "<|endoftext|> the sea <|startoftext|>",
    " ".join(CORPUS * 5),
]


def byte_letters() -> list[str]:
    """The letters that stand for the bytes, in the order of CLIP's vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in plain]
    return letters + [chr(256 + number) for number in range(256 - len(plain))]


def byte_pairs() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary in CLIP's form: letters, letters that end a word, merges, and the special tokens."""
    words = [[*word[:-1], word[-1] + "</w>"] for word in CORPUS]
    merges = []
    while len(merges) < 120:
        pairs: dict[tuple[str, str], int] = {}
        for word in words:
            for pair in zip(word, word[1:]):
                pairs[pair] = pairs.get(pair, 0) + 1
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word in words:
            place = 0
            while place + 1 < len(word):
                if (word[place], word[place + 1]) == best:
                    word[place : place + 2] = ["".join(best)]
                place += 1
    letters = byte_letters()
    assert set(letters) == set(ByteLevel.alphabet())
    names = letters + [letter + "</w>" for letter in letters] + ["".join(pair) for pair in merges]
    names = list(dict.fromkeys(names)) + [BEGIN, END]
    return {name: number for number, name in enumerate(names)}, merges


def write_tokenizer(folder: pathlib.Path, padding: str, as_one_file: bool) -> tf.CLIPTokenizer:
    vocabulary, merges = byte_pairs()
    tokenizer = tf.CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=padding, model_max_length=LENGTH)
    folder.mkdir(parents=True, exist_ok=True)
    if as_one_file:
        tokenizer.backend_tokenizer.no_padding()
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
        settings = {"pad_token": padding}
    else:
        (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
        lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
        (folder / "merges.txt").write_text("\n".join(lines) + "\n")
        special = {"bos_token": {"content": BEGIN}, "eos_token": {"content": END}, "pad_token": padding}
        (folder / "special_tokens_map.json").write_text(json.dumps(special))
        settings = {}
    settings |= {"model_max_length": LENGTH, "bos_token": BEGIN, "eos_token": {"content": END}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return tokenizer


@torch.no_grad()
def randomise(model: torch.nn.Module, seed: int) -> None:
    """Weights that keep the size of what goes through them, and norms and biases that show."""
    source = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        values = torch.randn(parameter.shape, generator=source)
        if "embedding" in name and name.endswith("weight") and "linear" not in name and "proj" not in name:
            values *= 0.5
        elif parameter.dim() > 1:
            values *= 1.2 / parameter[0].numel() ** 0.5
        elif name.endswith("weight"):
            values = 1 + 0.3 * values
        else:
            values *= 0.3
        parameter.copy_(values.half().float())
    model.eval()


def save_part(model: torch.nn.Module, folder: pathlib.Path, name: str, rename=lambda name: name) -> None:
    """The configuration as the library writes it, the weights in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(model, df.ModelMixin):
        model.save_config(folder)
    else:
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(folder)
    tensors = {rename(key): value.half().contiguous() for key, value in model.state_dict().items()}
    tensors = {key: value for key, value in tensors.items() if not key.endswith("position_ids")}
    save_file(tensors, folder / name)


def text_encoder(seed: int, vocabulary: int, width: int, projected: int | None, **more) -> torch.nn.Module:
    config = tf.CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        projection_dim=projected or width,
        bos_token_id=0,
        **more,
    )
    model = (tf.CLIPTextModelWithProjection if projected else tf.CLIPTextModel)(config)
    randomise(model, seed)
    return model


def autoencoder(seed: int, widths: tuple[int, ...] = (8, 16), **more) -> df.AutoencoderKL:
    model = df.AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=16,
        **more,
    )
    randomise(model, seed)
    return model


OLDER = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def older_name(name: str) -> str:
    """As the first files of the autoencoder have it."""
    for new, old in OLDER.items():
        if ".attentions." in name:
            name = name.replace(f".{new}.", f".{old}.")
    return name


def no_op_text_prefix(name: str) -> str:
    """As the hub's files have it."""
    return name if name.startswith(("text_model.", "text_projection.")) else f"text_model.{name}"


def unet(seed: int, context: int, **more) -> df.UNet2DConditionModel:
    settings = dict(
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=context,
        sample_size=8,
    )
    model = df.UNet2DConditionModel(**(settings | more))
    randomise(model, seed)
    return model


def numpy_of(image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image).copy())


def record_networks(pipeline, values: dict, sizes: list[tuple[int, int]], context, added) -> None:
    """One step of the network on two entries, for each size of the latents."""
    source = torch.Generator().manual_seed(11)
    network = pipeline.unet
    cond = network.config.time_cond_proj_dim
    for number, (height, width) in enumerate(sizes):
        latents = torch.randn((2, 4, height, width), generator=source)
        timesteps = torch.tensor([981.0, 1.0])
        more = {}
        if added is not None:
            pixels = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
            ids = torch.tensor([[height * pixels, width * pixels, 0, 0, height * pixels, width * pixels]])
            more["added_cond_kwargs"] = {"text_embeds": added, "time_ids": ids.repeat(2, 1).float()}
        if cond is not None:
            guidance = torch.tensor([7.5 - 1, 2.0 - 1])
            more["timestep_cond"] = pipeline.get_guidance_scale_embedding(guidance, embedding_dim=cond)
        made = network(latents, timesteps, encoder_hidden_states=context, **more).sample
        values[f"unet.{number}.latents"] = latents
        values[f"unet.{number}.out"] = made
    values["unet.timesteps"] = timesteps


def record_autoencoder(vae, values: dict) -> None:
    source = torch.Generator().manual_seed(12)
    pixels = torch.randint(0, 256, (1, 16, 24, 3), generator=source).float()
    moments = vae.encode(pixels.permute(0, 3, 1, 2) / 127.5 - 1).latent_dist
    noise = torch.randn(moments.mean.shape, generator=source)
    shift = vae.config.shift_factor or 0.0
    values["vae.pixels"] = pixels[0].to(torch.uint8)
    values["vae.noise"] = noise[0]
    values["vae.mean"] = ((moments.mean - shift) * vae.config.scaling_factor)[0]
    values["vae.drawn"] = ((moments.mean + moments.std * noise - shift) * vae.config.scaling_factor)[0]
    latents = torch.randn((1, 4, 6, 9), generator=source)
    decoded = vae.decode(latents / vae.config.scaling_factor + shift).sample
    values["vae.latents"] = latents[0]
    values["vae.decoded"] = ((decoded[0] / 2 + 0.5).clamp(0, 1) * 255).permute(1, 2, 0)


def record_painting(pipeline, values: dict, name: str, **settings) -> None:
    """All steps from a fixed beginning to the pixels."""
    source = torch.Generator().manual_seed(13)
    latents = torch.randn((1, 4, 8, 12), generator=source)
    side = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
    steps = []

    def after_step(_pipeline, _step, _timestep, given):
        steps.append(given["latents"][0].clone())
        return given

    image = pipeline(
        height=8 * side,
        width=12 * side,
        latents=latents.clone(),
        output_type="np",
        callback_on_step_end=after_step,
        **settings,
    ).images[0]
    values[f"{name}.noise"] = latents[0]
    values[f"{name}.steps"] = torch.stack(steps)
    values[f"{name}.pixels"] = numpy_of(image) * 255


def record_text(pipeline, values: dict, is_xl: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    for number, prompt in enumerate(PROMPTS):
        for encoder, tokenizer in enumerate([pipeline.tokenizer, getattr(pipeline, "tokenizer_2", None)]):
            if tokenizer is None:
                continue
            ids = tokenizer(prompt, padding="max_length", max_length=LENGTH, truncation=True).input_ids
            values[f"text.{number}.tokens.{encoder}"] = torch.tensor(ids, dtype=torch.int32)
        if is_xl:
            hidden, _, pooled, _ = pipeline.encode_prompt(prompt, device="cpu", do_classifier_free_guidance=False)
            values[f"text.{number}.pooled"] = pooled[0]
        else:
            hidden, _ = pipeline.encode_prompt(prompt, "cpu", 1, False)
        values[f"text.{number}.hidden"] = hidden[0]
    context = torch.stack([values["text.0.hidden"], values["text.2.hidden"]])
    added = torch.stack([values["text.0.pooled"], values["text.2.pooled"]]) if is_xl else None
    return context, added


STRENGTH = 0.8


def kohya(part: str, module: str) -> tuple[str, str, str]:
    stem = {"unet": "lora_unet_", "text_encoder": "lora_te_"}[part] + module.replace(".", "_")
    return f"{stem}.lora_down.weight", f"{stem}.lora_up.weight", f"{stem}.alpha"


def peft(part: str, module: str) -> tuple[str, str, None]:
    return f"{part}.{module}.lora_A.weight", f"{part}.{module}.lora_B.weight", None


def processors(part: str, module: str) -> tuple[str, str, None]:
    """The first form, of attention alone."""
    block, name = module.replace(".to_out.0", ".to_out").rsplit(".", 1)
    return f"{part}.{block}.processor.{name}_lora.down.weight", f"{part}.{block}.processor.{name}_lora.up.weight", None


def counted(part: str, module: str) -> tuple[str, str, str]:
    """kohya's names for SDXL, of networks with one layer in each block."""
    way, block, _, layer, *rest = module.split(".")
    if way == "mid_block":
        place, rest = "middle_block_1", module.split(".")[3:]
    else:
        number = 2 * int(block) + int(layer)
        place = f"input_blocks_{number + 1}_1" if way == "down_blocks" else f"output_blocks_{number}_1"
    stem = "_".join(["lora_unet", place, *rest])
    return f"{stem}.lora_down.weight", f"{stem}.lora_up.weight", f"{stem}.alpha"


ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


def record_adapter(pipeline, values: dict, folder: pathlib.Path, name: str, naming, modules: list[tuple[str, str]]) -> None:
    """Writes a low-rank adapter, and the values of the prompt and of one step with it."""
    source = torch.Generator().manual_seed(21)
    tensors, changed = {}, []
    for part, module in modules:
        weight = getattr(pipeline, part).get_submodule(module).weight
        rank = 3
        down = 0.4 * torch.randn((rank, *weight.shape[1:]), generator=source)
        up = 0.4 * torch.randn((weight.shape[0], rank, *[1] * (weight.dim() - 2)), generator=source)
        down_name, up_name, alpha_name = naming(part, module)
        tensors[down_name], tensors[up_name] = down, up
        alpha = rank
        if alpha_name:
            alpha = 2.0
            tensors[alpha_name] = torch.tensor(alpha)
        added = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
        changed.append((weight, weight.clone()))
        weight.copy_(weight + STRENGTH * alpha / rank * added)
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / f"{name}.safetensors")
    taken: dict[str, torch.Tensor] = {}
    is_xl = hasattr(pipeline, "text_encoder_2")
    context, added = record_text(pipeline, taken, is_xl)
    record_networks(pipeline, taken, [(8, 8)], context, added)
    values[f"{name}.hidden"] = taken["text.0.hidden"]
    values[f"{name}.out"] = taken["unet.0.out"]
    for weight, before in changed:
        weight.copy_(before)


SCHEDULE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)


def write(name: str, pipeline, sizes, settings: dict, is_xl: bool = False, rename_vae=older_name, adapters=()) -> None:
    folder = OUT / name
    with torch.no_grad():
        values: dict[str, torch.Tensor] = {}
        context, added = record_text(pipeline, values, is_xl)
        record_networks(pipeline, values, sizes, context, added)
        record_autoencoder(pipeline.vae, values)
        for painting, painted in settings.items():
            record_painting(pipeline, values, painting, **painted)
        for adapter, (naming, modules) in dict(adapters).items():
            record_adapter(pipeline, values, folder, adapter, naming, modules)
    save_part(pipeline.text_encoder, folder / "text_encoder", "model.safetensors", no_op_text_prefix)
    if is_xl:
        save_part(pipeline.text_encoder_2, folder / "text_encoder_2", "model.safetensors", no_op_text_prefix)
    save_part(pipeline.unet, folder / "unet", "diffusion_pytorch_model.safetensors")
    save_part(pipeline.vae, folder / "vae", "diffusion_pytorch_model.fp16.safetensors", rename_vae)
    pipeline.scheduler.save_pretrained(folder / "scheduler")
    index = {"_class_name": type(pipeline).__name__, "_diffusers_version": df.__version__}
    for part in ["scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "vae"]:
        model = getattr(pipeline, part, None)
        if model is not None:
            index[part] = [type(model).__module__.split(".")[0], type(model).__name__]
    if is_xl:
        index["force_zeros_for_empty_prompt"] = True
    else:
        index["safety_checker"] = [None, None]
        index["requires_safety_checker"] = False
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    values["prompts"] = torch.tensor(list(json.dumps(PROMPTS).encode()), dtype=torch.uint8)
    values = {key: value.contiguous() for key, value in values.items()}
    save_file(values, folder / "reference.safetensors")
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    spread = {key: round(value.float().std().item(), 3) for key, value in values.items() if ".out" in key or "hidden" in key}
    print(name, total, spread)


def sd15() -> None:
    folder = OUT / "sd15"
    tokenizer = write_tokenizer(folder / "tokenizer", END, as_one_file=False)
    encoder = text_encoder(1, len(tokenizer), 24, None, num_hidden_layers=2, hidden_act="quick_gelu", eos_token_id=2)
    pipeline = df.StableDiffusionPipeline(
        vae=autoencoder(2, scaling_factor=0.18215),
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet(3, 24, block_out_channels=(8, 16), layers_per_block=2),
        scheduler=df.PNDMScheduler(**SCHEDULE, skip_prk_steps=True, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    written = pipeline.scheduler
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = df.DDIMScheduler.from_config(written.config, clip_sample=False)
    settings = {"ddim": dict(prompt=PROMPTS[0], negative_prompt="dog", num_inference_steps=4, guidance_scale=5.0)}
    block = "down_blocks.0.attentions.1"
    layer = f"{block}.transformer_blocks.0"
    names = [f"{layer}.{attention}.{name}" for attention in ["attn1", "attn2"] for name in ATTENTION]
    more = [f"{block}.proj_in", f"{layer}.ff.net.0.proj", f"{layer}.ff.net.2", "mid_block.resnets.0.conv1"]
    encoder_names = [f"text_model.encoder.layers.1.{name}" for name in ["self_attn.q_proj", "mlp.fc1"]]
    modules = [("unet", name) for name in names + more]

    def kohya_with_prefix(part: str, module: str) -> tuple[str, str, str]:
        return kohya(part, f"text_model.{module}" if part == "text_encoder" else module)

    encoder_names = [name.removeprefix("text_model.") for name in encoder_names]
    adapters = {
        "kohya": (kohya_with_prefix, modules + [("text_encoder", name) for name in encoder_names]),
        "processors": (processors, [("unet", name) for name in names]),
    }
    folder_scheduler(pipeline, written, settings, "sd15", [(8, 8), (6, 10), (7, 9)], adapters)


def folder_scheduler(pipeline, written, settings, name, sizes, adapters) -> None:
    """Paints with one scheduler, but writes the one that the hub's folder has."""
    painted_with = pipeline.scheduler
    save = painted_with.save_pretrained

    def save_as_on_the_hub(folder):
        written.save_pretrained(folder)
        file = folder / "scheduler_config.json"
        # A field of other schedulers, which the hub's file has.
        file.write_text(json.dumps(json.loads(file.read_text()) | {"clip_sample": False}, indent=2) + "\n")

    painted_with.save_pretrained = save_as_on_the_hub
    write(name, pipeline, sizes, settings, adapters=adapters)
    painted_with.save_pretrained = save


def sd21() -> None:
    folder = OUT / "sd21"
    tokenizer = write_tokenizer(folder / "tokenizer", "!", as_one_file=True)
    encoder = text_encoder(4, len(tokenizer), 16, None, num_hidden_layers=1, hidden_act="gelu", eos_token_id=2)
    pipeline = df.StableDiffusionPipeline(
        vae=autoencoder(5, scaling_factor=0.18215),
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet(
            6,
            16,
            block_out_channels=(8, 16, 16),
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            attention_head_dim=[1, 2, 4],
            use_linear_projection=True,
        ),
        scheduler=df.DDIMScheduler(**SCHEDULE, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    settings = {"ddim": dict(prompt=PROMPTS[2], num_inference_steps=4, guidance_scale=7.5)}
    write("sd21", pipeline, [(8, 8), (12, 4), (5, 11)], settings, rename_vae=lambda name: name)


def sdxl() -> None:
    folder = OUT / "sdxl"
    tokenizer = write_tokenizer(folder / "tokenizer", END, as_one_file=False)
    tokenizer_2 = write_tokenizer(folder / "tokenizer_2", "!", as_one_file=False)
    size = len(tokenizer)
    pipeline = df.StableDiffusionXLPipeline(
        vae=autoencoder(7, scaling_factor=0.13025),
        text_encoder=text_encoder(8, size, 16, None, num_hidden_layers=2, hidden_act="quick_gelu", eos_token_id=2),
        text_encoder_2=text_encoder(9, size, 24, 20, num_hidden_layers=3, hidden_act="gelu", eos_token_id=size - 1),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=unet(
            10,
            40,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=[1, 2],
            attention_head_dim=[2, 4],
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=20 + 6 * 8,
        ),
        scheduler=df.EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="leading"),
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    settings = {
        "euler": dict(prompt=PROMPTS[0], num_inference_steps=4, guidance_scale=5.0),
        "negative": dict(prompt=PROMPTS[0], negative_prompt="", num_inference_steps=2, guidance_scale=3.0),
    }
    blocks = ["down_blocks.1.attentions.0", "mid_block.attentions.0", "up_blocks.0.attentions.1"]
    names = [f"{block}.transformer_blocks.1.attn2.{name}" for block in blocks for name in ATTENTION]
    modules = [("unet", name) for name in names + [f"{block}.proj_out" for block in blocks]]
    more = [("text_encoder_2", "text_model.encoder.layers.0.self_attn.v_proj")]
    adapters = {"peft": (peft, modules + more), "counted": (counted, modules)}
    write("sdxl", pipeline, [(8, 8), (10, 6), (9, 7)], settings, is_xl=True, adapters=adapters)


def lcm() -> None:
    """A distilled model, that is told the guidance; without a middle."""
    folder = OUT / "lcm"
    tokenizer = write_tokenizer(folder / "tokenizer", END, as_one_file=False)
    pipeline = df.LatentConsistencyModelPipeline(
        vae=autoencoder(14, (8,), scaling_factor=0.18215, mid_block_add_attention=False, shift_factor=0.1),
        text_encoder=text_encoder(15, len(tokenizer), 16, None, num_hidden_layers=1, hidden_act="quick_gelu", eos_token_id=2),
        tokenizer=tokenizer,
        unet=unet(16, 16, block_out_channels=(8, 16), time_cond_proj_dim=12, mid_block_type=None, flip_sin_to_cos=False, freq_shift=1),
        scheduler=df.LCMScheduler(**SCHEDULE, original_inference_steps=50),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    write("lcm", pipeline, [(8, 8), (6, 10)], {})


if __name__ == "__main__":
    torch.set_num_threads(1)
    tf.logging.set_verbosity_error()
    sd15()
    sd21()
    sdxl()
    lcm()
