"""Reference values by llama.cpp (llama-cpp-python).

    python scripts/reference/llamacpp.py tiny
checks that the GGUF files of decoder.py mean the same to llama.cpp as their folders to transformers.
"""

import json
import pathlib
import sys

import llama_cpp
import numpy as np

OUT = pathlib.Path(__file__).parents[2] / "tests/data/decoder"


def logits(path: pathlib.Path, tokens: list[int], context: int, **options) -> np.ndarray:
    model = llama_cpp.Llama(
        str(path), n_ctx=context, n_batch=512, logits_all=True, verbose=False, n_threads=2,
        type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32, **options,
    )
    model.eval(tokens)
    return np.array(model.scores[: len(tokens)])


def tiny() -> None:
    tokens = json.loads((OUT / "tokens.json").read_text())
    for path in sorted(OUT.glob("*/model*.gguf")):
        reference = path.with_name(path.name.replace("model", "logits")).with_suffix(".f32")
        wanted = np.fromfile(reference, "<f4").reshape(len(tokens), -1)
        try:
            found = logits(path, tokens, 64)
        except Exception as error:  # which families it cannot load is what we want to know
            print(path.relative_to(OUT), "cannot be run:", error)
            continue
        print(path.relative_to(OUT), "differs by at most", np.abs(found - wanted).max())


if __name__ == "__main__":
    {"tiny": tiny}[sys.argv[1]]()
