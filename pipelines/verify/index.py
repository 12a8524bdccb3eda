"""An index: its tables are as they were written, and each row's sample is where the row says, in another tool's tar."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pyarrow.compute as pc

from clipsieve.pipelines.shards.scan import scan_samples
from clipsieve.pipelines.verify.checks import Check, expect, expect_parts, finished_manifest
from clipsieve.pipelines.verify.shards import expect_unique
from clipsieve.schemas import files, tables
from clipsieve.schemas.counts import IndexCounts
from clipsieve.schemas.members import as_strings
from clipsieve.schemas.shards import STATS_SUFFIX, list_shards, tars_of
from clipsieve.schemas.threads import map_ahead
from clipsieve.schemas.uid import uid_bytes

_PLACE = ("key", "tar_offset", "tar_size")


def check_index(folder: str) -> Check:
    """What `index` wrote; of the tars the headers are read, not the contents."""
    found = finished_manifest(folder)
    names, counts = list_shards(folder), found.counted(IndexCounts)
    expect_parts(folder, found)
    uids = list(map_ahead(partial(_check_shard, folder), names))
    expect_unique(np.concatenate(uids), folder)
    pairs = sum(map(len, uids))
    expect(counts.pairs == pairs, f"{folder}: its manifest counts {counts.pairs} pairs, its tables {pairs}")
    where = f"in {len(names):,} tars of another tool, each where its row says"
    where = f"in {len(names):,} tars of another tool, each where its row says"
    return Check("shards", f"{pairs:,} samples {where}; each uid once")


def _check_shard(folder: str, name: str) -> np.ndarray:
    """The uids bytes[N] of 16 of a shard."""
    path, listed = files.join(folder, f"{name}.parquet"), tars_of(folder)
    rows = tables.read_table(path, tables.SHARDS, ["uid", "status", *_PLACE])
    stats = json.loads(files.read_bytes(files.join(folder, f"{name}{STATS_SUFFIX}")))
    expect(len(rows) == stats["count"], f"{path}: holds {len(rows)} rows, its stats file says {stats['count']}")
    expect(pc.all(pc.equal(rows["status"], "success"), min_count=0).as_py(), f"{path}: a row is no success")
    tar = listed.tars[name]
    places = {(sample.key, sample.start, sample.end - sample.start) for sample in scan_samples(tar, listed.naming)}
    for row, place in enumerate(zip(*(rows[column].to_pylist() for column in _PLACE), strict=True), 1):
        expect(place in places, f"{path}: row {row}: sample {place[0]} is not at byte {place[1]} of {tar}; index again")
    return as_strings(uid_bytes(rows["uid"]))
