"""Writes all-MiniLM-L6-v2 as ONNX, pooling and normalisation included.

    python embed_export.py MODEL_FOLDER FILE
"""

import sys

import torch
from transformers import AutoModel


class Sentence(torch.nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids, attention_mask):
        tokens = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
        mask = attention_mask.unsqueeze(-1).to(tokens.dtype)
        mean = (tokens * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(mean, dim=1)


folder, file = sys.argv[1:]
model = Sentence(AutoModel.from_pretrained(folder, attn_implementation="eager").eval())
ids = torch.tensor([[101, 7592, 2088, 102], [101, 7592, 102, 0]])
axes = {0: "texts", 1: "tokens"}
torch.onnx.export(
    model,
    (ids, (ids != 0).long()),
    file,
    input_names=["input_ids", "attention_mask"],
    output_names=["vectors"],
    dynamic_axes={"input_ids": axes, "attention_mask": axes, "vectors": {0: "texts"}},
    opset_version=17,
    dynamo=False,
)
