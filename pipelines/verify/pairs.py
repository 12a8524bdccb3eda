"""The input table against the shards: every row ended in them exactly once, in the table's own order (law 1)."""

from __future__ import annotations

import numpy as np

from clipsieve.pipelines.download.passes import shards_by_pass
from clipsieve.pipelines.pairs.plan import Slice
from clipsieve.pipelines.pairs.table import iter_rows, open_pairs, parquet_files
from clipsieve.pipelines.verify.checks import Check, expect, expect_equal, finished_manifest
from clipsieve.schemas import files, tables
from clipsieve.schemas.manifest import input_digest
from clipsieve.schemas.members import as_strings
from clipsieve.schemas.uid import uid_bytes


def check_pairs(table: str, shards: str) -> Check:
    """The Parquet ``table`` is the one that ``shards`` were made from, and each distinct uid of it is theirs."""
    found = finished_manifest(shards)
    expect(input_digest(table) == found.inputs["pairs"], f"{table}: not the table that {shards} was made from")
    opened = open_pairs(parquet_files(table))
    slices = [Slice(path, 0, rows) for path, rows in _rows_of_files(opened.row_groups).items()]
    batches = [as_strings(uid_bytes(rows["uid"])) for rows in iter_rows(slices, opened.columns, False)]
    given = np.concatenate(batches)
    _, first = np.unique(given, return_index=True)
    names = shards_by_pass(shards, found)[0]
    kept = [tables.read_table(files.join(shards, f"{name}.parquet"), tables.SHARDS, ["uid"]) for name in names]
    downloaded = np.concatenate([as_strings(uid_bytes(rows["uid"])) for rows in kept])
    expected = given[np.sort(first)]
    expect_equal(downloaded.tolist(), expected.tolist(), shards, "the uid, against the input table's,")
    return Check(
        "pairs", f"{len(given):,} rows, {len(expected):,} distinct: each is in the shards once, in their order"
    )


def _rows_of_files(row_groups: tuple[tuple[str, int], ...]) -> dict[str, int]:
    rows: dict[str, int] = {}
    for path, count in row_groups:
        rows[path] = rows.get(path, 0) + count
    return rows
