"""The pairs of a shard, whoever wrote it: clipsieve, img2dataset or DataComp; from its Parquet, or its tar alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.schemas import files, samples, tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.outcomes import Status
from clipsieve.schemas.samples import Sample
from clipsieve.schemas.shards import naming_of, tar_of
from clipsieve.schemas.uid import UID_PATTERN, uid_of

_PLACE = ("tar_offset", "tar_size")
_FROM_TAR = pa.schema(
    [(name, pa.string()) for name in ("uid", "key", "caption", "url")]
    + [("tar_offset", pa.int64()), ("tar_size", pa.int64())]
)


def read_rows(folder: str, shard: str) -> pa.Table:
    """The rows of ``shard`` whose image is in its tar, in the Parquet's order, with a ``uid`` column.

    img2dataset keeps no uid of its own: there it follows from url and caption, as in a table without one. DataComp's
    resharder leaves no Parquet: there the tar is read, and the samples' json members hold the uids.
    Raises InputError when neither has what is needed.
    """
    path = files.join(folder, f"{shard}.parquet")
    if not files.exists(path):
        return pa.Table.from_pylist(list(_rows_of_tar(tar_of(folder, shard))), _FROM_TAR)
    with tables.open_parquet(path) as parquet:
        names = parquet.schema_arrow.names
        needed = ["key"] if "uid" in names else ["key", "url", "caption"]
        tables.check_columns(parquet.schema_arrow, tables.SHARDS, path, needed)
        rows = parquet.read(use_threads=False)  # a job has workers enough
    if "status" in names:
        rows = rows.filter(pc.equal(rows["status"], Status.SUCCESS.value))
    return with_uids(rows, path)


def with_uids(rows: pa.Table, path: str) -> pa.Table:
    """The rows with a ``uid`` column; where there is none it follows from url and caption, as in a table of pairs."""
    if "uid" in rows.schema.names:
        return tables.with_text_uids(rows)
    tables.check_columns(rows.schema, tables.PAIRS, path, ["url", "caption"])
    pairs = zip(rows["url"].to_pylist(), rows["caption"].to_pylist(), strict=True)
    uids = [uid_of(url, caption or "") for url, caption in pairs]
    return rows.add_column(0, "uid", pa.array(uids, pa.string()))


def read_placed_rows(folder: str, shard: str) -> pa.Table:
    """`read_rows` with ``tar_offset`` and ``tar_size`` int64; where they are missing the tar is scanned."""
    rows = read_rows(folder, shard)
    if set(_PLACE) <= set(rows.schema.names):
        return rows
    path = tar_of(folder, shard)
    places = {sample.key: (sample.offset, sample.size) for sample in samples.iter_samples(path)}
    keys = rows["key"].to_pylist()
    absent = [key for key in keys if key not in places]
    if absent:
        raise InputError(f"{path}: {len(absent)} samples of its Parquet are missing, the first {absent[0]}")
    found = np.array([places[key] for key in keys], np.int64).reshape(-1, 2)
    return rows.append_column("tar_offset", pa.array(found[:, 0])).append_column("tar_size", pa.array(found[:, 1]))


def iter_shard_samples(folder: str, shard: str) -> Iterator[Sample]:
    """Stream the samples of a shard in the order of its tar.

    A tar that another tool wrote, and an index describes, is read by the places in its table: it may hold others too.
    """
    path, naming = tar_of(folder, shard), naming_of(folder)
    if naming is None:
        yield from samples.iter_samples(path)
        return
    rows = read_rows(folder, shard)
    places = zip(*(rows[name].to_pylist() for name in _PLACE), strict=True)
    yield from samples.stream_samples(((path, *place) for place in places), naming)


def _rows_of_tar(path: str) -> Iterator[dict[str, Any]]:
    for sample in samples.iter_samples(path):
        try:
            described = sample.metadata
        except ValueError as error:
            raise InputError(f"{path}: sample {sample.key}: its json cannot be read ({error})") from error
        uid = described.get("uid")
        if not isinstance(uid, str) or not UID_PATTERN.fullmatch(uid):
            raise InputError(
                f"{path}: sample {sample.key}: its json has no uid of 32 hex digits, and it has no Parquet"
            )
        url = described.get("url")
        yield {
            "uid": uid,
            "key": sample.key,
            "caption": sample.caption,
            "url": url if isinstance(url, str) else None,
            "tar_offset": sample.offset,
            "tar_size": sample.size,
        }
