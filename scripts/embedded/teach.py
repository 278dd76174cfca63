"""Embeds the vocabulary and the corpus with the teacher: the targets that distil.py fits.

    python teach.py --model FOLDER --corpus corpus.jsonl --out teacher/

Writes teacher/vocab.npy (each vocabulary entry alone through the model, mean pooled, as model2vec
does) and teacher/part-NNN.npz, one for each chunk of the corpus; a second run goes on where the
first stopped.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModel

CHUNK = 4096
MAX_TOKENS = 256


class Teacher:
    def __init__(self, folder):
        self.tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.model = AutoModel.from_pretrained(folder).eval()

    @torch.inference_mode()
    def embed_ids(self, sequences, batch=64):
        """Mean-pooled, L2-normalised embeddings of token sequences, in their order."""
        order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
        out = np.zeros((len(sequences), self.model.config.hidden_size), np.float32)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            width = max(len(sequences[row]) for row in rows)
            ids = torch.zeros(len(rows), width, dtype=torch.long)
            mask = torch.zeros(len(rows), width, dtype=torch.long)
            for position, row in enumerate(rows):
                ids[position, : len(sequences[row])] = torch.tensor(sequences[row])
                mask[position, : len(sequences[row])] = 1
            hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
            weight = mask.unsqueeze(-1).float()
            mean = (hidden * weight).sum(1) / weight.sum(1)
            out[rows] = torch.nn.functional.normalize(mean, dim=1).numpy()
        return out

    def embed(self, texts):
        return self.embed_ids([encoding.ids for encoding in self.tokenizer.encode_batch(texts)])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    teacher = Teacher(arguments.model)

    if not (out / "vocab.npy").exists():
        cls, sep = (teacher.tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
        size = teacher.tokenizer.get_vocab_size()
        np.save(out / "vocab.npy", teacher.embed_ids([[cls, row, sep] for row in range(size)], 256))
        print("vocabulary done", flush=True)

    with open(arguments.corpus, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    for part, start in enumerate(range(0, len(lines), CHUNK)):
        path = out / f"part-{part:03}.npz"
        if path.exists():
            continue
        texts = [line["text"] for line in lines[start : start + CHUNK]]
        np.savez(path, start=start, vectors=teacher.embed(texts).astype(np.float16))
        print(f"{start + len(texts)} of {len(lines)}", flush=True)


if __name__ == "__main__":
    main()
