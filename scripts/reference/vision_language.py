"""Tiny random checkpoints of vision-language models, in the hub's folder layout, with reference values
by transformers, or, of Moondream, by the architecture written down here.

    python scripts/reference/vision_language.py

writes tests/data/vision_language/FAMILY/. Weights are random but seeded; norms and biases too, so that
one left out shows. `reference.safetensors` has, for each picture N: `N.picture` [height, width, 3], what
the image processor makes of it (`N.pixels`), the vision tower's vectors (`N.tower`), those that the
language model is given (`N.rows`), the prompt's tokens (`N.tokens`), their logits (`N.logits`) and the
tokens that follow, the likeliest each time (`N.answer`). `queries.json` are the texts that were asked.
"""

import json
import pathlib
import shutil

import numpy as np
import torch
import transformers as tf
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

OUT = pathlib.Path(__file__).parents[2] / "tests/data/vision_language"
ANSWER = 10
QUERIES = ["What is this?", "Is it <image> or <|image_pad|>?", "Name the colour: red, or blue?"]
TEXT = dict(hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=256, rms_norm_eps=1e-5)

CLIP_TONES = dict(image_mean=[0.48145466, 0.4578275, 0.40821073],
                  image_std=[0.26862954, 0.26130258, 0.27577711])

LLAVA_TEMPLATE = """\
{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}\
{% endif %}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}\
{{ '<image>\n' }}{% endfor %}\
{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}\
{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"""

QWEN_TEMPLATE = """\
{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system
You help.<|im_end|>
{% endif %}<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}<|im_end|>
{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' %}\
<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}\
{% endfor %}<|im_end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def randomise(model: torch.nn.Module, seed: int, words: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name, weight in sorted(model.named_parameters()):
        values = torch.randn(weight.shape, generator=generator)
        lower = name.lower()
        if weight.dim() == 1 and ("norm" in lower or "ln_q" in lower) and lower.endswith("weight"):
            values = 1.0 + 0.2 * values
        elif weight.dim() == 1 or "position" in lower or "class_embedding" in lower:
            values = 0.3 * values
        elif lower.endswith(("embed_tokens.weight", "word_embeddings.weight", "wte.weight")):
            values = values * words
        else:
            values = values * weight[0].numel() ** -0.5 * 1.3
        with torch.no_grad():
            weight.copy_(values)


def tokenizer(special: list[str], bos: str | None) -> Tokenizer:
    """Bytes, each a token, and control tokens after them."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    if bos:
        from tokenizers import processors
        made.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, made.token_to_id(bos))])
    return made


def pictures(shapes) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    made = []
    for height, width in shapes:
        y, x = np.mgrid[0:height, 0:width]
        waves = [np.sin(x / rng.uniform(2, 9) + y / rng.uniform(2, 9) + c) for c in range(3)]
        made.append(((np.stack(waves, -1) + 1) * 110 + rng.uniform(0, 35, (height, width, 3))).astype(np.uint8))
    return made


def folder(family: str, model, made: Tokenizer, settings: dict, template: str, preprocessor: dict) -> pathlib.Path:
    out = OUT / family
    shutil.rmtree(out, ignore_errors=True)
    model.save_pretrained(out)
    for file in out.iterdir():
        if file.name not in ("config.json", "generation_config.json") and file.suffix != ".safetensors":
            file.unlink()
    (out / "generation_config.json").unlink(missing_ok=True)
    made.save(str(out / "tokenizer.json"))
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")
    if template:
        (out / "chat_template.json").write_text(json.dumps({"chat_template": template}, indent=1) + "\n")
    (out / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=1) + "\n")
    return out


def render(template: str, query: str, bos: str | None) -> str:
    import jinja2
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": query}]}]
    return environment.from_string(template).render(
        messages=messages, add_generation_prompt=True, bos_token=bos or "")


def expanded(made: Tokenizer, text: str, query: str, image: str, rows: int, bos: bool) -> list[int]:
    """The prompt's tokens: the query's own text is plain, whatever it spells."""
    before, after = text.split(query)
    plain = [BYTE[byte] for byte in query.encode()]
    ids = made.encode(before, add_special_tokens=bos).ids + plain + made.encode(after, add_special_tokens=False).ids
    place = made.token_to_id(image)
    assert ids.count(place) == 1
    at = ids.index(place)
    return ids[:at] + [place] * rows + ids[at + 1:]


def bytes_to_letters() -> dict[int, str]:
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, extra = {b: chr(b) for b in keep}, 0
    for b in range(256):
        if b not in letters:
            letters[b] = chr(256 + extra)
            extra += 1
    return letters


LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
BYTE = {b: LETTERS.index(letter) for b, letter in bytes_to_letters().items()}


def answer(logits_of, tokens: list[int]) -> tuple[np.ndarray, list[int]]:
    """The logits of a prompt and the tokens that follow."""
    first = logits_of(tokens)
    found = list(tokens)
    logits = first
    for _ in range(ANSWER):
        found.append(int(logits[-1].argmax()))
        logits = logits_of(found)
    return first, found[len(tokens):]


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
    print(out.name, {p.name: p.stat().st_size for p in sorted(out.iterdir())})


def llava() -> None:
    made = tokenizer(["<s>", "</s>", "<unk>", "<image>", "<pad>"], "<s>")
    ids = {name: made.token_to_id(name) for name in ("<s>", "</s>", "<image>", "<pad>")}
    size, patch = 15, 5
    vision = tf.CLIPVisionConfig(hidden_size=24, intermediate_size=36, num_hidden_layers=3, num_attention_heads=3,
                                 image_size=size, patch_size=patch, projection_dim=16)
    text = tf.LlamaConfig(**TEXT, vocab_size=made.get_vocab_size(), bos_token_id=ids["<s>"],
                          eos_token_id=ids["</s>"], pad_token_id=ids["<pad>"])
    config = tf.LlavaConfig(vision_config=vision, text_config=text, image_token_index=ids["<image>"],
                            image_seq_length=(size // patch) ** 2)
    config._attn_implementation = "eager"
    model = tf.LlavaForConditionalGeneration(config).eval()
    randomise(model, 1)
    preprocessor = dict(
        image_processor_type="CLIPImageProcessor", do_convert_rgb=True, do_resize=True, size=dict(shortest_edge=size),
        resample=3, do_center_crop=True, crop_size=dict(height=size, width=size), do_rescale=True,
        rescale_factor=1 / 255, do_normalize=True, processor_class="LlavaProcessor", **CLIP_TONES)
    settings = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
                    image_token="<image>", tokenizer_class="LlamaTokenizer")
    out = folder("llava", model, made, settings, LLAVA_TEMPLATE, preprocessor)
    fields = {k: v for k, v in preprocessor.items() if k not in ("image_processor_type", "processor_class")}
    processor = tf.CLIPImageProcessorPil(**fields)
    cases = {}
    for number, picture in enumerate(pictures([(20, 31), (15, 15), (40, 22)])):
        pixels = processor(picture, return_tensors="pt", input_data_format="channels_last")["pixel_values"]
        with torch.no_grad():
            seen = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2][0, 1:]
            rows = model.model.get_image_features(pixels).pooler_output[0]
        query = QUERIES[number]
        tokens = expanded(made, render(LLAVA_TEMPLATE, query, "<s>"), query, "<image>", len(rows), True)

        def logits_of(ids):
            with torch.no_grad():
                return model(input_ids=torch.tensor([ids]), pixel_values=pixels, use_cache=False).logits[0].numpy()

        logits, follow = answer(logits_of, tokens)
        cases |= {f"{number}.picture": picture, f"{number}.pixels": pixels[0], f"{number}.tower": seen,
                  f"{number}.rows": rows, f"{number}.tokens": tokens, f"{number}.logits": logits,
                  f"{number}.answer": follow}
    write(out, cases)


def qwen() -> None:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
               "<|video_pad|>"]
    made = tokenizer(special, None)
    ids = {name: made.token_to_id(name) for name in special}
    vision = dict(depth=4, hidden_size=32, hidden_act="silu", intermediate_size=40, num_heads=2, in_channels=3,
                  patch_size=4, spatial_merge_size=2, temporal_patch_size=2, window_size=16, out_hidden_size=32,
                  fullatt_block_indexes=[1, 3])
    text = TEXT | dict(vocab_size=made.get_vocab_size(), num_attention_heads=2, num_key_value_heads=1,
                       rope_theta=10000.0, rope_scaling=dict(type="mrope", mrope_section=[2, 3, 3]),
                       bos_token_id=ids["<|endoftext|>"], eos_token_id=ids["<|im_end|>"], use_sliding_window=False,
                       tie_word_embeddings=True)
    config = tf.Qwen2_5_VLConfig(
        vision_config=vision, text_config=text, image_token_id=ids["<|image_pad|>"], tie_word_embeddings=True,
        video_token_id=ids["<|video_pad|>"], vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"])
    config._attn_implementation = "eager"
    model = tf.Qwen2_5_VLForConditionalGeneration(config).eval()
    # The head is the table of words: with large ones, a token would be followed by itself.
    randomise(model, 2, words=0.25)
    preprocessor = dict(
        image_processor_type="Qwen2VLImageProcessor", min_pixels=512, max_pixels=2304, patch_size=4,
        temporal_patch_size=2, merge_size=2, processor_class="Qwen2_5_VLProcessor", **CLIP_TONES)
    settings = dict(eos_token="<|im_end|>", pad_token="<|endoftext|>", bos_token=None, tokenizer_class="Qwen2Tokenizer")
    out = folder("qwen2_5_vl", model, made, settings, QWEN_TEMPLATE, preprocessor)
    fields = {k: v for k, v in preprocessor.items() if k not in ("image_processor_type", "processor_class")}
    processor = tf.Qwen2VLImageProcessorPil(**fields)
    cases = {}
    for number, picture in enumerate(pictures([(40, 57), (9, 12), (90, 20)])):
        prepared = processor(picture, return_tensors="pt", input_data_format="channels_last")
        pixels, grid = prepared["pixel_values"], prepared["image_grid_thw"]
        with torch.no_grad():
            seen = model.model.visual(pixels, grid_thw=grid)
            # The tower works window by window; its merged rows are put back in their order.
            rows = seen.pooler_output
        query = QUERIES[number]
        tokens = expanded(made, render(QWEN_TEMPLATE, query, None), query, "<|image_pad|>", len(rows), False)

        def logits_of(ids):
            types = torch.tensor([[int(i == config.image_token_id) for i in ids]])
            with torch.no_grad():
                model.model.rope_deltas = None
                return model(input_ids=torch.tensor([ids]), pixel_values=pixels, image_grid_thw=grid,
                             mm_token_type_ids=types, use_cache=False).logits[0].numpy()

        logits, follow = answer(logits_of, tokens)
        cases |= {f"{number}.picture": picture, f"{number}.pixels": pixels, f"{number}.grid": grid[0],
                  f"{number}.tower": seen.last_hidden_state, f"{number}.rows": rows, f"{number}.tokens": tokens,
                  f"{number}.logits": logits, f"{number}.answer": follow}
    write(out, cases)


def words() -> Tokenizer:
    """BERT's kind of tokenizer: a word is a token, or letters are."""
    from tokenizers import decoders, models, normalizers, processors
    control = ["[PAD]", "[UNK]", "[CLS]", "[DEC]", "[SEP]", "[MASK]"]
    whole = ["what", "is", "this", "the", "picture", "of", "red", "or", "blue", "name", "colour", "it", "image", "pad"]
    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    pieces = [f"##{letter}" for letter in letters if letter.isalpha()]
    made = Tokenizer(models.WordPiece(
        vocab={t: i for i, t in enumerate(control + letters + pieces + whole)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 4)])
    return made


def blip(family: str, answers: bool) -> None:
    made = words()
    size, patch = 12, 4
    vision = dict(hidden_size=24, intermediate_size=36, num_hidden_layers=2, num_attention_heads=3,
                  image_size=size, patch_size=patch, layer_norm_eps=1e-5)
    text = dict(hidden_size=32, encoder_hidden_size=24, intermediate_size=40, num_hidden_layers=2,
                num_attention_heads=4, max_position_embeddings=64, vocab_size=made.get_vocab_size(),
                bos_token_id=3, sep_token_id=4, pad_token_id=0, eos_token_id=2)
    config = tf.BlipConfig(vision_config=vision, text_config=text)
    for part in (config, config.text_config, config.vision_config):
        part._attn_implementation = "eager"
    model = (tf.BlipForQuestionAnswering if answers else tf.BlipForConditionalGeneration)(config).eval()
    if answers:
        # The decoder looks at what the encoder makes of the question.
        for layer in model.text_decoder.bert.encoder.layer:
            attention = layer.crossattention.self
            attention.key, attention.value = torch.nn.Linear(32, 32), torch.nn.Linear(32, 32)
    randomise(model, 3 + answers, words=0.25)
    preprocessor = dict(
        image_processor_type="BlipImageProcessor", do_convert_rgb=True, do_resize=True,
        size=dict(height=size, width=size), resample=3, do_rescale=True, rescale_factor=1 / 255, do_normalize=True,
        processor_class="BlipProcessor", **CLIP_TONES)
    settings = dict(cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]", pad_token="[PAD]",
                    tokenizer_class="BertTokenizer")
    out = folder(family, model, made, settings, "", preprocessor)
    fields = {k: v for k, v in preprocessor.items() if k not in ("image_processor_type", "processor_class")}
    processor = tf.BlipImageProcessorPil(**fields)
    made.encode_special_tokens = True
    cases = {}
    for number, picture in enumerate(pictures([(20, 31), (12, 12), (40, 22)])):
        pixels = processor(picture, return_tensors="pt", input_data_format="channels_last")["pixel_values"]
        plain = made.encode(QUERIES[number], add_special_tokens=False).ids
        question = [2, *plain, 4]
        with torch.no_grad():
            seen = model.vision_model(pixels).last_hidden_state
            if answers:
                rows = model.text_encoder(input_ids=torch.tensor([question]), encoder_hidden_states=seen)[0]
            else:
                rows = seen
        tokens = [3] if answers else [3, *plain]

        def logits_of(ids):
            with torch.no_grad():
                return model.text_decoder(input_ids=torch.tensor([ids]), encoder_hidden_states=rows,
                                          use_cache=False).logits[0].numpy()

        logits, follow = answer(logits_of, tokens)
        cases |= {f"{number}.picture": picture, f"{number}.pixels": pixels[0], f"{number}.tower": seen[0],
                  f"{number}.rows": rows[0], f"{number}.tokens": tokens, f"{number}.question": question,
                  f"{number}.logits": logits, f"{number}.answer": follow}
        if answers:
            made_by_transformers = model.generate(
                input_ids=torch.tensor([question]), pixel_values=pixels, max_new_tokens=ANSWER, do_sample=False)
        else:
            made_by_transformers = model.generate(
                pixel_values=pixels, input_ids=torch.tensor([[2, *plain, 4]]), max_new_tokens=ANSWER, do_sample=False)
        whole = made_by_transformers[0].tolist()
        assert whole[len(tokens):] == follow[:len(whole) - len(tokens)], (whole, follow)
    write(out, cases)


class Mlp(torch.nn.Module):
    def __init__(self, inputs: int, inside: int, outputs: int):
        super().__init__()
        self.fc1, self.fc2 = torch.nn.Linear(inputs, inside), torch.nn.Linear(inside, outputs)

    def forward(self, x):
        return self.fc2(torch.nn.functional.gelu(self.fc1(x), approximate="tanh"))


def attended(query, key, value, heads: int, causal: bool):
    """[rows, width] each, by heads."""
    query, key, value = (t.unflatten(-1, (heads, -1)).transpose(0, 1) for t in (query, key, value))
    mixed = torch.nn.functional.scaled_dot_product_attention(query[None], key[None], value[None], is_causal=causal)
    return mixed[0].transpose(0, 1).flatten(1)


class Block(torch.nn.Module):
    """A layer of Moondream's tower."""

    def __init__(self, width: int, inside: int):
        super().__init__()
        self.norm1, self.norm2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.attn = torch.nn.Module()
        self.attn.qkv, self.attn.proj = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.mlp = Mlp(width, inside, width)

    def forward(self, x):
        x = x + self.attn.proj(attended(*self.attn.qkv(self.norm1(x)).chunk(3, -1), 16, False))
        return x + self.mlp(self.norm2(x))


class Phi(torch.nn.Module):
    """A layer of Moondream's language model: both halves read the same norm."""

    def __init__(self, width: int, inside: int, heads: int):
        super().__init__()
        self.heads, self.ln = heads, torch.nn.LayerNorm(width)
        self.mixer = torch.nn.Module()
        self.mixer.Wqkv, self.mixer.out_proj = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.mlp = Mlp(width, inside, width)

    def turned(self, x):
        """Half of each head's components are turned by the position, the first of them with the last."""
        x = x.unflatten(-1, (self.heads, -1))
        width = x.shape[-1] // 2
        frequencies = 10000.0 ** (-torch.arange(0, width, 2).float() / width)
        angles = torch.arange(len(x)).float()[:, None, None] * frequencies
        first, second, rest = x[..., : width // 2], x[..., width // 2 : width], x[..., width:]
        cos, sin = angles.cos(), angles.sin()
        return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], -1).flatten(1)

    def forward(self, x):
        normed = self.ln(x)
        query, key, value = self.mixer.Wqkv(normed).chunk(3, -1)
        mixed = attended(self.turned(query), self.turned(key), value, self.heads, True)
        return x + self.mixer.out_proj(mixed) + self.mlp(normed)


def moondream() -> None:
    """Transformers has no such class: the architecture is written down here, with the names of its files."""
    made = tokenizer(["<|endoftext|>"], None)
    words, size, patch = made.get_vocab_size(), 15, 5
    width, inside, rows = 48, 36, (size // patch) ** 2
    text = dict(model_type="phi", vocab_size=words, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
                num_attention_heads=2, max_position_embeddings=256)
    nn = torch.nn
    model, visual = nn.Module(), nn.Module()
    visual.patch_embed = nn.Module()
    visual.patch_embed.linear = nn.Linear(3 * patch * patch, width)
    visual.pos_embed = nn.Parameter(torch.zeros(1, rows, width))
    visual.blocks = nn.ModuleList([Block(width, inside) for _ in range(2)])
    visual.norm = nn.LayerNorm(width)
    encoder = model.vision_encoder = nn.Module()
    encoder.encoder, encoder.projection = nn.Module(), nn.Module()
    encoder.encoder.model = nn.Module()
    encoder.encoder.model.visual = visual
    encoder.projection.mlp = Mlp(width, 44, 32)
    language = model.text_model = nn.Module()
    language.transformer, language.lm_head = nn.Module(), nn.Module()
    language.transformer.embd = nn.Module()
    language.transformer.embd.wte = nn.Embedding(words, 32)
    language.transformer.h = nn.ModuleList([Phi(32, 40, 2) for _ in range(2)])
    language.lm_head.ln, language.lm_head.linear = nn.LayerNorm(32), nn.Linear(32, words)
    randomise(model, 5)
    with torch.no_grad():
        visual.pos_embed.mul_(0.3)
    out = OUT / "moondream"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    save_file({k: np.ascontiguousarray(v.numpy()) for k, v in model.state_dict().items()}, out / "model.safetensors")
    config = dict(architectures=["Moondream"], model_type="moondream1", text_config=text)
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    made.save(str(out / "tokenizer.json"))
    settings = {f"{kind}_token": "<|endoftext|>" for kind in ("bos", "eos", "unk")}
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")
    end = made.token_to_id("<|endoftext|>")
    cases = {}
    for number, picture in enumerate(pictures([(20, 31), (15, 15), (40, 22)])):
        from PIL import Image
        scaled = np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC))
        pixels = (torch.tensor(scaled).permute(2, 0, 1).float() / 255 - 0.5) / 0.5
        cut = pixels.unflatten(2, (-1, patch)).unflatten(1, (-1, patch)).permute(1, 3, 0, 2, 4).flatten(2).flatten(0, 1)
        with torch.no_grad():
            seen = visual.patch_embed.linear(cut) + visual.pos_embed[0]
            for block in visual.blocks:
                seen = block(seen)
            seen = visual.norm(seen)
            shown = encoder.projection.mlp(seen)
        plain = [BYTE[b] for b in f"\n\nQuestion: {QUERIES[number]}\n\nAnswer:".encode()]

        def logits_of(ids):
            with torch.no_grad():
                x = language.transformer.embd.wte(torch.tensor(ids))
                x[1 : 1 + rows] = shown
                for layer in language.transformer.h:
                    x = layer(x)
                return language.lm_head.linear(language.lm_head.ln(x)).numpy()

        tokens = [end, *[0] * rows, *plain]
        logits, follow = answer(logits_of, tokens)
        cases |= {f"{number}.picture": picture, f"{number}.pixels": pixels, f"{number}.tower": seen,
                  f"{number}.rows": shown, f"{number}.tokens": tokens, f"{number}.logits": logits,
                  f"{number}.answer": follow}
    write(out, cases)


def main() -> None:
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "queries.json").write_text(json.dumps(QUERIES, indent=1) + "\n")
    llava()
    qwen()
    moondream()
    blip("blip", False)
    blip("blip_vqa", True)


main()
