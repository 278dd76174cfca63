"""A CLIP tokenizer for a few sentences: all bytes, and a merge for each step to their words."""

import json
from collections import Counter

START, END = "<|startoftext|>", "<|endoftext|>"


def byte_letters():
    """The letter that stands for each byte, in CLIP's order: what can be printed first."""
    printed = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printed]
    return [chr(byte) for byte in printed] + [chr(256 + at) for at in range(len(others))]


def joined(pieces, pair):
    made = []
    for piece in pieces:
        if made and (made[-1], piece) == pair:
            made[-1] += piece
        else:
            made.append(piece)
    return made


def merges_of(words):
    """Byte-pair merges, the most frequent pair first, until each word is one piece."""
    pieces = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    merges = []
    while True:
        pairs = Counter(pair for parts in pieces.values() for pair in zip(parts, parts[1:]))
        if not pairs:
            return merges
        pair = max(sorted(pairs), key=pairs.get)
        merges.append(pair)
        pieces = {word: joined(parts, pair) for word, parts in pieces.items()}


def write_tokenizer(folder, sentences, length):
    """vocab.json, merges.txt and tokenizer_config.json, as the hub has them."""
    folder.mkdir(parents=True, exist_ok=True)
    words = sorted({word for sentence in sentences for word in sentence.replace("-", " - ").split()})
    merges = merges_of(words)
    letters = byte_letters()
    entries = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges), START, END]
    (folder / "vocab.json").write_text(json.dumps({entry: at for at, entry in enumerate(entries)}, ensure_ascii=False), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), "utf-8")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": length,
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": END,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
