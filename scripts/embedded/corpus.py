"""Collects the unlabelled texts that the static model is fitted on.

No text is labelled and none comes from the evaluation sets (WordSim-353, SimLex-999, Lee).
Sources, each a file or folder given on the command line, all optional:

--wordnet    folder of WordNet's data.* files      (Debian: wordnet-base)
--fortunes   folder of fortune files               (Debian: fortunes)
--packages   Translation-en, uncompressed or .xz   (Debian archive, main/i18n)
--wiki       a Wikipedia pages-articles dump, .bz2 (a short one comes with gensim's test data)
"""

import argparse
import json
import lzma
import random
import re
from pathlib import Path


def wordnet(folder):
    """Lemmas, definitions with their lemmas, and example sentences."""
    for part in ("noun", "verb", "adj", "adv"):
        for line in (Path(folder) / f"data.{part}").read_text("utf-8").splitlines():
            if line.startswith("  ") or "|" not in line:
                continue
            head, gloss = line.split("|", 1)
            fields = head.split()
            count = int(fields[3], 16)
            lemmas = [fields[4 + 2 * i].replace("_", " ") for i in range(count)]
            lemmas = [re.sub(r"\((a|p|ip)\)$", "", lemma) for lemma in lemmas]
            for lemma in lemmas:
                yield "lemma", lemma
            examples = re.findall(r'"([^"]+)"', gloss)
            definition = re.sub(r';?\s*"[^"]*"', "", gloss).strip(" ;")
            yield "definition", definition
            yield "entry", f"{', '.join(lemmas)}: {definition}"
            for example in examples:
                yield "example", example


def fortunes(folder):
    for path in sorted(Path(folder).iterdir()):
        if path.suffix or "art" in path.name or not path.is_file():
            continue
        for quote in re.split(r"^%\n", path.read_text("utf-8", "replace"), flags=re.M):
            text = " ".join(quote.split("--")[0].split())
            if 20 < len(text) < 600:
                yield "fortune", text


def packages(path):
    opener = lzma.open if str(path).endswith(".xz") else open
    with opener(path, "rt", encoding="utf-8") as file:
        for stanza in file.read().split("\n\n"):
            if "Description-en: " not in stanza:
                continue
            title, _, body = stanza.split("Description-en: ", 1)[1].partition("\n")
            paragraphs = re.split(r"\n \.\n", body)
            yield "package", title
            for paragraph in paragraphs[:3]:
                text = " ".join(paragraph.split())
                if len(text) > 80:
                    yield "package", text
            whole = " ".join(" ".join(paragraphs).split())
            if len(whole) > 350:
                yield "manual", whole[:900].rpartition(". ")[0] + "."


def wiki(path):
    import logging

    from gensim.corpora.wikicorpus import extract_pages, filter_wiki
    from gensim.utils import open as smart_open

    logging.disable(logging.WARNING)
    for _title, markup, _page in extract_pages(smart_open(path, "rb"), ("0",)):
        for paragraph in filter_wiki(markup).split("\n"):
            text = " ".join(re.sub(r"[*#:;=|{}\[\]']{2,}|^[*#:;|!]+", " ", paragraph).split())
            if len(text) > 350 and text[0].isalpha():
                yield "passage", text[:900].rpartition(". ")[0] + "."
            sentences = re.split(r"(?<=[.!?]) +", text)
            for start in range(0, len(sentences), 2):
                pair = " ".join(sentences[start : start + 2])
                if 60 < len(pair) < 500 and pair[0].isalpha():
                    yield "wiki", pair


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wordnet")
    parser.add_argument("--fortunes")
    parser.add_argument("--packages")
    parser.add_argument("--wiki")
    parser.add_argument("--without", help="an earlier corpus, whose texts are left out")
    parser.add_argument("--limit", action="append", default=[], metavar="KIND=COUNT")
    parser.add_argument("--out", required=True, help="a JSON Lines file")
    arguments = parser.parse_args()
    limits = {kind: int(count) for kind, count in (limit.split("=") for limit in arguments.limit)}

    earlier = set()
    if arguments.without:
        with open(arguments.without, encoding="utf-8") as file:
            earlier = {json.loads(line)["text"] for line in file}
    by_kind = {}
    for source in (wordnet, fortunes, packages, wiki):
        where = getattr(arguments, source.__name__)
        if where:
            for kind, text in source(where):
                if text not in earlier:
                    by_kind.setdefault(kind, {})[text] = None
    shuffle = random.Random(20)
    kept = []
    for kind, texts in by_kind.items():
        chosen = list(texts)
        shuffle.shuffle(chosen)
        chosen = chosen[: limits.get(kind, len(chosen))]
        print(f"{kind}: {len(chosen)} of {len(texts)}")
        kept += [(kind, text) for text in chosen]
    shuffle.shuffle(kept)
    with open(arguments.out, "w", encoding="utf-8") as out:
        for kind, text in kept:
            out.write(json.dumps({"kind": kind, "text": text}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
