"""Tiny random checkpoints of every encoder family, in the hub's folder layout, with reference
embeddings by sentence-transformers (or transformers, where the folder has no modules).

    python scripts/reference/encoder.py

writes tests/data/encoder/texts.json and tests/data/encoder/FAMILY/. Weights and tokenizers are
random but seeded; LayerNorm weights and all biases too, so that one left out shows.

JinaBERT v2's code is not part of transformers: its reference is the small torch model below,
written from the paper (Günther et al. 2023, ALiBi by Press et al. 2022) and the published
description of the checkpoint. nomic_bert is part of transformers 5; its tensors are saved under the
names that the files on the hub have.
"""

import json
import math
import pathlib
import shutil

import numpy as np
import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers import models as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = pathlib.Path(__file__).parents[2] / "tests/data/encoder"

CORPUS = """The quick brown fox jumps over the lazy dog. A model is loaded once and serves many
texts; each text becomes a vector. Rivers run to the sea, and the sea is never full. What is the
capital of France? Paris, naturally. In 1969 people walked on the moon: one small step. Zürich,
naïve, café, São Paulo. Numbers such as 3.14159 and 2024 are split into pieces. Nothing here is
padded, nothing is wasted. Who reads this sentence will know it again later.""".split()


def texts() -> list[str]:
    rng = np.random.default_rng(5)
    made = ["Paris", "", "What is the capital of France?", "Zürich, naïve café! 東京 🙂"]
    for count in (3, 9, 14, 25, 40, 70, 110, 400):
        made.append(" ".join(rng.choice(CORPUS, count)))
    return made


def template(tokenizer: Tokenizer, before: str, after: str) -> None:
    def ids(text: str) -> list[tuple[str, int]]:
        return [(name, tokenizer.token_to_id(name)) for name in text.split()]

    tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join(f"{part}" for part in [before, "$A", after] if part),
        special_tokens=ids(before) + ids(after),
    )


def pieces(lower: bool) -> tuple[list[str], list[str]]:
    """The corpus's words and characters, sorted: the trainers' own choice varies from run to run."""
    plain = [word.strip(".,;:?!") for word in CORPUS]
    words = sorted({word.lower() if lower else word for word in plain if len(word) > 1})
    letters = sorted(set("abcdefghijklmnopqrstuvwxyz0123456789.,;:?!") | set("".join(words)))
    return words, letters


def wordpiece(specials: list[str], before: str, after: str) -> Tokenizer:
    unknown = next(name for name in specials if "unk" in name.lower())
    words, letters = pieces(lower=True)
    # Every third word is left out, so that it comes in pieces.
    known = [word for number, word in enumerate(words) if number % 3]
    names = dict.fromkeys(specials + known + letters + [f"##{letter}" for letter in letters])
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    tokenizer.add_special_tokens(specials)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    template(tokenizer, before, after)
    return tokenizer


def byte_bpe(specials: list[str], before: str, after: str, size: int = 300) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        [" ".join(CORPUS)],
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=specials,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    template(tokenizer, before, after)
    return tokenizer


def unigram(specials: list[str], before: str, after: str) -> Tokenizer:
    words, letters = pieces(lower=False)
    known = [f"\u2581{word}" for number, word in enumerate(words) if number % 3]
    names = dict.fromkeys(specials + known + letters + ["\u2581"])
    scores = [(name, 0.0 if name in specials else -2.0 - 0.01 * number)
              for number, name in enumerate(names)]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=specials.index("<unk>")))
    tokenizer.add_special_tokens(specials)
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    template(tokenizer, before, after)
    return tokenizer


BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def fast(tokenizer: Tokenizer, limit: int, pad: str) -> tf.PreTrainedTokenizerFast:
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, model_max_length=limit
    )


@torch.no_grad()
def randomise(model: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name.lower() and name.endswith("weight"):
            parameter.copy_(1 + 0.3 * noise)
        elif parameter.dim() == 1:
            parameter.copy_(0.2 * noise)
        elif "embed" in name or "tok_" in name:
            parameter.copy_(noise)
        else:
            # Sharp enough attention and large enough activations to show a wrong order or form.
            parameter.copy_(noise * 1.5 / math.sqrt(parameter.shape[-1]))


def clean(folder: pathlib.Path) -> None:
    for name in ("README.md", "special_tokens_map.json", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)
    for empty in [path for path in folder.iterdir() if path.is_dir() and not any(path.iterdir())]:
        empty.rmdir()


def write_reference(folder: pathlib.Path, rows: np.ndarray) -> None:
    rows = np.ascontiguousarray(rows, dtype="<f4")
    (folder / "embeddings.f32").write_bytes(rows.tobytes())
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder.name}: {rows.shape}, {size // 1024} KB")


def build(name, model, tokenizer, limit, pad, modules, *, dtype=None, shards=None, rename=None,
          prompts=None, after=None):
    """Saves a sentence-transformers folder and what it gives for the texts."""
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    work = OUT / "work"
    shutil.rmtree(work, ignore_errors=True)
    if dtype is not None:
        # The reference has the stored weights, rounded, but computes in float32.
        model = model.to(dtype).to(torch.float32)
    model.eval()
    model.save_pretrained(work)
    fast(tokenizer, limit, pad).save_pretrained(work)
    transformer = st.Transformer(str(work), max_seq_length=limit)
    whole = SentenceTransformer(modules=[transformer, *modules], prompts=prompts, device="cpu")
    whole.eval()
    # Each text alone: a reference without padding.
    rows = np.stack([whole.encode(text) for text in texts()])
    whole.save(str(folder))
    weights = folder / "model.safetensors"
    tensors = {key: value.contiguous() for key, value in load_file(work / "model.safetensors").items()}
    if dtype is not None:
        tensors = {key: value.to(dtype) for key, value in tensors.items()}
    if rename is not None:
        tensors = {rename(key): value for key, value in tensors.items()}
    weights.unlink()
    if shards is None:
        save_file(tensors, weights, metadata={"format": "pt"})
    else:
        keys = sorted(tensors)
        index = {}
        for number in range(shards):
            shard = f"model-{number + 1:05}-of-{shards:05}.safetensors"
            part = {key: tensors[key] for key in keys[number::shards]}
            save_file(part, folder / shard, metadata={"format": "pt"})
            index |= dict.fromkeys(part, shard)
        index = {"metadata": {}, "weight_map": dict(sorted(index.items()))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
    if after is not None:
        after(folder, whole, rows)
    clean(folder)
    write_reference(folder, rows)
    shutil.rmtree(work)


def seeded(seed: int, module: torch.nn.Module) -> torch.nn.Module:
    randomise(module, seed)
    return module


def bert() -> None:
    tokenizer = wordpiece(BERT_SPECIALS, "[CLS]", "[SEP]")
    config = tf.BertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=32, num_hidden_layers=2,
        num_attention_heads=4, intermediate_size=48, max_position_embeddings=96,
    )
    model = seeded(1, tf.BertModel(config, add_pooling_layer=False))
    # Named as the oldest files on the hub: with a prefix, gamma and beta.
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

    def rename(key: str) -> str:
        for new, name in old.items():
            key = key.replace(new, name)
        return f"bert.{key}"

    build("bert", model, tokenizer, 90, "[PAD]", [st.Pooling(32, "cls"), st.Normalize()],
          rename=rename)


def roberta() -> None:
    tokenizer = byte_bpe(ROBERTA_SPECIALS, "<s>", "</s>")
    config = tf.RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=36, num_hidden_layers=2,
        num_attention_heads=3, intermediate_size=40, max_position_embeddings=98,
        type_vocab_size=1, pad_token_id=1, hidden_act="gelu_new",
    )
    model = seeded(2, tf.RobertaModel(config, add_pooling_layer=False))
    build("roberta", model, tokenizer, 96, "<pad>", [st.Pooling(36, ("mean", "max"))], shards=3)


def xlm_roberta() -> None:
    tokenizer = unigram(ROBERTA_SPECIALS[:4], "<s>", "</s>")
    config = tf.XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=32, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=64, max_position_embeddings=130,
        type_vocab_size=1, pad_token_id=1,
    )
    model = seeded(3, tf.XLMRobertaModel(config, add_pooling_layer=False))
    dense = seeded(30, st.Dense(32, 24, activation_function=torch.nn.Tanh()))
    prompts = {"query": "What is: ", "passage": "Text: "}

    def prompted(folder, whole, _rows) -> None:
        for name in prompts:
            rows = np.stack([whole.encode(text, prompt_name=name) for text in texts()])
            (folder / f"{name}.f32").write_bytes(np.ascontiguousarray(rows, "<f4").tobytes())
        short = np.stack([whole.encode(text, truncate_dim=8) for text in texts()])
        short /= np.linalg.norm(short, axis=1, keepdims=True)
        (folder / "short.f32").write_bytes(np.ascontiguousarray(short, "<f4").tobytes())

    build("xlm-roberta", model, tokenizer, 128, "<pad>",
          [st.Pooling(32, "mean"), dense, st.Normalize()], prompts=prompts, after=prompted)


def distilbert() -> None:
    """A bare transformers folder: no modules, token vectors are averaged."""
    tokenizer = wordpiece(BERT_SPECIALS, "[CLS]", "[SEP]")
    config = tf.DistilBertConfig(
        vocab_size=tokenizer.get_vocab_size(), dim=32, n_layers=2, n_heads=4, hidden_dim=64,
        max_position_embeddings=80,
    )
    model = seeded(4, tf.DistilBertModel(config)).eval()
    folder = OUT / "distilbert"
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    wrapped = fast(tokenizer, 80, "[PAD]")
    wrapped.save_pretrained(folder)
    rows = []
    with torch.no_grad():
        for text in texts():
            inputs = wrapped(text, truncation=True, return_tensors="pt")
            output = model(inputs["input_ids"], inputs["attention_mask"])
            rows.append(output.last_hidden_state[0].mean(0).numpy())
    clean(folder)
    write_reference(folder, np.stack(rows))


def mpnet() -> None:
    specials = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]
    tokenizer = wordpiece(specials, "<s>", "</s>")
    config = tf.MPNetConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=32, num_hidden_layers=2,
        num_attention_heads=4, intermediate_size=48, max_position_embeddings=402,
    )
    model = seeded(5, tf.MPNetModel(config, add_pooling_layer=False))
    build("mpnet", model, tokenizer, 400, "<pad>", [st.Pooling(32, "mean_sqrt_len_tokens")],
          dtype=torch.float16)


def modernbert() -> None:
    tokenizer = byte_bpe(BERT_SPECIALS, "[CLS]", "[SEP]")
    config = tf.ModernBertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=32, num_hidden_layers=4,
        num_attention_heads=2, intermediate_size=40, local_attention=16,
        max_position_embeddings=512, global_attn_every_n_layers=3, pad_token_id=0,
        bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3,
    )
    model = seeded(6, tf.ModernBertModel(config))
    build("modernbert", model, tokenizer, 500, "[PAD]", [st.Pooling(32, "weightedmean")],
          dtype=torch.bfloat16)


def nomic_bert() -> None:
    tokenizer = wordpiece(BERT_SPECIALS, "[CLS]", "[SEP]")
    config = tf.NomicBertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=32, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=48, max_position_embeddings=512,
    )
    model = seeded(7, tf.NomicBertModel(config))

    def own_fields(folder, _whole, _rows) -> None:
        # The hub's files have the fields of the model's own code; those of transformers stay too.
        (folder / "config.json").rename(folder / "config.transformers.json")
        own = {
            "model_type": "nomic_bert", "activation_function": "swiglu", "n_embd": 32, "n_head": 2,
            "n_inner": 48, "n_layer": 2, "n_positions": 512, "layer_norm_epsilon": 1e-12,
            "mlp_fc1_bias": False, "mlp_fc2_bias": False, "qkv_proj_bias": False, "prenorm": False,
            "rotary_emb_base": 1000, "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False,
            "rotary_emb_scale_base": None, "rotary_scaling_factor": None, "type_vocab_size": 2,
            "use_rms_norm": False, "vocab_size": tokenizer.get_vocab_size(),
        }
        (folder / "config.json").write_text(json.dumps(own, indent=2))

    build("nomic_bert", model, tokenizer, 500, "[PAD]", [st.Pooling(32, "mean"), st.Normalize()],
          after=own_fields)


def qwen3() -> None:
    tokenizer = byte_bpe(["<|endoftext|>", "<|im_start|>"], "", "<|endoftext|>")
    config = tf.Qwen3Config(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, intermediate_size=40,
        max_position_embeddings=1024, rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )
    model = seeded(8, tf.Qwen3Model(config))
    build("qwen3", model, tokenizer, 1000, "<|endoftext|>",
          [st.Pooling(32, "lasttoken"), st.Normalize()])


def t5() -> None:
    """As sentence-t5 is: the encoder of the first T5, an average, a projection."""
    tokenizer = unigram(["<pad>", "</s>", "<unk>"], "", "</s>")
    config = tf.T5Config(
        vocab_size=tokenizer.get_vocab_size(), d_model=32, d_kv=12, d_ff=48, num_layers=2,
        num_heads=3, feed_forward_proj="relu",
    )
    model = seeded(10, tf.T5EncoderModel(config))
    dense = seeded(31, st.Dense(32, 24, bias=False, activation_function=torch.nn.Identity()))
    build("t5", model, tokenizer, 500, "<pad>", [st.Pooling(32, "mean"), dense, st.Normalize()])


def jina_bert() -> None:
    tokenizer = wordpiece(BERT_SPECIALS, "[CLS]", "[SEP]")
    hidden, heads, inner, layers = 36, 6, 40, 2
    generator = torch.Generator().manual_seed(9)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    tensors = {
        "embeddings.word_embeddings.weight": noise(tokenizer.get_vocab_size(), hidden),
        "embeddings.token_type_embeddings.weight": noise(2, hidden),
    }

    def linear(name: str, outputs: int, inputs: int, bias: bool = True) -> None:
        tensors[f"{name}.weight"] = noise(outputs, inputs) * 1.5 / math.sqrt(inputs)
        if bias:
            tensors[f"{name}.bias"] = 0.2 * noise(outputs)

    def norm(name: str) -> None:
        tensors[f"{name}.weight"] = 1 + 0.3 * noise(hidden)
        tensors[f"{name}.bias"] = 0.2 * noise(hidden)

    norm("embeddings.LayerNorm")
    for number in range(layers):
        at = f"encoder.layer.{number}"
        for part in ("query", "key", "value"):
            linear(f"{at}.attention.self.{part}", hidden, hidden)
        linear(f"{at}.attention.output.dense", hidden, hidden)
        norm(f"{at}.attention.output.LayerNorm")
        linear(f"{at}.mlp.gated_layers", 2 * inner, hidden, bias=False)
        linear(f"{at}.mlp.wo", hidden, inner)
        norm(f"{at}.mlp.layernorm")

    def slopes(count: int) -> list[float]:
        if math.log2(count).is_integer():
            start = 2 ** (-(2 ** -(math.log2(count) - 3)))
            return [start * start**power for power in range(count)]
        lower = 2 ** math.floor(math.log2(count))
        return slopes(lower) + slopes(2 * lower)[0::2][: count - lower]

    functional = torch.nn.functional

    def apply(name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, tensors[f"{name}.weight"], tensors.get(f"{name}.bias"))

    def normed(name: str, x: torch.Tensor) -> torch.Tensor:
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        return functional.layer_norm(x, (hidden,), weight, bias, 1e-12)

    def forward(ids: list[int], activation=functional.gelu) -> torch.Tensor:
        x = tensors["embeddings.word_embeddings.weight"][ids]
        x = x + tensors["embeddings.token_type_embeddings.weight"][0]
        x = normed("embeddings.LayerNorm", x)
        place = torch.arange(len(ids))
        distance = (place[None, :] - place[:, None]).abs()
        bias = -torch.tensor(slopes(heads))[:, None, None] * distance
        for number in range(layers):
            at = f"encoder.layer.{number}"
            query, key, value = (
                apply(f"{at}.attention.self.{part}", x).view(len(ids), heads, -1).transpose(0, 1)
                for part in ("query", "key", "value")
            )
            scores = query @ key.transpose(1, 2) / math.sqrt(hidden // heads) + bias
            mixed = (scores.softmax(-1) @ value).transpose(0, 1).reshape(len(ids), hidden)
            mixed = apply(f"{at}.attention.output.dense", mixed)
            x = normed(f"{at}.attention.output.LayerNorm", x + mixed)
            gate, up = apply(f"{at}.mlp.gated_layers", x).split(inner, -1)
            inside = apply(f"{at}.mlp.wo", activation(gate) * up)
            x = normed(f"{at}.mlp.layernorm", x + inside)
        return x

    folder = OUT / "jina_bert"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["JinaBertModel"], "model_type": "bert", "hidden_size": hidden,
        "num_attention_heads": heads, "num_hidden_layers": layers, "intermediate_size": inner,
        "hidden_act": "gelu", "feed_forward_type": "geglu", "position_embedding_type": "alibi",
        "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "type_vocab_size": 2,
        "vocab_size": tokenizer.get_vocab_size(),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    tokenizer.save(str(folder / "tokenizer.json"))
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules, indent=2))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": hidden, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling, indent=2))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 512}))
    tokenizer.enable_truncation(512)
    others = {"reglu": functional.relu, "swiglu": functional.silu}
    for name, activation in others.items():
        rows = [forward(tokenizer.encode(text).ids, activation).mean(0) for text in texts()]
        (folder / f"{name}.f32").write_bytes(torch.stack(rows).numpy().astype("<f4").tobytes())
    rows = [forward(tokenizer.encode(text).ids).mean(0).numpy() for text in texts()]
    write_reference(folder, np.stack(rows))


def main() -> None:
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "texts.json").write_text(json.dumps(texts(), ensure_ascii=False, indent=1) + "\n")
    for family in (bert, roberta, xlm_roberta, distilbert, mpnet, modernbert, nomic_bert, qwen3, t5,
                   jina_bert):
        family()


if __name__ == "__main__":
    main()
