#!/usr/bin/env python3
"""Opens a capture with DuckDB and with pyarrow, which know nothing of us, and compares what they count.

    readers.py CAPTURE MESSAGES SESSIONS

MESSAGES is how many rows of the client's leg are messages (neither gap nor transport), SESSIONS how many sessions there
were. Run by readers.sh, in an environment that has both libraries.
"""

import pathlib
import sys

import duckdb
import pyarrow.compute as pc
import pyarrow.dataset as ds

COUNTED = ["rows", "bytes of bodies", "bodies that are there", "sessions", "messages", "distinct (writer, seq)", "first time", "rule hits"]


def with_duckdb(capture):
    query = """
        SELECT count(*), sum(body_len), count(body), count(DISTINCT session_id),
               count(*) FILTER (leg = 'client' AND kind NOT IN ('gap', 'transport')),
               count(DISTINCT writer_id || '/' || seq), epoch_us(min(ts)), sum(coalesce(len(rule_ids), 0))
        FROM read_parquet(?, hive_partitioning = true)
        WHERE date IS NOT NULL AND hour IS NOT NULL"""
    return [int(value) for value in duckdb.execute(query, [f"{capture}/date=*/hour=*/*.parquet"]).fetchone()]


def with_pyarrow(capture):
    files = sorted(map(str, pathlib.Path(capture).glob("date=*/hour=*/*.parquet")))
    dataset = ds.dataset(files, format="parquet", partitioning="hive", partition_base_dir=str(capture))
    rows = dataset.filter(pc.is_valid(ds.field("date")) & pc.is_valid(ds.field("hour"))).to_table()
    is_message = (ds.field("leg") == "client") & ~ds.field("kind").isin(["gap", "transport"])
    names = pc.binary_join_element_wise(rows["writer_id"], rows["seq"].cast("string"), "/")
    counts = [
        rows.num_rows,
        pc.sum(rows["body_len"]),
        pc.count(rows["body"]),
        pc.count_distinct(rows["session_id"]),
        rows.filter(is_message).num_rows,
        pc.count_distinct(names),
        pc.min(rows["ts"].cast("int64")),
        pc.sum(pc.fill_null(pc.list_value_length(rows["rule_ids"]), 0)),
    ]
    return [int(count if isinstance(count, int) else count.as_py()) for count in counts]


def main():
    capture, messages, sessions = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    one, other = (dict(zip(COUNTED, read(capture), strict=True)) for read in (with_duckdb, with_pyarrow))
    wrong = [f"{what}: DuckDB {one[what]}, pyarrow {other[what]}" for what in COUNTED if one[what] != other[what]]
    for what, expected in [("messages", messages), ("sessions", sessions), ("distinct (writer, seq)", one["rows"])]:
        if one[what] != expected:
            wrong.append(f"{what}: {one[what]}, not {expected}")
    if one["bytes of bodies"] == 0 or one["bodies that are there"] == 0:
        wrong.append("no bodies")
    print("\n".join(wrong) if wrong else f"DuckDB {duckdb.__version__} and pyarrow agree: {one}")
    sys.exit(1 if wrong else 0)


main()
