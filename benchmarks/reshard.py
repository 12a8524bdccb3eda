"""Reshard: the best 40% as shards of their own, beside copying as many bytes and beside webdataset's rewrite."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import webdataset

from benchmarks.inputs import pair_shards
from benchmarks.timing import Contender, Row, clocked, compare
from pipelines import reshard
from pipelines.rows import read_placed_rows
from pipelines.sorted_uids import write_uids
from schemas.recipe import ReshardOptions
from schemas.samples import list_shards
from schemas.uid import uid_bytes

SHARE = 0.4


def run(scratch: Path) -> list[Row]:
    """Pairs a second from shards to the shards of a subset."""
    shards = pair_shards(scratch)
    rows = pa.concat_tables(read_placed_rows(str(shards), name) for name in list_shards(str(shards)))
    chosen = np.random.default_rng(0).permutation(len(rows))[: int(SHARE * len(rows))]
    members = rows.take(pa.array(chosen))
    subset = write_uids([uid_bytes(members["uid"])], str(scratch / "subset.npy"))
    size = int(members["tar_size"].to_numpy().sum())
    file = scratch / "as-many-bytes"
    file.write_bytes(np.random.default_rng(0).bytes(size))
    work = {
        "clipsieve reshard": partial(_reshard, shards, subset),
        "webdataset rewrite": partial(_rewrite, shards, set(members["uid"].to_pylist())),
        "copying as many bytes": partial(_copy, file, len(members)),
    }
    return compare("reshard", "pairs", [Contender(name, clocked(function)) for name, function in work.items()])


def _reshard(shards: Path, subset: str, out: Path) -> int:
    return reshard.run(str(shards), subset, str(out), ReshardOptions()).counts["pairs"]


def _rewrite(shards: Path, members: set[str], out: Path) -> int:
    """Read every sample, keep the members, write them in the order in which they came."""
    tars = [str(tar) for tar in sorted(shards.glob("*.tar"))]
    samples = webdataset.WebDataset(tars, shardshuffle=False)
    written = 0
    with webdataset.TarWriter(str(out / "00000.tar")) as writer:
        for sample in samples.decode(only="json").select(lambda sample: sample["json"]["uid"] in members):
            writer.write({name: value for name, value in sample.items() if not name.startswith("__url")})
            written += 1
    return written


def _copy(file: Path, pairs: int, out: Path) -> int:
    shutil.copyfile(file, out / file.name)
    return pairs
