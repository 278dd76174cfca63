"""onnxruntime with the tokenizers library: MODEL_FOLDER ONNX_FILE THREADS.

Loading is an operation of its own, so that it can be timed with the libraries already imported.
"""

import sys
import time

import lines
import numpy
import onnxruntime
import tokenizers

folder, file, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
state = {}


def load():
    began = time.perf_counter()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    state["session"] = onnxruntime.InferenceSession(file, options, ["CPUExecutionProvider"])
    tokenizer = tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()
    state["tokenizer"] = tokenizer
    run(["hello"])
    return time.perf_counter() - began


def run(texts):
    encoded = state["tokenizer"].encode_batch(texts)
    feed = {
        "input_ids": numpy.array([text.ids for text in encoded], dtype=numpy.int64),
        "attention_mask": numpy.array([text.attention_mask for text in encoded], dtype=numpy.int64),
    }
    return state["session"].run(None, feed)[0]


def texts(texts):
    state["texts"] = texts


def corpus(batch, ordered):
    began = time.perf_counter()
    texts = state["texts"]
    if ordered:
        # By length in characters, as sentence-transformers does it.
        texts = sorted(texts, key=len)
    for start in range(0, len(texts), batch):
        run(texts[start : start + batch])
    return time.perf_counter() - began


def one(text, times):
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        run([text])
        taken.append(time.perf_counter() - began)
    return taken


lines.serve(
    [f"onnxruntime {onnxruntime.__version__}", f"tokenizers (Python) {tokenizers.__version__}"],
    {
        "load": load,
        "texts": texts,
        "corpus": corpus,
        "one": one,
        "tokens": lambda text: len(state["tokenizer"].encode(text).ids),
        "vectors": lambda texts: [run([text])[0].tolist() for text in texts],
    },
)
