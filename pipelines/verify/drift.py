"""Drift: a verdict on each scored pair, of those that there are, and counts that add up."""

from __future__ import annotations

from clipsieve.pipelines.drift.verdicts import count_verdicts
from clipsieve.pipelines.verify.checks import Check, expect, expect_equal, expect_parts, finished_manifest
from clipsieve.schemas import files, tables
from clipsieve.schemas.drift import GONE, Verdict


def check_drift(folder: str, scores: str) -> Check:
    """What `drift` wrote; held against the folder ``scores`` where it was made from scores that are there."""
    found = finished_manifest(folder)
    expect_parts(folder, found)
    paths = files.list_files(folder, ".parquet")
    known = {verdict.value for verdict in Verdict}
    for path in paths:
        rows = tables.read_table(path, tables.DRIFT, ["uid", "drift", "drift_reason"])
        others = set(rows["drift"].unique().to_pylist()) - known
        expect(not others, f"{path}: {', '.join(sorted(map(repr, others)))} is no verdict")
        expect(not rows["drift_reason"].null_count, f"{path}: a row has no drift_reason")
        scored = files.join(scores, files.name_of(path))
        if "scores" in found.inputs and files.exists(scored):
            uids = tables.read_table(scored, tables.SCORES, ["uid"])["uid"].to_pylist()
            expect_equal(rows["uid"].to_pylist(), uids, path, "the scored pair's uid")
    counts = count_verdicts(paths)
    expect(counts == found.counts, f"{folder}: its manifest counts other verdicts than its files hold")
    gone = sum(counts.shown[verdict.value] for verdict in GONE)
    return Check("drift", f"{counts.pairs:,} pairs compared, {gone:,} are not what the publisher saw")
