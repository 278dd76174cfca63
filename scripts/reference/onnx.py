"""What onnxruntime makes of the PP-OCRv6 tiny detector and recogniser, for tests/onnx.rs.

    python scripts/reference/onnx.py FOLDER    # with PP-OCRv6_det_tiny.onnx and PP-OCRv6_rec_tiny.onnx

Needs onnxruntime, onnx, numpy, pillow and safetensors. Writes tests/data/onnx/reference.safetensors.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw, ImageFont
from safetensors.numpy import save_file

folder = Path(sys.argv[1])
out = Path(__file__).resolve().parents[2] / "tests/data/onnx"
out.mkdir(parents=True, exist_ok=True)


def session(name):
    return onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])


def pattern(*shape):
    """The same numbers as the test makes: exact in f32."""
    count = np.arange(int(np.prod(shape)), dtype=np.int64)
    return ((count * 7919 % 1000).astype(np.float32) / 512 - 1).reshape(shape)


detector, recogniser = session("PP-OCRv6_det_tiny.onnx"), session("PP-OCRv6_rec_tiny.onnx")

TEXT = "Pack my box with 42 jugs, please."
font = ImageFont.load_default(size=30)
line = Image.new("L", (560, 48), 255)
ImageDraw.Draw(line).text((12, 5), TEXT, fill=0, font=font)
grey = np.asarray(line)
picture = np.stack([grey.astype(np.float32) / 127.5 - 1] * 3)[None].astype(np.float32)
probabilities = recogniser.run(None, {"x": picture})[0]
characters = recogniser.get_modelmeta().custom_metadata_map["character"].splitlines()
best = probabilities[0].argmax(-1)
kept = [i for n, i in enumerate(best) if i != 0 and (n == 0 or best[n - 1] != i)]
read = "".join((characters + [" "])[i - 1] for i in kept)
print(probabilities.shape, len(characters), repr(read))
assert read == TEXT

noise = pattern(2, 3, 48, 96)
save_file(
    {
        "detector": np.ascontiguousarray(detector.run(None, {"x": pattern(1, 3, 64, 96)})[0]),
        "line": np.ascontiguousarray(grey),
        "recogniser": np.ascontiguousarray(probabilities[..., :64]),
        "noise": np.ascontiguousarray(recogniser.run(None, {"x": noise})[0][..., :64]),
    },
    str(out / "reference.safetensors"),
)
