"""How well what the painter paints is recognised.

    python evaluate_painter.py --pipeline ../../assets/painter --data FASHION_MNIST_FOLDER \
                               --classifier efficientnet-lite0-57934424.pth --sheet sheet.png

Paints each class some times with DDIM and asks the five nearest of the first 800 training pictures
what it is: once by the features of EfficientNet-Lite0 (real ImageNet weights, which have never seen
a painted picture), once by plain pixels. The same is done with real pictures of the test set, for
comparison. Chance is 10 %.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from clothes import CLASSES, idx, thing

sys.path.append(str(Path(__file__).parents[1] / "reference"))
from efficientnet import Lite0, prepare  # noqa: E402

KNOWN = 800
NEIGHBOURS = 5


def paint(pipe, each, steps, guidance):
    """[classes, each, 28, 28] bytes."""
    painted = []
    for label in range(len(CLASSES)):
        generator = torch.Generator().manual_seed(label)
        made = pipe(
            [thing(label)] * each,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=generator,
            output_type="np",
        ).images
        painted.append(np.round(made[:, 2:30, 2:30].mean(3) * 255).astype(np.uint8))
    return np.stack(painted)


@torch.no_grad()
def features(network, pictures):
    made = [network(torch.from_numpy(prepare(Image.fromarray(picture))))[0][0].numpy() for picture in pictures]
    return unit(np.stack(made))


def pixels(pictures):
    return unit(pictures.reshape(len(pictures), -1).astype(np.float32))


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def told(known, labels, asked):
    """The majority of the nearest; of several the lowest."""
    near = np.argsort(-(asked @ known.T), axis=1, kind="stable")[:, :NEIGHBOURS]
    return np.array([np.bincount(labels[row], minlength=len(CLASSES)).argmax() for row in near])


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--pipeline", type=Path, required=True)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--classifier", type=Path)
    arguments.add_argument("--sheet", type=Path)
    arguments.add_argument("--each", type=int, default=20)
    arguments.add_argument("--steps", type=int, default=20)
    arguments.add_argument("--guidance", type=float, nargs="+", default=[3.0])
    given = arguments.parse_args()
    torch.set_num_threads(1)
    pipe = StableDiffusionPipeline.from_pretrained(given.pipeline, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    labels = idx(given.data / "train-labels-idx1-ubyte.gz")[:KNOWN]
    known = idx(given.data / "train-images-idx3-ubyte.gz")[:KNOWN]
    real = idx(given.data / "t10k-images-idx3-ubyte.gz")[:300]
    real_labels = idx(given.data / "t10k-labels-idx1-ubyte.gz")[:300]
    measures = {"pixels": pixels}
    if given.classifier:
        network = Lite0(torch.load(given.classifier, weights_only=True)).eval()
        measures["features"] = lambda pictures: features(network, pictures)
    known = {name: (known, measure(known)) for name, measure in measures.items()}
    for name, measure in measures.items():
        share = (told(known[name][1], labels, measure(real)) == real_labels).mean()
        print(f"real pictures by {name}: {share:.3f}", flush=True)
    wanted = np.repeat(np.arange(len(CLASSES)), given.each)
    for guidance in given.guidance:
        painted = paint(pipe, given.each, given.steps, guidance)
        flat = painted.reshape(-1, 28, 28)
        for name, measure in measures.items():
            right = (told(known[name][1], labels, measure(flat)) == wanted).reshape(len(CLASSES), -1)
            classes = ", ".join(f"{CLASSES[at]} {share:.2f}" for at, share in enumerate(right.mean(1)))
            print(f"guidance {guidance}, by {name}: {right.mean():.3f} ({classes})", flush=True)
        if given.sheet:
            rows = painted[:, :16].transpose(0, 2, 1, 3).reshape(len(CLASSES) * 28, -1)
            sheet = Image.fromarray(rows)
            sheet.resize((sheet.width * 2, sheet.height * 2), Image.NEAREST).save(given.sheet)


if __name__ == "__main__":
    main()
