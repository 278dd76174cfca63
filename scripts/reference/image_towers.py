"""Tiny random checkpoints of image towers, in the hub's folder layout, with reference values by transformers.

    python scripts/reference/image_towers.py

writes tests/data/image_towers/FAMILY/. Weights are random but seeded; norms, biases, positions and layer scales
too, so that one left out shows. `reference.safetensors` has, for each picture N: `N.picture` [height, width, 3],
what the image processor makes of it (`N.pixels`), the rows before the first layer (`N.first`), after the last but
one (`N.middle`), the tower's own output (`N.last`) and the picture's vector (`N.vector`). Pixels of other sizes are
`sizeN.pixels` and `sizeN.vector`. Of texts.json's text N: its tokens (`textN.tokens`), `textN.middle`, `textN.last`
and its vector (`textN.vector`); `similarity` is [pictures, texts]. CLIP's `legacy.f32` are the texts' vectors, one
after the other, where the configuration has the end of a text at 2.
"""

import json
import pathlib
import shutil

import numpy as np
import torch
import transformers as tf
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = pathlib.Path(__file__).parents[2] / "tests/data/image_towers"
CLIP_TONES = dict(image_mean=[0.48145466, 0.4578275, 0.40821073], image_std=[0.26862954, 0.26130258, 0.27577711])
IMAGENET_TONES = dict(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
HALVES = dict(image_mean=[0.5] * 3, image_std=[0.5] * 3)
SHAPES = [(20, 31), (24, 24), (47, 22)]
TEXTS = [
    "A photo of a cat", "two dogs", "Zürich, NAÏVE café!  東京 🙂", "a <blue> bird in the sky", "7",
    "a very long text that goes on and on until there is no more room for any of its many many words at all",
]
CORPUS = "a photo of a cat two dogs in the sky a blue bird and a red house by the sea".split()


def randomise(model: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name, weight in sorted(model.named_parameters()):
        lower = name.lower()
        values = torch.randn(weight.shape, generator=generator)
        if weight.dim() == 0 or lower.endswith(("logit_scale", "logit_bias")):
            continue
        if "lambda" in lower:
            values = 0.7 + 0.3 * values
        elif weight.dim() == 1 and "norm" in lower and lower.endswith("weight"):
            values = 1.0 + 0.3 * values
        elif weight.dim() == 1 or any(word in lower for word in ("position", "cls_token", "register", "probe")):
            values = 0.5 * values
        elif "token_embedding" in lower:
            pass
        else:
            values = values * weight[0].numel() ** -0.5 * 1.4
        with torch.no_grad():
            weight.copy_(values)


def pictures(shapes) -> list[np.ndarray]:
    rng = np.random.default_rng(11)
    made = []
    for height, width in shapes:
        y, x = np.mgrid[0:height, 0:width]
        waves = [np.sin(x / rng.uniform(2, 9) + y / rng.uniform(2, 9) + c) for c in range(3)]
        noise = rng.uniform(0, 35, (height, width, 3))
        made.append(((np.stack(waves, -1) + 1) * 110 + noise).astype(np.uint8))
    return made


def save(family: str, model, preprocessor: dict, config=None) -> pathlib.Path:
    out = OUT / family
    shutil.rmtree(out, ignore_errors=True)
    model.save_pretrained(out)
    (out / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=1) + "\n")
    return out


def write(out: pathlib.Path, cases: dict) -> None:
    arrays = {}
    for name, value in cases.items():
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = array.astype("<f4")
        elif array.dtype != np.uint8:
            array = array.astype("<u4")
        arrays[name] = np.ascontiguousarray(array)
    save_file(arrays, out / "reference.safetensors")
    print(out.name, {path.name: path.stat().st_size for path in sorted(out.iterdir())})


def unit(vectors: torch.Tensor) -> torch.Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)


def prepared(processor, picture: np.ndarray) -> torch.Tensor:
    return processor(picture, return_tensors="pt", input_data_format="channels_last")["pixel_values"]


def clip_tokenizer() -> tf.CLIPTokenizer:
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=len(letters) + 60, initial_alphabet=letters, end_of_word_suffix="</w>")
    trained.train_from_iterator([" ".join(CORPUS)], trainer)
    merges = [tuple(pair) for pair in json.loads(trained.to_str())["model"]["merges"]]
    names = letters + [letter + "</w>" for letter in letters] + ["".join(pair) for pair in merges]
    names = list(dict.fromkeys(names)) + ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {name: number for number, name in enumerate(names)}
    made = tf.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=16)
    # Above the end of a text: the older rule takes it for that.
    made.add_tokens(["<blue>"], special_tokens=True)
    return made


def clip() -> None:
    tokenizer = clip_tokenizer()
    end = tokenizer.eos_token_id
    size = 20
    vision = dict(hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=3, image_size=size,
                  patch_size=5)
    text = dict(vocab_size=len(tokenizer), hidden_size=28, intermediate_size=36, num_hidden_layers=2,
                num_attention_heads=4, max_position_embeddings=16, bos_token_id=end - 1, eos_token_id=end,
                pad_token_id=end)
    config = tf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=18)
    model = tf.CLIPModel(config).eval()
    randomise(model, 1)
    preprocessor = dict(
        image_processor_type="CLIPImageProcessor", do_convert_rgb=True, do_resize=True, size=dict(shortest_edge=size),
        resample=3, do_center_crop=True, crop_size=dict(height=size, width=size), do_rescale=True,
        rescale_factor=1 / 255, do_normalize=True, **CLIP_TONES)
    out = save("clip", model, preprocessor)
    tokenizer.save_pretrained(out)
    fields = {key: value for key, value in preprocessor.items() if key != "image_processor_type"}
    cases = of_pair(model, tf.CLIPImageProcessorPil(**fields), tokenizer, padding=False)
    model.text_model.eos_token_id = 2
    with torch.no_grad():
        legacy = [unit(model.get_text_features(**tokenizer(t, truncation=True, return_tensors="pt")).pooler_output)[0]
                  for t in TEXTS]
    write(out, cases)
    (out / "legacy.f32").write_bytes(np.ascontiguousarray(torch.stack(legacy).numpy(), "<f4").tobytes())


def siglip() -> None:
    words = sorted({word for word in CORPUS if len(word) > 1})
    names = ["<pad>", "</s>", "<unk>", "\u2581"] + [f"\u2581{word}" for word in words]
    names += sorted(set("abcdefghijklmnopqrstuvwxyz0123456789,!"))
    scores = [(name, 0.0 if name[0] == "<" else -2.0 - 0.01 * number) for number, name in enumerate(names)]
    made = Tokenizer(models.Unigram(scores, unk_id=2))
    made.add_special_tokens(names[:3])
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    made.decoder = decoders.Metaspace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = tf.PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=14, pad_token="</s>",
                                           eos_token="</s>", unk_token="<unk>")
    size = 24
    vision = dict(hidden_size=32, intermediate_size=44, num_hidden_layers=3, num_attention_heads=4, image_size=size,
                  patch_size=8)
    text = dict(vocab_size=len(names), hidden_size=32, intermediate_size=40, num_hidden_layers=2,
                num_attention_heads=2, max_position_embeddings=14, projection_size=32)
    model = tf.SiglipModel(tf.SiglipConfig(text_config=text, vision_config=vision)).eval()
    randomise(model, 2)
    with torch.no_grad():
        model.logit_scale.fill_(2.0)
        model.logit_bias.fill_(-1.5)
    preprocessor = dict(
        image_processor_type="SiglipImageProcessor", do_resize=True, size=dict(height=size, width=size), resample=3,
        do_rescale=True, rescale_factor=1 / 255, do_normalize=True, **HALVES)
    out = save("siglip", model, preprocessor)
    tokenizer.save_pretrained(out)
    fields = {key: value for key, value in preprocessor.items() if key != "image_processor_type"}
    write(out, of_pair(model, tf.SiglipImageProcessorPil(**fields), tokenizer, padding="max_length"))


def of_pair(model, processor, tokenizer, padding) -> dict:
    """Pictures and texts in the same space."""
    cases, seen, read = {}, [], []
    with torch.no_grad():
        for number, picture in enumerate(pictures(SHAPES)):
            pixels = prepared(processor, picture)
            states = model.vision_model(pixels, output_hidden_states=True)
            vector = unit(model.get_image_features(pixels).pooler_output)[0]
            seen.append(vector)
            cases |= {f"{number}.picture": picture, f"{number}.pixels": pixels[0].numpy(),
                      f"{number}.first": states.hidden_states[0][0].numpy(),
                      f"{number}.middle": states.hidden_states[-2][0].numpy(),
                      f"{number}.last": states.last_hidden_state[0].numpy(), f"{number}.vector": vector.numpy()}
        for number, text in enumerate(TEXTS):
            inputs = tokenizer(text, truncation=True, padding=padding, return_tensors="pt")["input_ids"]
            states = model.text_model(inputs, output_hidden_states=True)
            vector = unit(model.get_text_features(inputs).pooler_output)[0]
            read.append(vector)
            cases |= {f"text{number}.tokens": inputs[0].numpy(),
                      f"text{number}.middle": states.hidden_states[-2][0].numpy(),
                      f"text{number}.last": states.last_hidden_state[0].numpy(),
                      f"text{number}.vector": vector.numpy()}
        rows = []
        for number in range(len(SHAPES)):
            pixels = torch.from_numpy(cases[f"{number}.pixels"])[None]
            line = []
            for text in TEXTS:
                inputs = tokenizer(text, truncation=True, padding=padding, return_tensors="pt")["input_ids"]
                line.append(model(input_ids=inputs, pixel_values=pixels).logits_per_image[0, 0].item())
            rows.append(line)
        cases["similarity"] = np.array(rows)
        bias = model.logit_bias.item() if hasattr(model, "logit_bias") else 0.0
        cases["scale"] = np.array([model.logit_scale.exp().item(), bias])
    print("similarity", cases["similarity"].round(2).tolist())
    return cases


def alone(family: str, model, preprocessor: dict, processor, sizes=()) -> None:
    """Pictures only: the class token's vector."""
    fields = {key: value for key, value in preprocessor.items() if key != "image_processor_type"}
    out = save(family, model, preprocessor)
    cases = {}
    with torch.no_grad():
        for number, picture in enumerate(pictures(SHAPES)):
            pixels = prepared(processor(**fields), picture)
            states = model(pixels, output_hidden_states=True)
            first = model.embeddings(pixels)
            cases |= {f"{number}.picture": picture, f"{number}.pixels": pixels[0].numpy(),
                      f"{number}.first": first[0].numpy(), f"{number}.middle": states.hidden_states[-2][0].numpy(),
                      f"{number}.last": states.last_hidden_state[0].numpy(),
                      f"{number}.vector": states.last_hidden_state[0, 0].numpy()}
        generator = torch.Generator().manual_seed(3)
        for number, (height, width) in enumerate(sizes):
            pixels = torch.randn((1, 3, height, width), generator=generator)
            cases |= {f"size{number}.pixels": pixels[0].numpy(),
                      f"size{number}.vector": model(pixels).last_hidden_state[0, 0].numpy()}
    write(out, cases)


# With positions for 4 by 4 patches: fewer, more, not square, not whole patches, as many in another shape.
SIZES = [(24, 24), (12, 12), (30, 18), (39, 28), (12, 48), (36, 36)]


def dino_preprocessor() -> dict:
    return dict(image_processor_type="BitImageProcessor", do_convert_rgb=True, do_resize=True,
                size=dict(shortest_edge=22), resample=3, do_center_crop=True, crop_size=dict(height=18, width=18),
                do_rescale=True, rescale_factor=1 / 255, do_normalize=True, **IMAGENET_TONES)


def dinov2() -> None:
    common = dict(hidden_size=24, num_hidden_layers=3, num_attention_heads=3, image_size=24, patch_size=6)
    for seed, (family, more) in enumerate([("dinov2", {}), ("dinov2_swiglu", dict(use_swiglu_ffn=True))]):
        model = tf.Dinov2Model(tf.Dinov2Config(**common, mlp_ratio=2 + seed, **more)).eval()
        randomise(model, 3 + seed)
        alone(family, model, dino_preprocessor(), tf.BitImageProcessorPil, SIZES)
    config = tf.Dinov2WithRegistersConfig(**common, mlp_ratio=2, num_register_tokens=2)
    model = tf.Dinov2WithRegistersModel(config).eval()
    randomise(model, 5)
    alone("dinov2_with_registers", model, dino_preprocessor(), tf.BitImageProcessorPil, SIZES)


def vit() -> None:
    config = tf.ViTConfig(hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=40,
                          image_size=24, patch_size=6)
    model = tf.ViTModel(config).eval()
    randomise(model, 6)
    preprocessor = dict(image_processor_type="ViTImageProcessor", do_resize=True, size=dict(height=24, width=24),
                        resample=2, do_rescale=True, rescale_factor=1 / 255, do_normalize=True, **HALVES)
    alone("vit", model, preprocessor, tf.ViTImageProcessorPil)


def main() -> None:
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "texts.json").write_text(json.dumps(TEXTS, ensure_ascii=False, indent=1) + "\n")
    for family in (clip, siglip, dinov2, vit):
        family()


if __name__ == "__main__":
    main()
