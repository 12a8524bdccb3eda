"""The pairs of a shard as its Parquet lists them, whoever wrote it: clipsieve, img2dataset or DataComp."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas import files, samples, tables
from schemas.errors import InputError
from schemas.outcomes import Status
from schemas.uid import uid_of


def read_rows(folder: str, shard: str) -> pa.Table:
    """The rows of ``shard`` whose image is in its tar, in the Parquet's order, with a ``uid`` column.

    img2dataset keeps no uid of its own: there it follows from url and caption, as in a table without one.
    Raises InputError when the Parquet is missing or lacks what is needed.
    """
    path = files.join(folder, f"{shard}.parquet")
    with tables.open_parquet(path) as parquet:
        names = parquet.schema_arrow.names
        needed = ["key"] if "uid" in names else ["key", "url", "caption"]
        tables.check_columns(parquet.schema_arrow, tables.SHARDS, path, needed)
        rows = parquet.read()
    if "status" in names:
        rows = rows.filter(pc.equal(rows["status"], Status.SUCCESS.value))
    if "uid" not in names:
        pairs = zip(rows["url"].to_pylist(), rows["caption"].to_pylist(), strict=True)
        uids = [uid_of(url, caption or "") for url, caption in pairs]
        rows = rows.add_column(0, "uid", pa.array(uids, pa.string()))
    return rows


def read_placed_rows(folder: str, shard: str) -> pa.Table:
    """`read_rows` with ``tar_offset`` and ``tar_size`` int64; where they are missing the tar is scanned."""
    rows = read_rows(folder, shard)
    if {"tar_offset", "tar_size"} <= set(rows.schema.names):
        return rows
    path = files.join(folder, f"{shard}.tar")
    places = {sample.key: (sample.offset, sample.size) for sample in samples.iter_samples(path)}
    keys = rows["key"].to_pylist()
    absent = [key for key in keys if key not in places]
    if absent:
        raise InputError(f"{path}: {len(absent)} samples of its Parquet are missing, the first {absent[0]}")
    found = np.array([places[key] for key in keys], np.int64).reshape(-1, 2)
    return rows.append_column("tar_offset", pa.array(found[:, 0])).append_column("tar_size", pa.array(found[:, 1]))
