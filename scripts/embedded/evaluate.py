"""Compares the static model with its teacher on tasks that neither saw in distillation.

    python evaluate.py --static ../../assets/embedded --model MINILM_FOLDER \
        [--packages Translation-en.xz --corpus corpus.jsonl]

WordSim-353 and SimLex-999: Spearman's rank correlation of cosine and human judgement.
Lee: Pearson's correlation over the 1225 pairs of 50 news texts. All three from gensim's test data.
Notes: the queries of retrieval.json against its short documents: how often the first hit is right.
Packages: the title of a Debian package against the first paragraphs of 2000 packages, none of which
is in the corpus: recall at 1 and at 10.

Requirements: torch, transformers, tokenizers, safetensors, numpy, scipy, gensim.
"""

import argparse
import json
import lzma
from pathlib import Path

import numpy as np
import torch
from gensim.test.utils import datapath
from scipy.stats import pearsonr, spearmanr

from static_model import StaticModel
from teach import Teacher


def word_pairs(name, embed):
    rows = [line.split("\t") for line in Path(datapath(name)).read_text("utf-8").splitlines()]
    rows = [row for row in rows if len(row) == 3 and not row[0].startswith("#")]
    left, right = (embed([row[side] for row in rows]) for side in (0, 1))
    return spearmanr((left * right).sum(1), [float(row[2]) for row in rows])[0]


def lee(embed):
    texts = Path(datapath("lee.cor")).read_text("latin-1").splitlines()
    texts = [text for text in texts if text.strip()]
    human = np.loadtxt(datapath("similarities0-1.txt"))
    vectors = embed(texts)
    above = np.triu_indices(len(human), 1)
    return pearsonr((vectors @ vectors.T)[above], human[above])[0]


def notes(embed, verbose):
    data = json.loads((Path(__file__).parent / "retrieval.json").read_text("utf-8"))
    documents, queries = data["documents"], data["queries"]
    scores = embed([query for query, _ in queries]) @ embed(documents).T
    ranks = [
        int((row > row[wanted]).sum()) + 1 for row, (_, wanted) in zip(scores, queries, strict=True)
    ]
    for (query, wanted), rank, row in zip(queries, ranks, scores, strict=True):
        if verbose and rank > 1:
            print(f"  rank {rank:2} {query!r}: got {documents[int(row.argmax())][:60]!r}")
    return float(np.mean([rank == 1 for rank in ranks])), float(np.mean([rank <= 3 for rank in ranks]))


def package_pairs(path, corpora, count=2000):
    seen = set()
    for corpus in corpora:
        seen |= {json.loads(line)["text"][:100] for line in open(corpus, encoding="utf-8")}
    pairs = {}
    with lzma.open(path, "rt", encoding="utf-8") as file:
        for stanza in file.read().split("\n\n"):
            title, _, body = stanza.partition("Description-en: ")[2].partition("\n")
            paragraph = " ".join(body.split("\n .\n")[0].split())
            if len(paragraph) > 120 and title[:100] not in seen and paragraph[:100] not in seen:
                pairs.setdefault(paragraph, title)
    paragraphs = sorted(pairs)
    chosen = np.random.default_rng(4).permutation(len(paragraphs))[:count]
    return [(pairs[paragraphs[row]], paragraphs[row]) for row in chosen]


def recall(pairs, embed):
    titles, paragraphs = (embed([pair[side] for pair in pairs]) for side in (0, 1))
    scores = titles @ paragraphs.T
    ranks = (scores > np.diag(scores)[:, None]).sum(1)
    return float((ranks < 1).mean()), float((ranks < 10).mean())


def report(name, embed, pairs, verbose=False):
    first, third = notes(embed, verbose)
    line = (
        f"{name:14} Lee {lee(embed):.3f}  WordSim {word_pairs('wordsim353.tsv', embed):.3f}  "
        f"SimLex {word_pairs('simlex999.txt', embed):.3f}  notes@1 {first:.2f} @3 {third:.2f}"
    )
    if pairs:
        one, ten = recall(pairs, embed)
        line += f"  packages@1 {one:.3f} @10 {ten:.3f}"
    print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--static")
    parser.add_argument("--model")
    parser.add_argument("--packages")
    parser.add_argument("--corpus", nargs="*", default=[])
    parser.add_argument("--dimensions", type=int, nargs="*", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pairs = package_pairs(arguments.packages, arguments.corpus) if arguments.packages else None
    if arguments.model:
        report("MiniLM", Teacher(arguments.model).embed, pairs)
    if arguments.static:
        model = StaticModel(arguments.static)
        report(f"static {model.rows.shape[1]}", model.embed, pairs, verbose=True)
        for size in arguments.dimensions:
            report(f"static {size}", lambda texts, size=size: model.embed(texts, size), pairs)


if __name__ == "__main__":
    main()
