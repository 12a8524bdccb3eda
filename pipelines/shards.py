"""Writing a shard: a tar of its images, a Parquet of all its rows, and last its stats, which mark it as done.

The layout is img2dataset's webdataset output, so its incremental mode and webdataset read it. Equal rows make
equal bytes: members stand in input order, carry no times, owners or modes of this machine, and leave fields
that change from run to run (``fetched_at``) to the Parquet.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import IO, Any

import pyarrow as pa

from schemas import files, tables
from schemas.errors import InputError
from schemas.outcomes import ErrorClass, Status
from schemas.tables import SHARDS, TIME_COLUMNS

Row = dict[str, Any]
"""One row of the shards table, with whatever columns pass through."""

STATS_SUFFIX = "_stats.json"

_NOT_IN_JSON = TIME_COLUMNS | {"tar_offset", "tar_size"}


@dataclass(frozen=True)
class ShardStats:
    """`NNNNN_stats.json`: img2dataset's keys, then ours."""

    count: int
    successes: int
    failed_to_download: int
    failed_to_resize: int
    duration: float
    start_time: float
    end_time: float
    status_dict: dict[str, int]
    duplicates: int
    """Input rows left out because an earlier row has their uid; ``count`` leaves them out too."""
    error_classes: dict[str, int]
    tar_sha256: str
    rows_digest: str
    """`tables.content_digest` of the Parquet."""


class TarWriter:
    """Appends samples to a tar stream, and knows where each lies and the digest of all."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self._offset = 0

    def write(self, key: str, members: Mapping[str, bytes]) -> tuple[int, int]:
        """Append a sample's members, by extension, in order. Returns its (offset, size) in bytes."""
        start = self._offset
        for extension, data in members.items():
            self._append(tar_member(f"{key}.{extension}", data))
        return start, self._offset - start

    def close(self) -> str:
        """End the tar; returns its hex SHA-256."""
        end = self._offset + 2 * tarfile.BLOCKSIZE
        self._append(bytes(2 * tarfile.BLOCKSIZE + -end % tarfile.RECORDSIZE))
        return self._digest.hexdigest()

    def _append(self, data: bytes) -> None:
        self._stream.write(data)
        self._digest.update(data)
        self._offset += len(data)


def tar_member(name: str, data: bytes) -> bytes:
    """A member's header, content and padding (USTAR); name and content decide every byte."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)


class ShardWriter:
    """Takes a shard's rows in input order. Made by `open_shard`."""

    def __init__(self, tar: TarWriter, extra: pa.Table) -> None:
        self.tar = tar
        self.extra = extra
        self.rows: list[Row] = []

    def write(self, row: Row, jpeg: bytes | None) -> None:
        """Add the next row, and its image if it has one."""
        place: tuple[int | None, int | None] = None, None
        if jpeg is not None:
            passed = self.extra.slice(len(self.rows), 1).to_pylist()
            content = {name: value for name, value in row.items() if name not in _NOT_IN_JSON}
            text = json.dumps({**content, **(passed[0] if passed else {})}, ensure_ascii=False, default=str)
            members = {"jpg": jpeg, "txt": row["caption"].encode(), "json": text.encode()}
            place = self.tar.write(row["key"], members)
        self.rows.append({**row, "tar_offset": place[0], "tar_size": place[1]})

    def table(self) -> pa.Table:
        table = pa.Table.from_pylist(self.rows, SHARDS.schema)
        for name in self.extra.schema.names:
            table = table.append_column(name, self.extra[name])
        return table


@contextmanager
def open_shard(folder: str, name: str, extra: pa.Table, duplicates: int) -> Iterator[ShardWriter]:
    """Write one shard: the tar while the block runs; the Parquet and, last, the stats when it ends.

    ``extra`` holds the columns that pass through, one row for each row that will be written.
    """
    start_time = time.time()
    stem = files.join(folder, name)
    with files.atomic_write(f"{stem}.tar") as stream:
        writer = ShardWriter(TarWriter(stream), extra)
        yield writer
        tar_sha256 = writer.tar.close()
    tables.write_table(writer.table(), SHARDS, f"{stem}.parquet")
    stats = _stats(writer.rows, start_time, duplicates, tar_sha256, tables.content_digest(f"{stem}.parquet"))
    files.write_bytes(stats_path(folder, name), json.dumps(asdict(stats), indent=4).encode())


def stats_path(folder: str, name: str) -> str:
    return files.join(folder, name + STATS_SUFFIX)


def read_stats(path: str) -> ShardStats:
    """Read a finished shard's stats; a file that `open_shard` did not write is an InputError."""
    try:
        return ShardStats(**json.loads(files.read_bytes(path)))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: not the stats of a shard of clipsieve ({error})") from error


def _stats(rows: list[Row], start_time: float, duplicates: int, tar_sha256: str, rows_digest: str) -> ShardStats:
    statuses = Counter(row["status"] for row in rows)
    classes = Counter(row["error_class"] for row in rows if row["error_class"])
    end_time = time.time()
    return ShardStats(
        count=len(rows),
        successes=statuses[Status.SUCCESS.value],
        failed_to_download=statuses[Status.FAILED_TO_DOWNLOAD.value],
        failed_to_resize=statuses[Status.FAILED_TO_RESIZE.value],
        duration=end_time - start_time,
        start_time=start_time,
        end_time=end_time,
        status_dict=dict(sorted(Counter(map(_status_text, rows)).items())),
        duplicates=duplicates,
        error_classes=dict(sorted(classes.items())),
        tar_sha256=tar_sha256,
        rows_digest=rows_digest,
    )


def _status_text(row: Row) -> str:
    """How a row ended, in words that few rows do not share."""
    if row["error_class"] == ErrorClass.HTTP_ERROR.value:
        return f"{row['error_class']} {row['http_status']}"
    return row["error_class"] or row["status"]
