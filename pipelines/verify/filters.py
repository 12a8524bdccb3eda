"""Filters: a verdict on each scored pair, the first rejecting rule its reason, and a waterfall that adds up."""

from __future__ import annotations

import numpy as np

from clipsieve.pipelines.filters.verdicts import count_waterfall
from clipsieve.pipelines.verify.checks import Check, expect, expect_equal, expect_parts, finished_manifest
from clipsieve.schemas import files, tables
from clipsieve.schemas.counts import FilterCounts
from clipsieve.schemas.waterfall import read_waterfall


def check_filters(folder: str, scores: str) -> Check:
    """What `filter` wrote; held against the folder ``scores`` where that is there."""
    found = finished_manifest(folder)
    expect_parts(folder, found)
    recorded = read_waterfall(folder)
    reasons = [rule.reason for rule in recorded.rules]
    paths = files.list_files(folder, ".parquet")
    for path in paths:
        verdicts = tables.read_table(path, tables.FILTERS, [*tables.FILTERS.columns, *reasons])
        rejected = np.stack([verdicts[reason].to_numpy() for reason in reasons], axis=1)
        first = [reasons[int(np.argmax(row))] if row.any() else None for row in rejected]
        expect_equal(verdicts["reject_reason"].to_pylist(), first, path, "the reject_reason")
        scored = files.join(scores, files.name_of(path))
        if files.exists(scored):
            uids = tables.read_table(scored, tables.SCORES, ["uid"])["uid"].to_pylist()
            expect_equal(verdicts["uid"].to_pylist(), uids, path, "the scored pair's uid")
    counts = found.counted(FilterCounts)
    counted = count_waterfall(paths, [(rule.reason, rule.text) for rule in recorded.rules])
    expect(counted == recorded, f"{folder}: its _waterfall.json does not count what its files hold")
    expect(
        (counts.pairs, counts.kept) == (counted.pairs, counted.kept),
        f"{folder}: its manifest counts other pairs than its files hold",
    )
    return Check("filters", f"{counted.pairs:,} pairs judged by {len(reasons)} rules, {counted.kept:,} kept")
