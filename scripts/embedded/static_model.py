"""The static model in NumPy: what the Rust code computes, for the evaluation and its parity values."""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece


def tokenizer_of(tokens):
    """BERT's uncased WordPiece over a list of tokens, without special tokens around a text."""
    vocab = {token: row for row, token in enumerate(tokens)}
    tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


class StaticModel:
    def __init__(self, folder):
        folder = Path(folder)
        self.tokens = (folder / "vocab.txt").read_text("utf-8").splitlines()
        tensors = load_file(folder / "model.safetensors")
        self.tokenizer = tokenizer_of(self.tokens)
        self.unknown = self.tokens.index("[UNK]")
        self.rows = tensors["embeddings"].astype(np.float32)
        self.rows *= tensors["weights"].astype(np.float32)[:, None]

    def ids(self, text):
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        return [row for row in encoding.ids if row != self.unknown]

    def embed(self, texts, dimensions=None):
        out = np.zeros((len(texts), dimensions or self.rows.shape[1]), np.float32)
        for position, text in enumerate(texts):
            total = self.rows[self.ids(text)].sum(0)[: out.shape[1]]
            out[position] = total / max(float(np.linalg.norm(total)), 1e-12)
        return out
