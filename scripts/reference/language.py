"""Reference values for tokenizers, templates and sampling.

    python scripts/reference/language.py --models DIR --llama-python PYTHON

writes tests/data/language/. DIR holds the two real GGUF files as tests/support/real_models.rs lays
them out. Needs transformers, sentencepiece and gguf; PYTHON is an interpreter with llama-cpp-python.

Where the values come from:
  templates.json   transformers' rendering; its refusal as "error".
  tokens_*.json    ids: llama.cpp on the same file. texts: transformers' decoding of those ids,
                   special tokens skipped.
"""

import argparse
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))

from language_prompts import prompts  # noqa: E402

OUT = HERE.parents[1] / "tests/data/language"

LLAMA = """
import json, sys
import llama_cpp
path, texts = sys.argv[1], json.load(sys.stdin)
model = llama_cpp.Llama(path, vocab_only=True, verbose=False)
ids = [model.tokenize(text.encode(), add_bos=False, special=True) for text in texts]
print("\\nids", json.dumps(ids))
"""


def llama_ids(python: str, path: pathlib.Path, texts: list[str]) -> list[list[int]]:
    run = subprocess.run(
        [python, "-c", LLAMA, str(path)],
        input=json.dumps(texts), text=True, capture_output=True, check=True,
    )
    line = next(line for line in run.stdout.splitlines() if line.startswith("ids "))
    return json.loads(line[4:])


def write(name: str, value) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("],[", "],\n[")
    (OUT / name).write_text(text + "\n")
    print(name, len(text) // 1024, "KB")


def real_models(models: pathlib.Path, python: str) -> None:
    from transformers import AutoTokenizer

    for name, folder in [("smollm2", "SmolLM2-135M-Instruct"), ("gemma3", "gemma-3-270m")]:
        path = next((models / folder).glob("*.gguf"))
        ids = llama_ids(python, path, prompts())
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        theirs = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in prompts()]
        print(name, "transformers differs from llama.cpp on",
              [text for text, one, other in zip(prompts(), ids, theirs) if one != other])
        texts = [tokenizer.decode(row, skip_special_tokens=True) for row in ids]
        write(f"tokens_{name}.json", {"ids": ids, "texts": texts})


def templates(models: pathlib.Path) -> None:
    import datetime

    from gguf import GGUFReader
    from transformers.utils import chat_template_utils as chat

    from language_templates import CONVERSATIONS, DOCUMENTS, NOW, TEMPLATES, TOOLS

    class Fixed(datetime.datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc)

    chat.datetime = Fixed
    reader = GGUFReader(next((models / "SmolLM2-135M-Instruct").glob("*.gguf")))
    sources = dict(TEMPLATES, smollm2=reader.fields["tokenizer.chat_template"].contents())
    extras = [
        {"add_generation_prompt": True},
        {"add_generation_prompt": False},
        {"add_generation_prompt": True, "tools": TOOLS, "documents": DOCUMENTS},
        {"add_generation_prompt": True, "variables": {"enable_thinking": False, "date_string": "1 Jan 2000"}},
    ]
    cases = []
    for name in sources:
        for conversation, messages in CONVERSATIONS.items():
            for extra in extras:
                case = {"template": name, "conversation": conversation, **extra}
                try:
                    texts, _ = chat.render_jinja_template(
                        [messages], chat_template=sources[name], tools=extra.get("tools"),
                        documents=extra.get("documents"), bos_token="<s>", eos_token="</s>",
                        add_generation_prompt=extra["add_generation_prompt"], **extra.get("variables", {}),
                    )
                    case["text"] = texts[0]
                except Exception as error:  # what the template raises
                    case["error"] = str(error)
                cases.append(case)
    write("templates.json", {
        "now": NOW, "sources": sources, "conversations": CONVERSATIONS, "cases": cases,
    })


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=pathlib.Path, required=True)
    parser.add_argument("--llama-python", default="python")
    parser.add_argument("parts", nargs="*")
    arguments = parser.parse_args()
    parts = {
        "templates": lambda: templates(arguments.models),
        "real": lambda: real_models(arguments.models, arguments.llama_python),
    }
    write("prompts.json", prompts())
    for name in arguments.parts or parts:
        parts[name]()


if __name__ == "__main__":
    main()
