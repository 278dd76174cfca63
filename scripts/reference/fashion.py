"""A part of Fashion-MNIST (Xiao et al. 2017, MIT licence), small enough to be kept.

    python scripts/reference/fashion.py FOLDER      # of the four idx files, as Debian's dataset-fashion-mnist has them

writes tests/data/fashion/pictures.png, 1100 pictures of 28 by 28 in rows of 40: the first 800 for training and the first
300 for testing; and tests/data/fashion/labels.bin, a byte for each.
"""

import gzip
import pathlib
import sys

import numpy as np
from PIL import Image

OUT = pathlib.Path(__file__).parents[2] / "tests/data/fashion"
COLUMNS = 40


def read(folder, name, header):
    return np.frombuffer(gzip.open(pathlib.Path(folder) / name).read(), np.uint8, offset=header)


def main():
    folder = sys.argv[1]
    pictures, labels = [], []
    for part, count in (("train", 800), ("t10k", 300)):
        pictures.append(read(folder, f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)[:count])
        labels.append(read(folder, f"{part}-labels-idx1-ubyte.gz", 8)[:count])
    pictures, labels = np.concatenate(pictures), np.concatenate(labels)
    rows = -(-len(pictures) // COLUMNS)
    sheet = np.zeros((rows * COLUMNS, 28, 28), np.uint8)
    sheet[:len(pictures)] = pictures
    sheet = sheet.reshape(rows, COLUMNS, 28, 28).transpose(0, 2, 1, 3).reshape(rows * 28, COLUMNS * 28)
    OUT.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(OUT / "pictures.png", optimize=True)
    (OUT / "labels.bin").write_bytes(labels.tobytes())


if __name__ == "__main__":
    main()
