"""Blocks of every ggml type that can be computed with, and the values that the gguf package reads
in them.

    python scripts/reference/blocks.py

writes tests/data/kernels/blocks.safetensors: for each type TYPE.bytes [2 rows, bytes of a row] and
TYPE.values [2 rows, 512 columns]. The bytes are random but for the blocks' scales, so that every
bit of the layout counts.
"""

import pathlib

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants
from safetensors.numpy import save_file

OUT = pathlib.Path(__file__).parents[2] / "tests/data/kernels/blocks.safetensors"

ROWS, COLUMNS = 2, 512

# Where in a block its 16-bit scales and minimums lie.
SCALES = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
    "IQ4_NL": [0],
    "IQ4_XS": [0],
}


def main() -> None:
    rng = np.random.default_rng(11)
    tensors = {}
    for name, places in SCALES.items():
        kind = GGMLQuantizationType[name]
        columns, size = GGML_QUANT_SIZES[kind]
        blocks = rng.integers(0, 256, (ROWS, COLUMNS // columns, size), dtype=np.uint8)
        for place in places:
            scales = rng.normal(0, 0.02, blocks.shape[:2]).astype(np.float16)
            blocks[:, :, place : place + 2] = scales[..., None].view(np.uint8)
        data = blocks.reshape(ROWS, -1)
        tensors[f"{name}.bytes"] = data
        tensors[f"{name}.values"] = quants.dequantize(data, kind).astype(np.float32)
    halves = rng.normal(0, 1, (ROWS, COLUMNS)).astype(np.float32)
    halves[0, :8] = [0, -0.0, 6e-8, -3e-6, 65504, -65504, 1, -1]
    for name in ("F32", "F16", "BF16"):
        kind = GGMLQuantizationType[name]
        data = np.ascontiguousarray(quants.quantize(halves, kind))
        tensors[f"{name}.values"] = quants.dequantize(data, kind).astype(np.float32)
        tensors[f"{name}.bytes"] = data.view(np.uint8).reshape(ROWS, -1)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, OUT)


main()
