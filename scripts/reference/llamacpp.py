"""Reference values by llama.cpp (llama-cpp-python).

    python scripts/reference/llamacpp.py tiny
checks that the GGUF files of decoder.py mean the same to llama.cpp as their folders to transformers.

    python scripts/reference/llamacpp.py real FOLDER
writes tests/data/decoder/real/MODEL.json for the real models in FOLDER (where the tests keep them):
stretches of token ids of this repository's texts, for each position the most likely next token by
llama.cpp, the summed negative log-likelihood of the true one, and greedy answers to some prompts
with, for each token, how far the best logit was above the second best.
"""

import json
import pathlib
import sys

import llama_cpp
import numpy as np

from llamacpp_models import REAL

ROOT = pathlib.Path(__file__).parents[2]
OUT = ROOT / "tests/data/decoder"
STRETCH = 768
ANSWER = 72

QUESTIONS = [
    "What is the capital of France?", "Write a short poem about the sea.",
    "Explain how a bicycle stays upright.", "List three uses of salt.",
    "What is 12 times 11?", "Why is the sky blue?", "Tell me a story about a fox.",
    "How do I boil an egg?", "What does a compiler do?", "Name the planets of the solar system.",
    "Translate 'good morning' into Spanish.", "What is photosynthesis?",
    "Give me advice for a job interview.", "Who wrote Hamlet?", "How does a refrigerator work?",
    "Describe the colour red to somebody who cannot see.", "What is a prime number?",
    "Write a haiku about winter.", "What are the rules of chess?", "How far away is the moon?",
]
BEGINNINGS = [
    "The capital of France is", "Once upon a time, there was a", "Water boils when",
    "The most important invention of the last century", "In the beginning of the war,",
    "def fibonacci(n):", "The recipe needs two eggs,", "Photosynthesis is the process by which",
    "My favourite season is", "The train arrived at the station", "According to the theory of",
    "A computer program consists of", "The old man looked at the sea and", "Dear Sir or Madam,",
    "The results of the experiment show that", "In 1969, people walked on",
    "The three branches of government are", "To make good coffee, you", "She opened the letter and",
    "The river flows through",
]


def load(path: pathlib.Path, context: int, **options) -> llama_cpp.Llama:
    return llama_cpp.Llama(
        str(path), n_ctx=context, n_batch=256, logits_all=True, verbose=False, n_threads=1,
        n_threads_batch=1, **options,
    )


def tiny() -> None:
    tokens = json.loads((OUT / "tokens.json").read_text())
    for path in sorted(OUT.glob("*/model*.gguf")):
        reference = path.with_name(path.name.replace("model", "logits")).with_suffix(".f32")
        wanted = np.fromfile(reference, "<f4").reshape(len(tokens), -1)
        exact = llama_cpp.GGML_TYPE_F32
        model = load(path, 64, type_k=exact, type_v=exact)
        model.eval(tokens)
        worst = np.abs(np.array(model.scores[: len(tokens)]) - wanted).max()
        print(path.relative_to(OUT), "differs by at most", worst)


def texts() -> list[str]:
    readme = (ROOT / "README.md").read_text()
    return [(ROOT / "LICENSE-APACHE").read_text().strip(), readme, (ROOT / "ARCHITECTURE.md").read_text()]


def stretch(model: llama_cpp.Llama, tokens: list[int]) -> dict:
    model.reset()
    model.eval(tokens)
    scores = np.array(model.scores[: len(tokens)], dtype=np.float64)
    scores -= scores.max(-1, keepdims=True)
    likelihood = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    chosen = likelihood[np.arange(len(tokens) - 1), tokens[1:]]
    return dict(tokens=tokens, top=scores.argmax(-1).tolist(), loss=round(float(-chosen.sum()), 4))


def greedy(model: llama_cpp.Llama, prompt: list[int]) -> dict:
    model.reset()
    model.eval(prompt)
    answer, gaps = [], []
    for _ in range(ANSWER):
        row = model.scores[model.n_tokens - 1]
        second, first = np.argsort(row)[-2:]
        answer.append(int(first))
        gaps.append(round(float(row[first] - row[second]), 3))
        if first == model.token_eos():
            break
        model.eval([int(first)])
    return dict(prompt=prompt, answer=answer, gaps=gaps)


def real(folder: pathlib.Path) -> None:
    (OUT / "real").mkdir(exist_ok=True)
    for name, file in REAL.items():
        model = load(folder / file, 1024)
        begin = [] if name == "smollm2" else [model.token_bos()]
        encode = lambda text: model.tokenize(text.encode(), add_bos=False, special=True)
        stretches = [begin + encode(text)[: STRETCH - len(begin)] for text in texts()]
        if name == "smollm2":
            prompts = [
                f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n" for text in QUESTIONS
            ]
        else:
            prompts = BEGINNINGS
        made = dict(
            stretches=[stretch(model, tokens) for tokens in stretches],
            answers=[greedy(model, begin + encode(prompt)) for prompt in prompts],
        )
        text = json.dumps(made, separators=(",", ":"))
        (OUT / "real" / f"{name}.json").write_text(text + "\n")
        print(name, [len(part["tokens"]) for part in made["stretches"]],
              [part["loss"] for part in made["stretches"]],
              [len(part["answer"]) for part in made["answers"]])


if __name__ == "__main__":
    if sys.argv[1] == "tiny":
        tiny()
    else:
        real(pathlib.Path(sys.argv[2]))
