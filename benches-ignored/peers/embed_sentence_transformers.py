"""sentence-transformers on torch: MODEL_FOLDER THREADS.

Loading is an operation of its own, so that it can be timed with the libraries already imported.
"""

import sys
import time

import lines
import sentence_transformers
import torch

folder, threads = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(threads)
state = {}


def load():
    began = time.perf_counter()
    state["model"] = sentence_transformers.SentenceTransformer(folder, device="cpu")
    run(["hello"])
    return time.perf_counter() - began


def run(texts, batch=32):
    # It sorts by length by itself.
    return state["model"].encode(
        texts, batch_size=batch, show_progress_bar=False, normalize_embeddings=True
    )


def texts(texts):
    state["texts"] = texts


def corpus(batch):
    began = time.perf_counter()
    run(state["texts"], batch)
    return time.perf_counter() - began


def one(text, times):
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        run([text])
        taken.append(time.perf_counter() - began)
    return taken


lines.serve(
    [f"sentence-transformers {sentence_transformers.__version__}", f"torch {torch.__version__}"],
    {
        "load": load,
        "texts": texts,
        "corpus": corpus,
        "one": one,
        "vectors": lambda texts: [run([text])[0].tolist() for text in texts],
    },
)
