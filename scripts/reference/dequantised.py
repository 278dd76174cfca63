"""Reference values by transformers in single precision, on the dequantised weights of the real GGUF files.

    python scripts/reference/dequantised.py FOLDER

adds to each tests/data/decoder/real/MODEL.json that `llamacpp.py real` has written the most likely
next tokens and the loss of the same stretches of text when nothing but the weights is quantised.
llama.cpp rounds activations to eight bits before each product, as our kernels do; this says how much
of a difference between the two is the rounding's.
"""

import json
import pathlib
import sys

import torch
import transformers as tf

from llamacpp_models import REAL

OUT = pathlib.Path(__file__).parents[2] / "tests/data/decoder/real"


def main() -> None:
    for name, file in REAL.items():
        path = pathlib.Path(sys.argv[1]) / file
        target = OUT / f"{name}.json"
        if not target.exists():
            continue
        model = tf.AutoModelForCausalLM.from_pretrained(
            str(path.parent), gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        made = json.loads(target.read_text())
        for part in made["stretches"]:
            tokens = torch.tensor(part["tokens"])
            with torch.no_grad():
                logits = model(tokens[None], use_cache=False).logits[0]
            loss = torch.nn.functional.cross_entropy(logits[:-1].double(), tokens[1:], reduction="sum")
            best = logits.argmax(-1).tolist()
            print(name, "loss", part["loss"], "exact", float(loss), "llama.cpp agrees at",
                  sum(a == b for a, b in zip(best, part["top"])), "of", len(best))
            part["exact_top"], part["exact_loss"] = best, round(float(loss), 4)
        target.write_text(json.dumps(made, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
