"""Scores: exactly the downloaded pairs of the shards, each once, under the one reference."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from clipsieve.pipelines.shards.rows import read_rows
from clipsieve.pipelines.verify.checks import Check, expect, expect_equal, expect_parts, finished_manifest
from clipsieve.schemas import files, tables
from clipsieve.schemas.counts import ScoreCounts
from clipsieve.schemas.shards import list_shards


def check_scores(folder: str, shards: str) -> Check:
    """What `score` wrote; held against the folder ``shards`` where that is there."""
    found = finished_manifest(folder)
    expect_parts(folder, found)
    counts, paths = found.counted(ScoreCounts), files.list_files(folder, ".parquet")
    pairs = opted_out = 0
    for path in paths:
        scores = tables.read_table(path, tables.SCORES)
        pairs += len(scores)
        similarity = scores["similarity"].to_numpy()
        wrong = ~(np.abs(similarity) <= 1.0001)
        expect(not wrong.any(), f"{path}: row {int(np.argmax(wrong)) + 1 if len(wrong) else 0}: no cosine")
        others = set(scores["reference"].to_pylist()) - {found.inputs.get("reference")}
        expect(not others, f"{path}: scored by {sorted(others)}, not by the manifest's reference")
        if files.exists(shards):
            name = files.name_of(path).removesuffix(".parquet")
            rows = read_rows(shards, name)
            if counts.opted_out is not None:
                kept = rows.filter(pc.is_in(rows["key"], scores["key"].combine_chunks()))
                opted_out, rows = opted_out + len(rows) - len(kept), kept
            for column in ("key", "uid"):
                expect_equal(scores[column].to_pylist(), rows[column].to_pylist(), path, f"the pair's {column}")
    expect(
        counts.pairs == pairs,
        f"{folder}: its manifest counts {counts.pairs} pairs, not {pairs}",
    )
    if not files.exists(shards):
        return Check("scores", f"{pairs:,} pairs as they were written; the shards are not there to compare with")
    recorded = counts.opted_out or 0
    expect(
        recorded == opted_out,
        f"{folder}: {opted_out} downloaded pairs are not scored, its manifest counts {recorded} opted out",
    )
    names = [files.name_of(path).removesuffix(".parquet") for path in paths]
    expect_equal(names, list_shards(shards), folder, "score file")
    but = f" but {opted_out:,} opted out" if opted_out else ""
    return Check("scores", f"{pairs:,} pairs, exactly those downloaded{but}, each scored once by one reference")
