"""Select: exact cuts of a pool beside DataComp's full sort in memory, and beside only reading the columns."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from benchmarks.timing import Contender, Row, clocked, compare
from pipelines import select
from schemas.recipe import SelectOptions
from schemas.uid import UID_U64_PAIR, uid_strings

FILES, ROWS_PER_FILE = 200, 10_000
"""As `score` leaves a pool of two million pairs in shards of the default size."""
COLUMNS = ["uid", "similarity"]


def run(scratch: Path) -> list[Row]:
    """Pairs a second from score files to all subsets of the default recipe."""
    scores = scratch / "scores"
    _write_scores(scores)
    work = {
        "clipsieve select": partial(_select, scores),
        "full sort as DataComp's": partial(_full_sort, scores),
        "reading the columns alone": partial(_scan, scores),
    }
    return compare("select", "pairs", [Contender(name, clocked(function)) for name, function in work.items()])


def _write_scores(folder: Path) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(FILES):
        uids = uid_strings(rng.integers(0, 256, (ROWS_PER_FILE, 16), np.uint8))
        similarity = rng.normal(0.2, 0.1, ROWS_PER_FILE).clip(-1, 1).astype(np.float32)
        pq.write_table(pa.table({"uid": uids, "similarity": similarity}), folder / f"{number:05d}.parquet")


def _select(scores: Path, out: Path) -> int:
    return select.run(str(scores), str(out), SelectOptions()).counts["pairs"]


def _full_sort(scores: Path, out: Path) -> int:
    """DataComp's baselines: hold everything, sort, keep what reaches the threshold, write u8,u8 pairs."""
    pool = pq.read_table(scores, columns=COLUMNS)
    similarity, uids = pool["similarity"].to_numpy(), pool["uid"].to_numpy()
    descending = np.sort(similarity)[::-1]
    for percent in SelectOptions().fractions:
        kept = uids[similarity >= descending[int(len(descending) * percent / 100)]]
        halves = [(int(uid[:16], 16), int(uid[16:32], 16)) for uid in kept]
        np.save(out / f"top{percent:g}.npy", np.sort(np.array(halves, UID_U64_PAIR)))
    return len(pool)


def _scan(scores: Path, _: Path) -> int:
    batches = ds.dataset(scores, format="parquet").to_batches(columns=COLUMNS)
    return sum(len(batch) for batch in batches)
