"""Makes the embedded default model: a static token table distilled from all-MiniLM-L6-v2.

    python corpus.py --wordnet … --fortunes … --packages … --wiki … --out corpus.jsonl
    python teach.py  --model MINILM_FOLDER --corpus corpus.jsonl --out teacher/
    python distil.py --model MINILM_FOLDER --corpus corpus.jsonl --teacher teacher/ \
                     --out ../../assets/embedded --parity ../../tests/data/static/parity.json
    python evaluate.py --static ../../assets/embedded --model MINILM_FOLDER

The table in the repository was fitted on 303,392 texts in two rounds of corpus.py (the second with
--without the first), limited to: lemma 45,000 + 40,000, definition 25,000 + 35,000, entry 25,000 +
30,000, package 16,000 + 8,000, manual 0 + 4,000, passage 0 + all; the other kinds whole. The first
chunk of 4096 texts was held out of the fit.

The start is model2vec's published recipe (MinishLab, https://github.com/MinishLab/model2vec): each
vocabulary entry goes through the teacher alone; PCA; a token weighs a / (a + p) with p from Zipf's
law over the vocabulary's order (SIF: Arora, Liang and Ma, "A Simple but Tough-to-Beat Baseline for
Sentence Embeddings", ICLR 2017). Then, as in Tokenlearn (same authors), the rows are fitted: the
sum of a text's rows should point where the teacher's embedding of the text points, and texts of one
batch should lie to each other as they do for the teacher. Last, a rotation orders the components by
variance (so that a vector can be cut short), and each row becomes int8 with one weight.

Requirements: torch, transformers, tokenizers, safetensors, numpy (and gensim for corpus.py --wiki).
On one CPU core, teaching takes about 15 minutes and fitting ten.
"""

import argparse
import json
import unicodedata
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from static_model import StaticModel, tokenizer_of

SCRIPTS = ("LATIN", "GREEK")
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[MASK]")
SIF = 1e-4


def kept_tokens(vocab_file):
    """The rows of the teacher's vocabulary that stay: no placeholders, no script but two."""

    def stays(token):
        if token.startswith("[unused") or token in SPECIAL:
            return False
        letters = [letter for letter in token.removeprefix("##") if letter.isalpha()]
        return all(unicodedata.name(letter, "").startswith(SCRIPTS) for letter in letters)

    tokens = Path(vocab_file).read_text("utf-8").split("\n")
    return [(row, token) for row, token in enumerate(tokens) if token and stays(token)]


def sif_weights(count):
    """SIF with Zipf's law: the vocabulary is in order of falling frequency."""
    inverse_rank = 1.0 / np.arange(2, count + 2)
    return (SIF / (SIF + inverse_rank / inverse_rank.sum())).astype(np.float32)


class Texts:
    """Token sequences end to end, each with the teacher's vector."""

    def __init__(self, sequences, targets):
        keep = [row for row, sequence in enumerate(sequences) if sequence]
        self.flat = torch.tensor([token for row in keep for token in sequences[row]])
        lengths = torch.tensor([len(sequences[row]) for row in keep])
        self.starts = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
        self.targets = torch.nn.functional.normalize(torch.tensor(targets[keep]), dim=1)

    def __len__(self):
        return len(self.targets)

    def batch(self, rows):
        starts, lengths = self.starts[rows], self.starts[rows + 1] - self.starts[rows]
        offsets = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)[:-1]])
        within = torch.arange(int(lengths.sum())) - offsets.repeat_interleave(lengths)
        return self.flat[starts.repeat_interleave(lengths) + within], offsets, self.targets[rows]


def load_texts(arguments, kept):
    tokenizer = tokenizer_of([token for _, token in kept])
    unknown = tokenizer.token_to_id("[UNK]")
    sequences, targets = [], []
    for corpus, teacher in zip(arguments.corpus, arguments.teacher, strict=True):
        with open(corpus, encoding="utf-8") as file:
            texts = [json.loads(line)["text"] for line in file]
        for path in sorted(Path(teacher).glob("part-*.npz")):
            part = np.load(path)
            chunk = texts[int(part["start"]) : int(part["start"]) + len(part["vectors"])]
            for encoding in tokenizer.encode_batch(chunk, add_special_tokens=False):
                sequences.append([token for token in encoding.ids if token != unknown])
            targets.append(part["vectors"].astype(np.float32))
    return sequences, np.concatenate(targets)


def principal_axes(vectors, count):
    centred = vectors - vectors.mean(0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    return axes[:, np.argsort(-values)[:count]].astype(np.float32)


def losses(student, target, temperature):
    """How far the directions are off, and how far the neighbourhoods within the batch are."""
    direction = 1 - (student * target[1]).sum(1).mean()
    outside = torch.eye(len(student), dtype=torch.bool)
    teacher_scores = (target[0] @ target[0].T / temperature).masked_fill(outside, -1e4)
    scores = (student @ student.T / temperature).masked_fill(outside, -1e4)
    neighbours = torch.nn.functional.kl_div(
        scores.log_softmax(1), teacher_scores.log_softmax(1), log_target=True, reduction="batchmean"
    )
    return direction, neighbours


def fit(table, texts, held_out, axes, arguments):
    """Moves the rows until sums of them point where the teacher points."""
    table = torch.nn.Parameter(torch.tensor(table))
    optimizer = torch.optim.Adam([table], lr=arguments.rate)
    steps = arguments.epochs * (len(texts) // arguments.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, arguments.rate, total_steps=max(steps, 1) + 1, pct_start=0.05
    )
    axes = torch.tensor(axes)

    def measure(source, rows):
        flat, offsets, target = source.batch(rows)
        summed = torch.nn.functional.embedding_bag(flat, table, offsets, mode="sum")
        projected = torch.nn.functional.normalize(target @ axes, dim=1)
        student = torch.nn.functional.normalize(summed, dim=1)
        return losses(student, (target, projected), arguments.temperature)

    def held_out_report(label):
        with torch.no_grad():
            found = [measure(held_out, rows) for rows in torch.arange(len(held_out)).split(1024)]
        direction, neighbours = (float(np.mean([pair[side] for pair in found])) for side in (0, 1))
        print(f"{label}: held out: direction {direction:.4f} neighbours {neighbours:.4f}", flush=True)

    held_out_report("start")
    for epoch in range(arguments.epochs):
        for rows in torch.randperm(len(texts)).split(arguments.batch)[: len(texts) // arguments.batch]:
            direction, neighbours = measure(texts, rows)
            optimizer.zero_grad()
            (direction + arguments.neighbours * neighbours).backward()
            optimizer.step()
            schedule.step()
        if epoch % 4 == 3 or epoch + 1 == arguments.epochs:
            held_out_report(f"epoch {epoch + 1}")
    return table.detach().numpy()


def rotate(table, texts):
    """Turns the axes so that the components fall in variance over real texts; cosines stay."""
    rows = torch.randperm(len(texts))[:20000]
    flat, offsets, _ = texts.batch(rows)
    summed = torch.nn.functional.embedding_bag(flat, torch.tensor(table), offsets, mode="sum")
    unit = torch.nn.functional.normalize(summed, dim=1).numpy()
    values, axes = np.linalg.eigh(unit.T @ unit)
    return table @ axes[:, np.argsort(-values)].astype(np.float32)


def pack(table, tokens, folder):
    """int8 rows, each with one weight that holds both its scale and its share in a sum."""
    table = table / np.abs(table).max()
    weights = (np.abs(table).max(1) / 127.0).astype(np.float16)
    weights = np.maximum(weights, np.float16(6e-8))
    rows = np.clip(np.rint(table / weights.astype(np.float32)[:, None]), -127, 127).astype(np.int8)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"embeddings": np.ascontiguousarray(rows), "weights": np.ascontiguousarray(weights)}
    save_file(tensors, folder / "model.safetensors")
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", "utf-8")


def write_parity(folder, path):
    """Texts with their tokens and vectors, computed from the packed table."""
    model = StaticModel(folder)
    texts = [
        "The quick brown fox jumps over the lazy dog.",
        "how do I change my password",
        "Café déjà-vu, naïve façade!",
        "unbelievably antidisestablishmentarianism",
        "東京 is a city",
        "x² + y² = 1; E = mc²",
        "  tabs\tand\nnew lines  ",
        "word " * 300,
    ]
    cases = [
        {
            "text": text,
            "ids": model.ids(text),
            "vector": [round(float(value), 6) for value in model.embed([text])[0]],
            "first_32": [round(float(value), 6) for value in model.embed([text], 32)[0]],
        }
        for text in texts
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(cases, ensure_ascii=False) + "\n", "utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--corpus", required=True, nargs="+")
    parser.add_argument("--teacher", required=True, nargs="+")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--parity", type=Path, help="where the values for the Rust tests go")
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--rate", type=float, default=8e-3)
    parser.add_argument("--neighbours", type=float, default=2.0)
    parser.add_argument("--temperature", type=float, default=0.05)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(11)

    kept = kept_tokens(Path(arguments.model) / "vocab.txt")
    alone = np.load(Path(arguments.teacher[0]) / "vocab.npy")[[row for row, _ in kept]]
    sequences, targets = load_texts(arguments, kept)
    axes = principal_axes(np.concatenate([alone, targets]), arguments.dimensions)
    table = alone @ axes
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    table *= sif_weights(len(kept))[:, None]

    held_out = Texts(sequences[:4096], targets[:4096])
    single = [[row] for row in range(len(kept))]
    texts = Texts(sequences[4096:] + single, np.concatenate([targets[4096:], alone]))
    print(f"{len(kept)} tokens, {len(texts)} texts", flush=True)
    table = fit(table.astype(np.float32), texts, held_out, axes, arguments)
    pack(rotate(table, texts), [token for _, token in kept], arguments.out)
    if arguments.parity:
        write_parity(arguments.out, arguments.parity)


if __name__ == "__main__":
    main()
