"""The pictures of the demonstration and the sentences that go with them."""

import gzip

import numpy as np

CLASSES = ("t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
TEMPLATES = ("{}", "a photo of {}", "a picture of {}", "a small photo of {}")
SIDE = 32


def thing(label, shade=""):
    """The class as one says it: "an ankle boot", "dark trousers"."""
    words = f"{shade} {CLASSES[label]}".strip()
    if CLASSES[label] == "trousers":
        return words
    return ("an " if words[0] in "aeiou" else "a ") + words


def captions(template):
    """Three sentences a class: without a shade, dark, light."""
    return [TEMPLATES[template].format(thing(label, shade)) for label in range(len(CLASSES)) for shade in ("", "dark", "light")]


def idx(file):
    """The array of an idx file of bytes."""
    data = gzip.decompress(file.read_bytes())
    axes = data[3]
    shape = np.frombuffer(data, ">i4", axes, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def pictures(folder, part):
    """Pictures with a margin to 32 × 32, labels, and shades: 0 neither, 1 dark, 2 light."""
    images = idx(folder / f"{part}-images-idx3-ubyte.gz")
    labels = idx(folder / f"{part}-labels-idx1-ubyte.gz")
    inside = images > 16
    brightness = (images * inside).sum((1, 2)) / np.maximum(inside.sum((1, 2)), 1)
    shades = np.zeros(len(labels), np.uint8)
    for label in range(len(CLASSES)):
        of_class = labels == label
        low, high = np.quantile(brightness[of_class], (1 / 3, 2 / 3))
        shades[of_class & (brightness <= low)] = 1
        shades[of_class & (brightness >= high)] = 2
    margin = (SIDE - images.shape[1]) // 2
    return np.pad(images, ((0, 0), (margin, margin), (margin, margin))), labels, shades
