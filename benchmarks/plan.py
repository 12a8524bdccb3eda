"""Making a training run's plan: tables of 10,000 rows and a subset of 40% of them, to the plan's files.

``CLIPSIEVE_BENCHMARK_PAIRS`` is how many rows; 10M of them take 0.4 GB of disk, and as much for what is made.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.timing import Contender, Row, clocked, compare
from clipsieve.schemas.options import PlanOptions
from clipsieve.schemas.threads import cores, map_ahead
from clipsieve.schemas.uid import to_u64_pairs, uid_array
from clipsieve.training.data import plan

PAIRS = int(os.environ.get("CLIPSIEVE_BENCHMARK_PAIRS", 2_000_000))
SHARD_ROWS = 10_000
SHARE = 0.4


def run(scratch: Path) -> list[Row]:
    """Rows of the tables a second, from the tables to the plan."""
    shards, subset = _write_shards(scratch / "shards"), scratch / "subset.npy"
    uids = np.concatenate([_uids(number)[: round(SHARD_ROWS * SHARE)] for number in range(PAIRS // SHARD_ROWS)])
    members = to_u64_pairs(uids)
    members.sort()
    np.save(subset, members)
    work = [
        Contender(f"clipsieve plan --order {order}", clocked(partial(_plan, shards, subset, PlanOptions(order=order))))
        for order in ("global", "window")
    ]
    return compare(f"plan, {PAIRS:,} rows", "rows", work)


def _plan(shards: Path, subset: Path, options: PlanOptions, folder: Path) -> int:
    header = plan.run(str(shards), (str(subset),), str(folder / "plan"), options)
    assert header.rows == round(PAIRS * SHARE)
    return PAIRS


def _write_shards(folder: Path) -> Path:
    folder.mkdir()
    for _ in map_ahead(partial(_write_shard, folder), range(PAIRS // SHARD_ROWS), cores()):
        pass
    return folder


def _write_shard(folder: Path, number: int) -> None:
    sizes = np.random.default_rng(number).integers(10, 100, SHARD_ROWS) * 512
    table = {
        "uid": uid_array(_uids(number)),
        "status": ["success"] * SHARD_ROWS,
        "tar_offset": np.cumsum(sizes) - sizes,
        "tar_size": sizes,
    }
    pq.write_table(pa.table(table), folder / f"{number:06d}.parquet", compression="zstd", use_dictionary=["status"])
    (folder / f"{number:06d}.tar").touch()
    (folder / f"{number:06d}_stats.json").write_text("{}")


def _uids(number: int) -> np.ndarray:
    """uint8[rows, 16]: those of a shard."""
    return np.random.default_rng((1, number)).integers(0, 256, (SHARD_ROWS, 16), np.uint8)
