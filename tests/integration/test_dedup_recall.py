"""A small cell of the study of recall (`benchmarks.dedup_recall`): planted copies of real drawings and photographs."""

from __future__ import annotations

import os
from itertools import chain
from pathlib import Path

import pytest

from benchmarks import dedup_judge
from benchmarks.dedup_pool import KINDS, pictures, with_copies, write_pool
from benchmarks.dedup_recall import contact_sheet, judge, study
from clipsieve.pipelines.dedup import job as dedup
from clipsieve.schemas.options import DedupOptions

LAB = os.environ.get("CLIPSIEVE_LAB_DATA")


@pytest.mark.skipif(
    LAB is None, reason="CLIPSIEVE_LAB_DATA names no folder with openclipart.parquet and stamps.parquet"
)
def test_planted_copies_are_found_and_what_is_removed_is_alike(tmp_path: Path) -> None:
    sources = chain(pictures(Path(str(LAB)), "openclipart", 60, half=1), pictures(Path(str(LAB)), "stamps", 60))
    planted = write_pool(list(with_copies(sources, seed=0)), tmp_path, seed=0)
    shards, scores, out = (str(tmp_path / name) for name in ("shards", "scores", "dedup"))
    dedup.run(shards, scores, out, DedupOptions(), ["--runner=FnApiRunner"])
    made = study(planted, tmp_path / "dedup")
    assert made.found.keys() == {*KINDS}
    found, every = (sum(counts) for counts in zip(*made.found.values(), strict=True))
    assert every > 100 and found >= 0.97 * every
    # Polygons in thin grey lines are the known limit: lines that a compression wipes out tell no two of them apart.
    others = [pair for pair in made.others if "/shapes/stars/" not in planted[pair[0]].source]
    differs = judge(planted, others)
    limits = dedup_judge.MOST_UNMATCHED, dedup_judge.MOST_RECOLOURED
    assert (differs <= limits).all()
    contact_sheet(planted, made.others[:3], tmp_path / "sheet.png")
