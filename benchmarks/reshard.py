"""Reshard: the best 40% as shards of their own, next to DataComp's resharder and next to copying as many bytes.

Twice: of real pairs, where a job's start is most of its time, and of 40,000 samples of 30 to 100 KB, 2.6 GB, where
the copying is.
"""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks import datacomp_resharder
from benchmarks.inputs import pair_shards
from benchmarks.timing import Contender, Row, clocked, compare
from clipsieve.pipelines.reshard import job as reshard
from clipsieve.pipelines.select.sorted_uids import write_uids
from clipsieve.pipelines.shards.rows import read_placed_rows
from clipsieve.pipelines.shards.writer import RowOutcome, open_shard
from clipsieve.schemas.counts import ReshardCounts
from clipsieve.schemas.options import ReshardOptions
from clipsieve.schemas.outcomes import Status
from clipsieve.schemas.shards import list_shards
from clipsieve.schemas.uid import uid_bytes, uid_of

SHARE = 0.4
LARGE_SHARDS, LARGE_SHARD_PAIRS = 8, 5_000
LARGE_BYTES = (30_000, 100_000)


def run(scratch: Path) -> list[Row]:
    """Pairs a second from shards to the shards of a subset."""
    small = _compare("reshard", pair_shards(scratch), scratch / "small")
    return small + _compare("reshard 2.6 GB", _large_shards(scratch / "large-shards"), scratch / "large")


def _compare(benchmark: str, shards: Path, scratch: Path) -> list[Row]:
    scratch.mkdir()
    rows = pa.concat_tables(read_placed_rows(str(shards), name) for name in list_shards(str(shards)))
    chosen = np.random.default_rng(0).permutation(len(rows))[: int(SHARE * len(rows))]
    members = rows.take(pa.array(chosen))
    subset = write_uids([uid_bytes(members["uid"])], str(scratch / "subset.npy"))
    file, size = scratch / "as-many-bytes", int(members["tar_size"].to_numpy().sum())
    file.write_bytes(np.random.default_rng(0).bytes(size))
    contenders = [
        Contender("clipsieve reshard", clocked(partial(_reshard, shards, subset))),
        Contender("DataComp's resharder", partial(datacomp_resharder.reshard, shards, subset)),
        Contender("copying as many bytes", clocked(partial(_copy, file, len(members)))),
        Contender("copying them onto the disk", clocked(partial(_copy_and_sync, file, len(members)))),
    ]
    return compare(benchmark, "pairs", contenders)


def _reshard(shards: Path, subset: str, out: Path) -> int:
    return reshard.run(str(shards), subset, str(out), ReshardOptions()).counted(ReshardCounts).pairs


def _copy(file: Path, pairs: int, out: Path) -> int:
    shutil.copyfile(file, out / file.name)
    return pairs


def _copy_and_sync(file: Path, pairs: int, out: Path) -> int:
    """What `reshard` promises of each shard: that it is on the disk."""
    _copy(file, pairs, out)
    with (out / file.name).open("rb") as copied:
        os.fsync(copied.fileno())
    return pairs


def _large_shards(folder: Path) -> Path:
    """Shards of samples as large as photographs; nobody looks into them, so noise will do."""
    rng = np.random.default_rng(0)
    noise = rng.bytes(32 << 20)
    for number in range(LARGE_SHARDS):
        urls = [f"https://example.org/{number}/{row}" for row in range(LARGE_SHARD_PAIRS)]
        sizes = rng.integers(*LARGE_BYTES, LARGE_SHARD_PAIRS)
        starts = rng.integers(0, len(noise) - LARGE_BYTES[1], LARGE_SHARD_PAIRS)
        images = (noise[start : start + size] for start, size in zip(starts.tolist(), sizes.tolist(), strict=True))
        keys = [f"{number:05d}{row:04d}" for row in range(LARGE_SHARD_PAIRS)]
        rows = {"caption": urls, "url": urls, "key": keys, "uid": [uid_of(url, url) for url in urls]}
        with open_shard(str(folder), f"{number:05d}", pa.schema([]), 0) as shard:
            shard.write(pa.table(rows), [RowOutcome({"status": Status.SUCCESS.value}, image) for image in images])
    return folder
