"""The input table against the shards: every row ended in them exactly once, in the table's own order (law 1)."""

from __future__ import annotations

import numpy as np

from clipsieve.pipelines.download.passes import shards_by_pass
from clipsieve.pipelines.pairs.table import iter_rows, open_pairs, parquet_files
from clipsieve.pipelines.verify.checks import Check, expect, expect_equal, finished_manifest
from clipsieve.schemas import files, tables
from clipsieve.schemas.manifest import Manifest, input_digest
from clipsieve.schemas.members import as_strings
from clipsieve.schemas.uid import uid_bytes


def check_pairs(table: str, shards: str) -> Check:
    """The Parquet ``table`` is the one that ``shards`` were made from, and each distinct uid of it is theirs."""
    found = finished_manifest(shards)
    expect(input_digest(table) == found.inputs["pairs"], f"{table}: not the table that {shards} was made from")
    return _check_rows(table, shards, found)


def check_pictures(table: str, shards: str) -> Check:
    """The same of the rows that `pack` found in a folder or table, which it keeps as the Parquet ``table``."""
    found = finished_manifest(shards)
    same = tables.content_digest(table) == found.inputs["pictures"]
    expect(same, f"{table}: not the rows that {shards} was made from")
    return _check_rows(table, shards, found)


def _check_rows(table: str, shards: str, found: Manifest) -> Check:
    opened = open_pairs(parquet_files(table))
    batches = [as_strings(uid_bytes(rows["uid"])) for rows in iter_rows(opened.slices, opened.columns, False)]
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
