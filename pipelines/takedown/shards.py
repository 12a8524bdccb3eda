"""Takedown in shards: samples leave the tar, what stays is copied byte for byte; rows are blanked, or leave too.

A row of `download` stays, for every input row ends in the shards once: as its uid, failed because its owner does not
want it used. A row of `reshard`, which holds members alone, goes. Tar, Parquet and stats are written in this order,
each whole or not at all; a shard that was left between two of them is taken up there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from clipsieve.pipelines.shards.outcome_counts import OutcomeCounts, end_name
from clipsieve.pipelines.shards.tars import end_of_archive
from clipsieve.pipelines.shards.writer import count_ends, read_stats, stats_path, write_stats
from clipsieve.schemas import files, strict_json, tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.members import find
from clipsieve.schemas.outcomes import Consent, ErrorClass, Status, is_retryable
from clipsieve.schemas.tables import SHARDS
from clipsieve.schemas.uid import uid_bytes

TAKEN_DOWN = "taken down"
"""The error_message of a row that was taken down."""

_PLACE = ("uid", "key", "tar_offset", "tar_size")
_KEPT = ("uid", "key", "attempts", "fetched_at")
_ENDED = {
    "status": Status.FAILED_TO_DOWNLOAD.value,
    "error_class": ErrorClass.OPTED_OUT.value,
    "http_status": None,
}
_SAID = {"error_message": TAKEN_DOWN, "consent": Consent.OPT_OUT_LIST.value}
_BLOCK_BYTES = 4 << 20


def take_from_shard(folder: str, name: str, uids: np.ndarray, is_last_pass: bool) -> None:
    """Take the pairs ``uids``, bytes[N] of 16, ascending, out of a shard of `download`.

    Of a pass that another followed, a row that was tried again keeps how it ended, for that is why it was.
    """
    path, stats = files.join(folder, f"{name}.parquet"), read_stats(stats_path(folder, name))
    rows = tables.read_table(path, SHARDS)
    is_named = find(uids, uid_bytes(rows["uid"]))
    blanked = blank(rows, is_named, is_last_pass)
    tar_xxh3 = stats.tar_xxh3
    if not blanked.equals(rows):
        tar_xxh3, blanked = _drop_from_tar(files.join(folder, f"{name}.tar"), blanked, rows, is_named)
        tables.write_table(blanked, SHARDS, path)
    elif stats.rows_digest != tables.content_digest(path):
        tar_xxh3 = files.xxh3_file(files.join(folder, f"{name}.tar"))
    else:
        return
    ends = OutcomeCounts(map(end_name, blanked["error_class"].to_pylist(), blanked["http_status"].to_pylist()))
    counted = replace(stats, **count_ends(ends))
    write_stats(folder, name, replace(counted, tar_xxh3=tar_xxh3, rows_digest=tables.content_digest(path)))


def take_from_resharded(folder: str, name: str, uids: np.ndarray) -> None:
    """Take the pairs ``uids``, bytes[N] of 16, ascending, out of a shard of `reshard`."""
    tar, path = files.join(folder, f"{name}.tar"), files.join(folder, f"{name}.parquet")
    stats = json.loads(files.read_bytes(stats_path(folder, name)))
    with tables.open_parquet(path) as parquet:
        tables.check_columns(parquet.schema_arrow, SHARDS, path, _PLACE)
        rows = parquet.read(use_threads=False)
    is_named = find(uids, uid_bytes(rows["uid"]))
    if is_named.any():
        digest, kept = _drop_from_tar(tar, rows, rows, is_named)
        rows = kept.filter(pa.array(~is_named))
        tables.write_table(rows, SHARDS, path, _PLACE)
    elif stats["rows_digest"] != tables.content_digest(path):
        digest = files.xxh3_file(tar)
    else:
        return
    stats |= {"count": len(rows), "successes": len(rows)}
    stats |= {"tar_xxh3": digest, "rows_digest": tables.content_digest(path)}
    files.write_bytes(stats_path(folder, name), strict_json.dumps(stats, indent=1).encode() + b"\n")


def blank(rows: pa.Table, is_named: np.ndarray, is_last_pass: bool) -> pa.Table:
    """A shard's rows with those of ``is_named`` bool[N] reduced to their uid, key, attempts and end."""
    ends = zip(rows["error_class"].to_pylist(), rows["http_status"].to_pylist(), strict=True)
    was_retried = [error is not None and is_retryable(ErrorClass(error), code) for error, code in ends]
    ends_anew = pa.array(is_named & (is_last_pass | ~np.array(was_retried, bool)))
    columns, fields = [], []
    for field in rows.schema:
        column = rows[field.name]
        if field.name in _ENDED:
            column = pc.if_else(ends_anew, pa.scalar(_ENDED[field.name], field.type), column)
        elif field.name not in _KEPT:
            column = pc.if_else(pa.array(is_named), pa.scalar(_SAID.get(field.name), field.type), column)
        columns.append(column)
        fields.append(field.with_nullable(field.nullable or field.name not in SHARDS.columns))
    return pa.table(columns, pa.schema(fields))


def drop_samples(tar: str, places: pa.Table, is_gone: np.ndarray) -> tuple[str, np.ndarray]:
    """Rewrite a tar without the samples of ``is_gone`` bool[N]; one that was rewritten before is left as it is.

    ``places`` holds key, tar_offset and tar_size of every sample that the tar had. Returns the new tar's hex XXH3
    and the samples' offsets in it, int64[N], −1 for those that are gone. Raises InputError for another tar.
    """
    keys = places["key"].to_pylist()
    starts, sizes = (places[column].to_numpy() for column in ("tar_offset", "tar_size"))
    order = np.argsort(starts)
    kept = order[~is_gone[order]]
    offsets = np.full(len(keys), -1, np.int64)
    offsets[kept] = np.cumsum(sizes[kept]) - sizes[kept]
    gone = np.flatnonzero(is_gone).tolist()
    if _holds(tar, [keys[row] for row in gone], starts[gone]):
        return _copy(tar, starts[kept], sizes[kept]), offsets
    if _holds(tar, [keys[row] for row in kept], offsets[kept]):
        return files.xxh3_file(tar), offsets
    raise InputError(f"{tar}: not the tar that its Parquet describes; fix the shard first")


def _drop_from_tar(tar: str, rows: pa.Table, before: pa.Table, is_named: np.ndarray) -> tuple[str, pa.Table]:
    """Take the named samples of the rows ``before`` out of their tar; returns its digest, and ``rows`` with the
    offsets of the others in it."""
    has_image = before["tar_offset"].is_valid().to_numpy()
    if not (is_named & has_image).any():
        return files.xxh3_file(tar), rows
    digest, placed = drop_samples(tar, before.filter(pa.array(has_image)), is_named[has_image])
    offsets = np.full(len(rows), -1, np.int64)
    offsets[has_image] = placed
    column = rows.schema.get_field_index("tar_offset")
    values = pa.array(offsets, pa.int64(), mask=offsets < 0)
    return digest, rows.set_column(column, rows.schema.field(column), values)


def _holds(tar: str, keys: list[str], offsets: np.ndarray) -> bool:
    """Whether a sample of each key begins at its offset in the tar."""
    fs, inner = files.filesystem(tar)
    names = [f"{key}.".encode() for key in keys]
    ends = [start + len(name) for start, name in zip(offsets.tolist(), names, strict=True)]
    found = fs.cat_ranges([inner] * len(names), offsets.tolist(), ends, on_error="return")
    return found == names


def _copy(tar: str, starts: np.ndarray, sizes: np.ndarray) -> str:
    """Write the tar anew from byte ranges of itself; returns its hex XXH3."""
    digest, written = xxhash.xxh3_128(), 0
    with files.open_read(tar) as source, files.atomic_write(tar) as target:
        for start, end in _runs(starts, sizes):
            source.seek(start)
            while start < end:
                block = source.read(min(_BLOCK_BYTES, end - start))
                if not block:
                    raise InputError(f"{tar}: ends at byte {start}, within a sample; fix the shard first")
                start += len(block)
                written += target.write(block)
                digest.update(block)
        closing = end_of_archive(written)
        target.write(closing)
        digest.update(closing)
    return digest.hexdigest()


def _runs(starts: np.ndarray, sizes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Byte ranges in order, those that touch joined into one (start, end)."""
    ends = starts + sizes
    breaks = np.flatnonzero(starts[1:] != ends[:-1])
    firsts, lasts = np.append(0, breaks + 1), np.append(breaks, len(starts) - 1)
    if len(starts):
        yield from zip(starts[firsts].tolist(), ends[lasts].tolist(), strict=True)
