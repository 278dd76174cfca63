"""Reference embeddings of the real all-MiniLM-L6-v2 by sentence-transformers.

    python scripts/reference/minilm.py MODEL_FOLDER

writes tests/data/encoder/minilm/texts.json (200 texts of 1 to 500 tokens, seeded) and
embeddings.f32 (200 x 384 little-endian float32). Each text is embedded alone, so that the
reference itself has no padding.
"""

import json
import pathlib
import random
import sys

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

OUT = pathlib.Path(__file__).parents[2] / "tests/data/encoder/minilm"

WORDS = """a about after again air all along also always and animal another any are around ask away
back be because been before began being below between big book both boy but by call came can car
carry change children city close come could country cut day did different do does done down each
earth eat end enough even every example eye face family far father feet few find first follow food
for form found four from get girl give go good got great group grow had hand hard has have he head
hear help her here high him his home house how idea if important in into is it its just keep kind
know land large last later learn leave left letter life light like line list little live long look
made make man many may me mean men might mile miss more most mother mountain move much must my name
near need never new next night no not now number of off often old on once one only open or other our
out over own page paper part people picture place plant play point put quick quiet read really right
river run said same saw say school sea second see seem sentence set she should show side small so
some something sometimes song soon sound spell stand start state still stop story study such
quantum photosynthesis mitochondria jurisprudence antidisestablishmentarianism Zürich naïve café
résumé São Paulo 東京 北京 привет мир αβγ 3.14159 2024 e-mail user@example.com https://example.org/x
don't it's we'll U.S.A. COVID-19 #tag $99.95 50% (maybe) "quoted" foo_bar x+y=z 🙂 Ωmega""".split()


def texts() -> list[str]:
    random.seed(20240611)
    made = []
    for number in range(200):
        # From one token to beyond the model's 256, most of them short.
        count = max(1, round(1.7 ** random.uniform(0, 11.2))) if number else 1
        words = [random.choice(WORDS) for _ in range(min(count, 380))]
        text = " ".join(words)
        if number % 3 == 0:
            text = text.capitalize() + "."
        made.append(text)
    return made


def main() -> None:
    torch.set_num_threads(1)
    model = SentenceTransformer(sys.argv[1], device="cpu")
    made = texts()
    embeddings = np.stack([model.encode(text) for text in made]).astype("<f4")
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "texts.json").write_text(json.dumps(made, ensure_ascii=False, indent=0) + "\n")
    (OUT / "embeddings.f32").write_bytes(np.ascontiguousarray(embeddings).tobytes())
    counts = [len(ids) for ids in model.tokenizer(made, truncation=False)["input_ids"]]
    print(f"{len(made)} texts, {min(counts)} to {max(counts)} tokens, mean {np.mean(counts):.0f}")


if __name__ == "__main__":
    main()
