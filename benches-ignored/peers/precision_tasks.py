"""Writes what people have said of the likeness of words and of news, from gensim's test data.

    python precision_tasks.py FILE

The file is JSON: a list of tasks, each with its `name`, `texts`, pairs of their numbers, and people's judgement of each pair.
"""

import json
import sys
from pathlib import Path

import numpy as np
from gensim.test.utils import datapath


def words(name, file):
    lines = Path(datapath(file)).read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    rows = [row for row in rows if len(row) == 3]
    texts = sorted({word for row in rows for word in row[:2]})
    number = {word: place for place, word in enumerate(texts)}
    return {
        "name": name,
        "texts": texts,
        "pairs": [[number[left], number[right]] for left, right, _ in rows],
        "human": [float(score) for _, _, score in rows],
    }


def news():
    texts = [text for text in Path(datapath("lee.cor")).read_text("latin-1").splitlines() if text.strip()]
    human = np.loadtxt(datapath("similarities0-1.txt"))
    pairs = np.argwhere(np.triu(np.ones_like(human), 1) > 0)
    return {
        "name": "Lee",
        "texts": texts,
        "pairs": pairs.tolist(),
        "human": [human[left, right] for left, right in pairs],
    }


tasks = [words("WordSim-353", "wordsim353.tsv"), words("SimLex-999", "simlex999.txt"), news()]
Path(sys.argv[1]).write_text(json.dumps(tasks), "utf-8")
