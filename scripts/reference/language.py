"""Reference values for tokenizers, templates and sampling.

    python scripts/reference/language.py --models DIR --llama-python PYTHON

writes tests/data/language/. DIR holds the two real GGUF files as tests/support/real_models.rs lays
them out. Needs transformers, sentencepiece and gguf; PYTHON is an interpreter with llama-cpp-python.

Where the values come from:
  sampling.json    probabilities after transformers' processors and warpers, in its order; frequency
                   and presence penalties, which it has not, by their definition in OpenAI's API.
  templates.json   transformers' rendering; its refusal as "error".
  trained_*.json   small tokenizers trained here, as GGUF metadata. ids: llama.cpp on a file of that
                   metadata, but for gpt-4o and tekken, whose expressions llama.cpp simplifies (it
                   leaves combining marks out): the tokenizers library with the models' own ones.
                   SentencePiece models are also compared with sentencepiece.
  folder_*/        the same as hub folders, with transformers' ids and texts.
  tokens_*.json    ids: llama.cpp on the same file. texts: transformers' decoding of those ids,
                   special tokens skipped.
"""

import argparse
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))

from language_prompts import prompts  # noqa: E402

OUT = HERE.parents[1] / "tests/data/language"

LLAMA = """
import json, sys
import llama_cpp
path, texts = sys.argv[1], json.load(sys.stdin)
model = llama_cpp.Llama(path, vocab_only=True, verbose=False)
ids = [model.tokenize(text.encode(), add_bos=False, special=True) for text in texts]
print("\\nids", json.dumps(ids))
"""


def llama_ids(python: str, path: pathlib.Path, texts: list[str]) -> list[list[int]]:
    run = subprocess.run(
        [python, "-c", LLAMA, str(path)],
        input=json.dumps(texts), text=True, capture_output=True, check=True,
    )
    line = next(line for line in run.stdout.splitlines() if line.startswith("ids "))
    return json.loads(line[4:])


def write(name: str, value) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("],[", "],\n[")
    (OUT / name).write_text(text + "\n")
    print(name, len(text) // 1024, "KB")


def real_models(models: pathlib.Path, python: str) -> None:
    from transformers import AutoTokenizer

    for name, folder in [("smollm2", "SmolLM2-135M-Instruct"), ("gemma3", "gemma-3-270m")]:
        path = next((models / folder).glob("*.gguf"))
        ids = llama_ids(python, path, prompts())
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        theirs = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in prompts()]
        print(name, "transformers differs from llama.cpp on",
              [text for text, one, other in zip(prompts(), ids, theirs) if one != other])
        texts = [tokenizer.decode(row, skip_special_tokens=True) for row in ids]
        write(f"tokens_{name}.json", {"ids": ids, "texts": texts})


def sampling() -> None:
    import numpy as np
    import torch
    from transformers.generation import logits_process as lp

    rng = np.random.default_rng(3)
    cases = []
    for number in range(90):
        size = [17, 50, 300][number % 3] if number < 30 else 50
        logits = np.round(rng.normal(0, rng.choice([0.5, 2, 6]), size), 4).astype(np.float32)
        history = rng.integers(0, size, rng.integers(0, 30)).tolist()
        params = {"temperature": float(rng.choice([0.3, 0.7, 1.0, 1.5, 4.0]))}
        if rng.random() < 0.5:
            params["top_k"] = int(rng.choice([1, 2, 5, 20, 1000]))
        if rng.random() < 0.5:
            params["top_p"] = float(rng.choice([0.05, 0.5, 0.9, 0.99]))
        if rng.random() < 0.4:
            params["min_p"] = float(rng.choice([0.02, 0.1, 0.5]))
        if rng.random() < 0.5:
            params["repetition_penalty"] = float(rng.choice([0.8, 1.1, 1.3, 2.0]))
        if rng.random() < 0.3:
            params["frequency_penalty"] = float(rng.choice([-0.5, 0.3, 1.0]))
        if rng.random() < 0.3:
            params["presence_penalty"] = float(rng.choice([-0.5, 0.4, 1.5]))
        if rng.random() < 0.3:
            params["repetition_window"] = int(rng.choice([0, 1, 5, 64]))
        window = params.get("repetition_window", len(history))
        seen = history[len(history) - min(window, len(history)):]
        scores = torch.tensor(logits)[None]
        if seen and "repetition_penalty" in params:
            processor = lp.RepetitionPenaltyLogitsProcessor(params["repetition_penalty"])
            scores = processor(torch.tensor([seen]), scores)
        for token in set(seen):
            scores[0, token] -= params.get("presence_penalty", 0.0)
            scores[0, token] -= params.get("frequency_penalty", 0.0) * seen.count(token)
        scores = lp.TemperatureLogitsWarper(params["temperature"])(None, scores)
        if "top_k" in params:
            scores = lp.TopKLogitsWarper(params["top_k"])(None, scores)
        if "top_p" in params:
            scores = lp.TopPLogitsWarper(params["top_p"])(None, scores)
        if "min_p" in params:
            scores = lp.MinPLogitsWarper(params["min_p"])(None, scores)
        chances = torch.softmax(scores.double(), -1)[0]
        logprobs = torch.log_softmax(torch.tensor(logits).double(), -1)
        top = torch.topk(logprobs, 5)
        cases.append({
            "params": params, "logits": [round(float(x), 4) for x in logits], "history": history,
            "probabilities": [[i, round(float(p), 9)] for i, p in enumerate(chances) if p > 0],
            "top": [[int(i), round(float(p), 7)] for i, p in zip(top.indices, top.values)],
        })
    write("sampling.json", cases)


def templates(models: pathlib.Path) -> None:
    import datetime

    from gguf import GGUFReader
    from transformers.utils import chat_template_utils as chat

    from language_templates import CONVERSATIONS, DOCUMENTS, NOW, TEMPLATES, TOOLS

    class Fixed(datetime.datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc)

    chat.datetime = Fixed
    reader = GGUFReader(next((models / "SmolLM2-135M-Instruct").glob("*.gguf")))
    sources = dict(TEMPLATES, smollm2=reader.fields["tokenizer.chat_template"].contents())
    extras = [
        {"add_generation_prompt": True},
        {"add_generation_prompt": False},
        {"add_generation_prompt": True, "tools": TOOLS, "documents": DOCUMENTS},
        {"add_generation_prompt": True, "variables": {"enable_thinking": False, "date_string": "1 Jan 2000"}},
    ]
    cases = []
    for name in sources:
        for conversation, messages in CONVERSATIONS.items():
            for extra in extras:
                case = {"template": name, "conversation": conversation, **extra}
                try:
                    texts, _ = chat.render_jinja_template(
                        [messages], chat_template=sources[name], tools=extra.get("tools"),
                        documents=extra.get("documents"), bos_token="<s>", eos_token="</s>",
                        add_generation_prompt=extra["add_generation_prompt"], **extra.get("variables", {}),
                    )
                    case["text"] = texts[0]
                except Exception as error:  # what the template raises
                    case["error"] = str(error)
                cases.append(case)
    write("templates.json", {
        "now": NOW, "sources": sources, "conversations": CONVERSATIONS, "cases": cases,
    })


PRE = [
    "default", "gpt-2", "smollm", "llama-bpe", "qwen2", "qwen35", "tekken", "gpt-4o", "falcon",
    "deepseek-coder", "deepseek-v3",
]

# As in the models' own tokenizer.json.
LLAMA3_REGEX = (
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
)


WORD = "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]%s[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]%s"
REST = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
SUFFIX = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
OWN_REGEX = {
    "tekken": WORD % ("*", "+") + "|" + WORD % ("+", "*") + "|\\p{N}" + REST,
    "gpt-4o": WORD % ("*", "+") + SUFFIX + "|" + WORD % ("+", "*") + SUFFIX + "|\\p{N}{1,3}" + REST,
}


def short_prompts() -> list[str]:
    """Those that show most where tokenizers cut."""
    chosen = [text for text in prompts() if "\0" not in text and len(text.encode()) <= 70]
    return chosen[::2]


def write_gguf(path: pathlib.Path, metadata: dict) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(str(path), "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    for key, value in metadata.items():
        name = f"tokenizer.ggml.{key}"
        if isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        elif isinstance(value, str):
            writer.add_string(name, value)
        else:
            writer.add_array(name, bytes(value) if key == "precompiled_charsmap" else value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def train_bpe():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    # No words, so that merges cross the borders that pre-tokenizers draw.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(prompts() * 2, trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<|begin|>", "<|end|>", "<|im_end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False,
    ))
    return tokenizer


def trained_bpe(python: str) -> None:
    import tempfile

    from tokenizers import Regex, pre_tokenizers

    model = json.loads(train_bpe().to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [" ".join(pair) for pair in model["merges"]]
    metadata = {
        "model": "gpt2", "tokens": tokens, "token_type": [3] * 3 + [1] * (len(tokens) - 3), "merges": merges,
        "bos_token_id": 0, "eos_token_id": 1,
    }
    ids, own = {}, {}
    for pre, regex in OWN_REGEX.items():
        tokenizer = train_bpe()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(regex), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ])
        tokenizer.model.ignore_merges = pre == "tekken"
        own[pre] = [tokenizer.encode(text, add_special_tokens=False).ids for text in short_prompts()]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.gguf"
        for pre in PRE:
            write_gguf(path, dict(metadata, pre=pre))
            ids[pre] = llama_ids(python, path, short_prompts())
            if pre in own:
                print(pre, "own expression differs from llama.cpp on",
                      [text for text, one, other in zip(short_prompts(), ids[pre], own[pre]) if one != other])
                ids[pre] = own[pre]
    write("trained_bpe.json", {"metadata": metadata, "prompts": short_prompts(), "ids": ids})


def sentencepiece_metadata(path: str, **more) -> dict:
    import sentencepiece.sentencepiece_model_pb2 as pb

    model = pb.ModelProto()
    model.ParseFromString(pathlib.Path(path).read_bytes())
    spec = model.normalizer_spec
    metadata = {
        "tokens": [piece.piece.replace("\u2581", " ") if piece.type == 4 else piece.piece for piece in model.pieces],
        "scores": [piece.score for piece in model.pieces],
        "token_type": [piece.type for piece in model.pieces],
        "bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0,
        "add_space_prefix": spec.add_dummy_prefix, "remove_extra_whitespaces": spec.remove_extra_whitespaces, **more,
    }
    if spec.precompiled_charsmap:
        metadata["precompiled_charsmap"] = list(spec.precompiled_charsmap)
    return metadata


def trained_sentencepiece(python: str) -> None:
    import tempfile

    import sentencepiece as spm

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        corpus = folder / "corpus.txt"
        # Other scripts are left to bytes or to the unknown token.
        lines = [line for text in prompts() for line in text.splitlines() if line and max(line) < "\u0400" and "\0" not in line]
        corpus.write_text("\n".join(lines))
        rules = folder / "rules.tsv"
        rules.write_text("FB01\t66 69\nFF21\t41\nBD\t31 2F 32\n3000\t20\n")
        for name, kind, extra in [
            ("spm", "bpe", {"byte_fallback": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False}),
            ("spm_bare", "bpe", {"byte_fallback": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False, "add_dummy_prefix": False}),
            ("unigram", "unigram", {"normalization_rule_tsv": str(rules)}),
        ]:
            spm.SentencePieceTrainer.train(
                input=str(corpus), model_prefix=str(folder / name), vocab_size=600, model_type=kind, character_coverage=0.98,
                user_defined_symbols=["<|user|>", "=="], hard_vocab_limit=False, num_threads=1, minloglevel=2,
                input_sentence_size=0, shuffle_input_sentence=False, **extra,
            )
            model = "t5" if kind == "unigram" else "llama"
            metadata = sentencepiece_metadata(f"{folder}/{name}.model", model=model, add_bos_token=False, add_eos_token=False)
            path = folder / f"{name}.gguf"
            write_gguf(path, metadata)
            ids = llama_ids(python, path, short_prompts())
            theirs = [spm.SentencePieceProcessor(f"{folder}/{name}.model").encode(text) for text in short_prompts()]
            print(name, "sentencepiece differs from llama.cpp on",
                  [text for text, one, other in zip(short_prompts(), ids, theirs) if one != other])
            write(f"trained_{name}.json", {"metadata": metadata, "prompts": short_prompts(), "ids": ids, "sentencepiece": theirs})


def folders() -> None:
    import random

    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    bpe = train_bpe()
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3_REGEX), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    bpe.add_tokens([AddedToken("<tool>", normalized=False), AddedToken(" wörd ", normalized=False)])
    bpe.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])

    table = json.loads((OUT / "trained_spm.json").read_text())["metadata"]
    vocabulary = {token: number for number, token in enumerate(table["tokens"])}
    ranked = sorted(
        ((-table["scores"][number], left, token[len(left):])
         for token, number in vocabulary.items() if table["token_type"][number] == 1
         for left in (token[:cut] for cut in range(1, len(token)))
         if left in vocabulary and token[len(left):] in vocabulary),
        key=lambda merge: merge[0],
    )
    spm = Tokenizer(models.BPE(vocabulary, [merge[1:] for merge in ranked], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    spm.add_special_tokens(["<unk>", "<s>", "</s>"])
    spm.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    spm.decoder = decoders.Sequence([
        decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0),
    ])
    spm.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])

    for name, tokenizer, bos, eos in [("bpe", bpe, "<|begin|>", "<|end|>"), ("spm", spm, "<s>", "</s>")]:
        folder = OUT / f"folder_{name}"
        folder.mkdir(parents=True, exist_ok=True)
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos, eos_token=eos)
        (folder / "tokenizer.json").write_text(tokenizer.to_str() + "\n")
        (folder / "tokenizer_config.json").write_text(json.dumps(
            {"bos_token": bos, "eos_token": {"content": eos}, "chat_template": "{{ bos_token }}{{ messages[0].content }}"}) + "\n")
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 1] if name == "bpe" else 2}) + "\n")
        texts = short_prompts() + ["a<tool>b wörd c", "x<|end|> y", "</s> z"]
        ids = [fast(text)["input_ids"] for text in texts]
        rng = random.Random(4)
        byte = {number for token, number in vocabulary.items() if token.startswith("<0x")} if name == "spm" else set()
        usable = [number for number in range(len(fast)) if number not in byte]
        mixed = [[rng.choice(usable) for _ in range(rng.randint(1, 12))] for _ in range(120)]
        if name == "spm":
            for row in mixed[::3]:
                place = rng.randint(0, len(row))
                row[place:place] = [vocabulary[f"<0x{value:02X}>"] for value in rng.choice(["é", "🙂", "東京"]).encode()]
        write(f"folder_{name}/reference.json", {
            "prompts": texts, "ids": ids, "decoded": [fast.decode(row, skip_special_tokens=True) for row in ids],
            "mixed": mixed, "mixed_decoded": [fast.decode(row, skip_special_tokens=True) for row in mixed],
        })


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=pathlib.Path, required=True)
    parser.add_argument("--llama-python", default="python")
    parser.add_argument("parts", nargs="*")
    arguments = parser.parse_args()
    parts = {
        "sampling": sampling,
        "trained": lambda: (trained_bpe(arguments.llama_python), trained_sentencepiece(arguments.llama_python)),
        "folders": folders,
        "templates": lambda: templates(arguments.models),
        "real": lambda: real_models(arguments.models, arguments.llama_python),
    }
    write("prompts.json", prompts())
    for name in arguments.parts or parts:
        parts[name]()


if __name__ == "__main__":
    main()
