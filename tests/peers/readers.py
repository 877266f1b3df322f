#!/usr/bin/env python3
"""Opens a capture with DuckDB, Polars, pandas and Spark, which know nothing of us, and compares what they find.

    readers.py CAPTURE MESSAGES SESSIONS CALLS LEAKED

The questions are those of the pages in replay/capture/readers, and so is the code that is run: each page's blocks, with DIR
as the capture. MESSAGES is how many rows of the client's leg are messages (neither gap nor transport), SESSIONS how many
sessions there were, CALLS how often `echo` was called, LEAKED how many results passed with a secret in them. Run by
readers.sh, in an environment that has the libraries.
"""

import pathlib
import re
import sys

import duckdb
import pandas
import polars
import pyspark
from pyspark.sql import SparkSession

PAGES = pathlib.Path(__file__).resolve().parents[2] / "replay/capture/readers"
QUESTIONS = ["Who called what", "Which results leaked", "Slowest tools", "Sessions with findings"]
COUNTED = ["rows", "bytes", "bodies", "sessions", "messages", "distinct (writer, seq)", "first time", "rule hits"]
COUNTS = """
    SELECT count(*), sum(body_len), count(body), count(DISTINCT session_id),
           sum(CASE WHEN leg = 'client' AND kind NOT IN ('gap', 'transport') THEN 1 ELSE 0 END),
           count(DISTINCT writer_id || '/' || CAST(seq AS VARCHAR(20))), {first}, sum(coalesce({length}, 0))
    FROM capture"""


def blocks(page, capture):
    """The page's code: what opens the capture, then one block for each question."""
    text = (PAGES / page).read_text().replace("DIR", str(capture))
    titles = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    code = lambda part: re.search(r"```\w+\n(.*?)```", part, re.DOTALL)[1]
    answers = {title: code(part) for title, part in zip(titles[1::2], titles[2::2]) if "```" in part}
    return code(titles[0]), [answers[question] for question in QUESTIONS]


def plain(rows):
    """Rows that can be compared: no missing value has a type of its own, and order is not asked for."""
    cell = lambda value: None if value is None or value != value else int(value) if hasattr(value, "__int__") and not isinstance(value, str) else value
    return sorted((tuple(cell(value) for value in row) for row in rows), key=repr)


def with_duckdb(capture):
    opening, questions = blocks("duckdb.md", capture)
    database = duckdb.connect()
    database.execute(re.search(r'"(CREATE VIEW .*)"', opening)[1])
    counts = database.execute(COUNTS.format(first="epoch_us(min(ts))", length="len(rule_ids)")).fetchone()
    return counts, [plain(database.execute(question).fetchall()) for question in questions]


def with_spark(capture):
    opening, questions = blocks("spark.md", capture)
    # the page's own builder takes what is set before: a quiet, small, local Spark
    SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").config("spark.sql.shuffle.partitions", "2").getOrCreate()
    names = {}
    exec(opening, names)
    spark = names["spark"]
    counts = spark.sql(COUNTS.format(first="unix_micros(min(ts))", length="size(rule_ids)")).collect()[0]
    answers = [plain(spark.sql(question).collect()) for question in questions]
    spark.stop()
    return tuple(counts), answers


def with_python(page, capture, counts):
    """A page of Python blocks, each of which leaves a frame named `answer`."""
    opening, questions = blocks(page, capture)
    names, answers = {}, []
    exec(opening, names)
    for question in questions:
        exec(question, names)
        frame = names["answer"]
        answers.append(plain(frame.rows() if hasattr(frame, "rows") else frame.itertuples(index=False)))
    return counts(names["capture"]), answers


def polars_counts(capture):
    pl = polars
    messages = (pl.col("leg") == "client") & ~pl.col("kind").is_in(["gap", "transport"])
    return capture.select(
        pl.len(),
        pl.col("body_len").sum().alias("bytes"),
        pl.col("body").count(),
        pl.col("session_id").drop_nulls().n_unique(),
        messages.sum().alias("messages"),
        pl.struct("writer_id", "seq").n_unique().alias("distinct"),
        pl.col("ts").dt.epoch("us").min(),
        pl.col("rule_ids").list.len().sum(),
    ).collect().row(0)


def pandas_counts(capture):
    columns = ["body_len", "body", "session_id", "leg", "kind", "writer_id", "seq", "ts", "rule_ids"]
    frame = capture.to_table(columns=columns).to_pandas()
    messages = (frame["leg"] == "client") & ~frame["kind"].isin(["gap", "transport"])
    first = frame["ts"].min() - pandas.Timestamp(0, tz="UTC")
    return (
        len(frame),
        frame["body_len"].sum(),
        frame["body"].count(),
        frame["session_id"].nunique(),
        messages.sum(),
        len(frame[["writer_id", "seq"]].drop_duplicates()),
        first // pandas.Timedelta(microseconds=1),
        frame["rule_ids"].dropna().map(len).sum(),
    )


def main():
    capture, messages, sessions, calls, leaked = sys.argv[1], *map(int, sys.argv[2:])
    found = {
        f"DuckDB {duckdb.__version__}": with_duckdb(capture),
        f"Polars {polars.__version__}": with_python("polars.md", capture, polars_counts),
        f"pandas {pandas.__version__}": with_python("pandas.md", capture, pandas_counts),
        f"Spark {pyspark.__version__}": with_spark(capture),
    }
    wrong = []
    (first, (counts, answers)), *others = found.items()
    counts = dict(zip(COUNTED, map(int, counts), strict=True))
    for name, (other, theirs) in others:
        for what, count in zip(COUNTED, map(int, other), strict=True):
            if counts[what] != count:
                wrong.append(f"{what}: {first} {counts[what]}, {name} {count}")
        for question, mine, its in zip(QUESTIONS, answers, theirs, strict=True):
            # the rank that a percentile stands for differs by one between libraries
            cut = (lambda rows: [row[:3] + row[4:] for row in rows]) if question == "Slowest tools" else (lambda rows: rows)
            if not mine or cut(mine) != cut(its):
                wrong.append(f"{question}:\n  {first} {mine}\n  {name} {its}")
    called = sum(row[-1] for row in answers[0] if row[2] == "echo")
    passed = sum(row[-1] for row in answers[1])
    for what, count, expected in [
        ("messages", counts["messages"], messages),
        ("sessions", counts["sessions"], sessions),
        ("distinct (writer, seq)", counts["distinct (writer, seq)"], counts["rows"]),
        ("calls of echo", called, calls),
        ("results that leaked", passed, leaked),
        ("sessions with findings", len(answers[3]), 1),
    ]:
        if count != expected:
            wrong.append(f"{what}: {count}, not {expected}")
    if counts["bytes"] == 0 or counts["bodies"] == 0:
        wrong.append("no bodies")
    print("\n".join(wrong) if wrong else f"{', '.join(found)} agree: {counts}, and on the four questions of their pages")
    sys.exit(1 if wrong else 0)


main()
