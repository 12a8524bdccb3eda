"""Select: exact cuts of a pool next to DataComp's full sort in memory, and next to only reading the columns.

5 million pairs, or as many as ``CLIPSIEVE_BENCHMARK_PAIRS`` says; at 50 million DataComp's way needs 15 GB of memory.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from benchmarks.timing import Contender, Row, clocked, compare
from clipsieve.pipelines.select import job as select
from clipsieve.schemas.counts import SelectionCounts
from clipsieve.schemas.options import SelectOptions
from clipsieve.schemas.uid import UID_U64_PAIR, uid_array

PAIRS = int(os.environ.get("CLIPSIEVE_BENCHMARK_PAIRS", "5_000_000"))
ROWS_PER_FILE = 10_000
"""As `score` leaves a pool in shards of the default size."""
COLUMNS = ["uid", "similarity"]


def run(scratch: Path) -> list[Row]:
    """Pairs a second from score files to all subsets of the default recipe."""
    scores = scratch / "scores"
    write_scores(scores, PAIRS)
    work = {
        "clipsieve select": partial(_select, scores, SelectOptions()),
        "clipsieve select --no-subsets": partial(_select, scores, SelectOptions(subsets=False)),
        "full sort as DataComp's": partial(_full_sort, scores),
        "reading the columns alone": partial(_scan, scores),
    }
    return compare("select", "pairs", [Contender(name, clocked(function)) for name, function in work.items()])


def write_scores(folder: Path, pairs: int) -> None:
    """Score files of random uids and normal scores."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, start in enumerate(range(0, pairs, ROWS_PER_FILE)):
        rows = min(ROWS_PER_FILE, pairs - start)
        uids = uid_array(rng.integers(0, 256, (rows, 16), np.uint8))
        similarity = rng.normal(0.2, 0.1, rows).clip(-1, 1).astype(np.float32)
        pq.write_table(pa.table({"uid": uids, "similarity": similarity}), folder / f"{number:05d}.parquet")


def _select(scores: Path, options: SelectOptions, out: Path) -> int:
    return select.run(str(scores), str(out), options).counted(SelectionCounts).pairs


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
