"""Verify's check of a folder of dedup: what was planted holds, and each thing that does not is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from clipsieve.pipelines.engine.parts import folder_digest, part_of, write_parts
from clipsieve.pipelines.verify.dedup import check_dedup
from clipsieve.schemas import manifest, tables
from clipsieve.schemas.counts import Counts, DedupCounts
from clipsieve.schemas.errors import ClipsieveError
from clipsieve.schemas.options import DedupOptions

UIDS = [f"{number:032x}" for number in range(8)]
KEPT = [None, UIDS[0], None, UIDS[2], "shapes:s1", UIDS[0], None, None]
METHOD = [None, "exact", None, "thumbnail", "exact", "perceptual", None, None]
COUNTS = {"pairs": 8, "kept": 4, "exact": 2, "perceptual": 1, "thumbnail": 1, "contaminated": 1}


def write(root: Path, kept=KEPT, method=METHOD, counts=COUNTS, takedown=False) -> tuple[str, str]:
    """The folders dedup and scores, of two files of four pairs each; the similarity falls with the row."""
    folder, scores = root / "dedup", root / "scores"
    begun = manifest.begin(str(folder), DedupOptions(), {})
    for number in range(2):
        rows, name = slice(4 * number, 4 * number + 4), f"{number:05d}.parquet"
        columns = {"uid": UIDS[rows], "duplicate_of": pa.array(kept[rows], pa.string()),
                   "method": pa.array(method[rows], pa.string())}  # fmt: skip
        tables.write_table(pa.table(columns), tables.DEDUP, str(folder / name))
        scored = {"uid": UIDS[rows], "similarity": np.linspace(1, 0, 8, dtype=np.float32)[rows]}
        tables.write_table(pa.table(scored), tables.SCORES, str(scores / name), ["uid", "similarity"])
    parts = [part_of(str(path)) for path in sorted(folder.glob("*.parquet"))]
    write_parts(parts, str(folder))
    done = manifest.finish(str(folder), begun, DedupCounts.model_validate(counts), folder_digest(parts))
    if takedown:
        record = manifest.Takedown(opt_out="", begun_at="", finished_at="", pairs=1, counts=Counts(), digests=[])
        manifest.finish_takedown(str(folder), done, record)
    return str(folder), str(scores)


def test_a_sound_folder(tmp_path: Path) -> None:
    check = check_dedup(*write(tmp_path))
    assert check.detail == "8 pairs, 4 kept, the others repeat a kept one that scores no worse"


def changed(values: list, **at: object) -> list:
    return [at.get(f"row{row}", value) for row, value in enumerate(values)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kept": changed(KEPT, row3=UIDS[1])}, f"duplicate_of {UIDS[1]} is not a pair that is kept"),  # a chain
        ({"kept": changed(KEPT, row3="f" * 32)}, f"duplicate_of {'f' * 32} is not a pair that is kept"),
        ({"kept": changed(KEPT, row1=UIDS[6])}, "1 pairs score better than the one kept in their stead"),
        ({"method": changed(METHOD, row1=None)}, "a row has one of duplicate_of and method, not both"),
        ({"counts": COUNTS | {"exact": 3}}, "its manifest counts other exact than its files hold"),
        ({"counts": COUNTS | {"kept": 5, "contaminated": 0}}, "counts other kept, contaminated than"),
    ],
)
def test_what_does_not_hold_is_named(tmp_path: Path, wrong: dict, message: str) -> None:
    folder, scores = write(tmp_path, **wrong)
    with pytest.raises(ClipsieveError, match=message):
        check_dedup(folder, scores)


def test_a_kept_pair_that_was_taken_down_is_said(tmp_path: Path) -> None:
    folder, scores = write(tmp_path, kept=changed(KEPT, row3="f" * 32), takedown=True)
    assert check_dedup(folder, scores).detail.endswith("; 1 repeat a pair that was taken down since")
