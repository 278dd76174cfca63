"""llama.cpp through its own C interface: GGUF_FILE THREADS STREAMS CONTEXT_TOKENS.

The context is of each stream; all are decoded in one batch a step.
"""

import ctypes
import sys
import time

import lines
import llama_cpp as llama
import numpy

file, threads, streams, context = sys.argv[1], *map(int, sys.argv[2:5])
state = {}


def load():
    began = time.perf_counter()
    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(file.encode(), llama.llama_model_default_params())
    options = llama.llama_context_default_params()
    options.n_ctx = streams * context
    options.n_seq_max = streams
    options.n_batch = max(context, 512)
    options.n_threads = options.n_threads_batch = threads
    state["context"] = llama.llama_init_from_model(model, options)
    state["vocabulary"] = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    state["batch"] = llama.llama_batch_init(max(streams * 64, context), 0, 1)
    return time.perf_counter() - began


def forget():
    llama.llama_memory_clear(llama.llama_get_memory(state["context"]), True)


def run(parts):
    """Runs (stream, first position, tokens) parts in one batch; the row of each part's last token."""
    batch, rows, count = state["batch"], [], 0
    for stream, position, tokens in parts:
        for offset, token in enumerate(tokens):
            batch.token[count] = token
            batch.pos[count] = position + offset
            batch.n_seq_id[count] = 1
            batch.seq_id[count][0] = stream
            batch.logits[count] = offset + 1 == len(tokens)
            count += 1
        rows.append(count - 1)
    batch.n_tokens = count
    status = llama.llama_decode(state["context"], batch)
    if status != 0:
        raise RuntimeError(f"llama_decode gave {status}")
    return rows


def likeliest(row):
    logits = llama.llama_get_logits_ith(state["context"], row)
    address = ctypes.cast(logits, ctypes.POINTER(ctypes.c_float))
    return int(numpy.ctypeslib.as_array(address, (state["vocabulary"],)).argmax())


def decode(prompts, tokens):
    """Seconds for `tokens` steps of all prompts together, after they have been read."""
    forget()
    rows = run([(stream, 0, prompt) for stream, prompt in enumerate(prompts)])
    newest = [likeliest(row) for row in rows]
    lengths = [len(prompt) for prompt in prompts]
    began = time.perf_counter()
    for _ in range(tokens):
        parts = [(s, length, [token]) for s, (length, token) in enumerate(zip(lengths, newest))]
        newest = [likeliest(row) for row in run(parts)]
        lengths = [length + 1 for length in lengths]
    return time.perf_counter() - began


def read(prompt):
    """Seconds until the first token after a prompt."""
    forget()
    began = time.perf_counter()
    likeliest(run([(0, 0, prompt)])[0])
    return time.perf_counter() - began


lines.serve(
    [f"llama-cpp-python {llama.__version__}"],
    {"load": load, "decode": decode, "read": read},
)
