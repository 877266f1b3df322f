#!/usr/bin/env python3
"""Makes `common.txt`: how often four bytes in a row (ASCII case aside) occur in ordinary text.

    common.py FOLDER… > common.txt

Reads Markdown, source code, JSON and plain text below the folders, up to 2 MB of each kind. One line for each power of
two: `N grams…` are those that occur about once in 2^N bytes. Only what occurs once in 2^15 bytes or more is listed. The
table in the repository was made from the sources of the crates that Cargo.lock names and of Node's bundled packages.
"""

import collections
import math
import pathlib
import random
import sys

KINDS = {"prose": {".md", ".txt"}, "code": {".rs", ".js", ".py", ".ts"}, "data": {".json", ".toml", ".yaml", ".html"}}
MOST = 2_000_000  # characters of a kind
EACH = 20_000  # characters of a file
RAREST = 15


def main():
    files = sorted(file for folder in sys.argv[1:] for file in pathlib.Path(folder).rglob("*.*") if file.is_file())
    random.Random(7).shuffle(files)
    room = dict.fromkeys([*KINDS, "comments"], MOST)
    counts, total = collections.Counter(), 0
    for file in files:
        kind = next((kind for kind, ends in KINDS.items() if file.suffix in ends), None)
        if kind is None or room[kind] <= 0:
            continue
        text = file.read_text(errors="replace").lower()[:EACH]
        room[kind] -= len(text)
        texts = [text]
        if kind == "code" and room["comments"] > 0:
            # comments once more, without their signs: prose in plain sentences is scarce elsewhere
            prose = [line.strip().lstrip("/#!*") for line in text.split("\n") if line.strip()[:2] in ("//", "# ")]
            texts.append("".join(prose))
            room["comments"] -= len(texts[1])
        for text in texts:
            counts.update(text[at : at + 4] for at in range(len(text) - 3))
            total += len(text)
    rows = collections.defaultdict(list)
    for gram, count in counts.items():
        step = round(math.log2(total / count))
        if step <= RAREST and all("!" <= c <= "~" or c == " " for c in gram):
            rows[step].append(gram.replace(" ", "\u2423"))
    for step in sorted(rows):
        print(step, " ".join(sorted(rows[step])))


main()
