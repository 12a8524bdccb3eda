"""Writing a shard: a tar of its images, a Parquet of all its rows, and last its stats, which mark it as done.

The layout is img2dataset's webdataset output, so its incremental mode and webdataset read it. Equal rows make
equal bytes: members stand in input order, carry no times, owners or modes of this machine, and leave fields
that change from run to run (``fetched_at``) to the Parquet.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clipsieve.pipelines.shards.outcome_counts import OutcomeCounts, class_of, end_name, rows_of
from clipsieve.pipelines.shards.tars import TarWriter
from clipsieve.schemas import files, strict_json, tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.outcomes import ErrorClass, Status
from clipsieve.schemas.shards import STATS_SUFFIX
from clipsieve.schemas.tables import SHARDS, TIME_COLUMNS
from clipsieve.schemas.values import as_json, python_rows

INPUT_COLUMNS = ("caption", "url", "key", "uid")
"""Columns of the shards table that a row has before its URL is requested."""

_NOT_IN_JSON = TIME_COLUMNS | {"tar_offset", "tar_size"}
_IN_JSON = [name for name in SHARDS.columns if name not in _NOT_IN_JSON]
_GROUP_BYTES = 16 << 20


@dataclass(frozen=True)
class RowOutcome:
    """How one row ended."""

    columns: dict[str, Any]
    """Values of the shards table's columns that are not of the input; those left out are null."""
    image: bytes | None = None
    """The file to store; None for a row that failed."""


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
    tar_xxh3: str
    rows_digest: str
    """`tables.content_digest` of the Parquet."""


class ShardWriter:
    """Takes a shard's rows in input order. Made by `open_shard`.

    A row group of the Parquet ends after the call with which its input columns reach 16 MiB: no more is held, and
    equal calls make equal bytes.
    """

    def __init__(self, tar: TarWriter, parquet: pq.ParquetWriter, image_format: str) -> None:
        self._tar = tar
        self._parquet = parquet
        self._format = image_format
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = 0
        self.ends = OutcomeCounts()

    def write(self, rows: pa.Table, outcomes: Sequence[RowOutcome]) -> None:
        """Add the next rows, and the images of those that have one.

        ``rows`` holds `INPUT_COLUMNS` and what passes through, ``outcomes`` how each of them ended.
        """
        ended = [
            outcome.columns if outcome.image is None else self._write_sample(row, outcome.columns, outcome.image)
            for row, outcome in zip(python_rows(rows), outcomes, strict=True)
        ]
        columns = [
            rows[field.name]
            if field.name in rows.column_names
            else pa.array([row.get(field.name) for row in ended], field.type)
            for field in self._parquet.schema
        ]
        self._waiting.append(pa.table(columns, self._parquet.schema))
        self._waiting_bytes += rows.nbytes
        if self._waiting_bytes >= _GROUP_BYTES:
            self._write_row_group()
        self.ends.update(end_name(row.get("error_class"), row.get("http_status")) for row in ended)

    def close(self) -> str:
        """Write the rows that wait and end the tar; returns the tar's hex XXH3."""
        self._write_row_group()
        return self._tar.close()

    def _write_sample(self, row: dict[str, Any], outcome: dict[str, Any], image: bytes) -> dict[str, Any]:
        """Append a sample to the tar; returns its outcome with its place there."""
        content = {name: value for name, value in row.items() if name not in INPUT_COLUMNS}
        content |= {name: row[name] if name in row else outcome.get(name) for name in _IN_JSON}
        text = strict_json.dumps(content, ensure_ascii=False, default=as_json)
        members = {self._format: image, "json": text.encode(), "txt": row["caption"].encode()}
        # webdataset's writer, which is img2dataset's, sorts them by name.
        offset, size = self._tar.write(row["key"], dict(sorted(members.items())))
        return {**outcome, "tar_offset": offset, "tar_size": size}

    def _write_row_group(self) -> None:
        if self._waiting:
            self._parquet.write_table(pa.concat_tables(self._waiting))
            self._waiting, self._waiting_bytes = [], 0


@contextmanager
def open_shard(
    folder: str, name: str, passed: pa.Schema, duplicates: int, image_format: str = "jpg"
) -> Iterator[ShardWriter]:
    """Write one shard: tar and Parquet while the block runs; the stats, last, when it has ended.

    ``passed`` is the schema of the columns that pass through, ``duplicates`` the number of input rows left out.
    """
    start_time = time.time()
    stem = files.join(folder, name)
    schema = pa.schema([*passed, *SHARDS.schema])
    with (
        files.atomic_write(f"{stem}.parquet") as rows_stream,
        pq.ParquetWriter(rows_stream, schema, compression="zstd") as parquet,
        files.atomic_write(f"{stem}.tar") as tar_stream,
    ):
        writer = ShardWriter(TarWriter(tar_stream), parquet, image_format)
        yield writer
        tar_xxh3 = writer.close()
    end_time = time.time()
    stats = ShardStats(
        **count_ends(writer.ends),
        duration=end_time - start_time,
        start_time=start_time,
        end_time=end_time,
        duplicates=duplicates,
        tar_xxh3=tar_xxh3,
        rows_digest=tables.content_digest(f"{stem}.parquet"),
    )
    write_stats(folder, name, stats)


def stats_path(folder: str, name: str) -> str:
    return files.join(folder, name + STATS_SUFFIX)


def read_stats(path: str) -> ShardStats:
    """Read a finished shard's stats; a file that `open_shard` did not write is an InputError."""
    try:
        return ShardStats(**json.loads(files.read_bytes(path)))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: not the stats of a shard of clipsieve ({error})") from error


def write_stats(folder: str, name: str, stats: ShardStats) -> None:
    files.write_bytes(stats_path(folder, name), strict_json.dumps(asdict(stats), indent=4).encode())


def count_ends(ends: OutcomeCounts) -> dict[str, Any]:
    """The fields of `ShardStats` that count a shard's rows by how they ended."""
    classes: Counter[str] = Counter()
    for name, rows in ends.items():
        classes[class_of(name)] += rows
    successes = classes.pop(Status.SUCCESS.value, 0)
    statuses: Counter[Status] = Counter()
    for name, rows in classes.items():
        statuses[ErrorClass(name).status] += rows
    return {
        "count": rows_of(ends),
        "successes": successes,
        "failed_to_download": statuses[Status.FAILED_TO_DOWNLOAD],
        "failed_to_resize": statuses[Status.FAILED_TO_RESIZE],
        "status_dict": dict(sorted(ends.items())),
        "error_classes": dict(sorted(classes.items())),
    }
