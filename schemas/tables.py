"""The Arrow schema of every table that passes between packages, and the only way in which they are read and written.

A table may carry further columns: they pass through. A reader refuses a file that lacks a column that its stage
needs, or holds it in a type that cannot be read as the schema's, and names both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.text_buffers import text_bytes
from clipsieve.schemas.uid import uid_text
from clipsieve.schemas.values import python_values


@dataclass(frozen=True)
class Table:
    """One kind of table: its name in messages, and its columns in order with a sentence on each."""

    name: str
    schema: pa.Schema
    extra_first: bool = False
    """Whether columns that pass through stand before the table's own, as img2dataset has them."""

    @property
    def columns(self) -> list[str]:
        return list(self.schema.names)

    def describe(self) -> dict[str, str]:
        return {field.name: field.metadata[b"doc"].decode() for field in self.schema}


# A description lies in the metadata of every table that is written: another wording makes other bytes.
def column(name: str, dtype: pa.DataType, doc: str, nullable: bool = True) -> pa.Field:
    """A column of a `Table`, with what it holds in a sentence."""
    return pa.field(name, dtype, nullable=nullable, metadata={"doc": doc})


_UID = column("uid", pa.string(), "32 hex digits: the pair's identity (schemas/uid.py)", nullable=False)
_SIMILARITY = column("similarity", pa.float32(), "cosine similarity of image and caption under the reference")
_QUANTILE = column(
    "quantile_rank",
    pa.float64(),
    "share of the eligible pairs that rank above; 0 is the best; exact at every cut, interpolated between them",
)

PAIRS = Table(
    "pairs",
    pa.schema([_UID, column("url", pa.string(), "where the image is"), column("caption", pa.string(), "its text")]),
)

SHARDS = Table(
    "shards",
    pa.schema(
        [
            column("caption", pa.string(), "the pair's text"),
            column("url", pa.string(), "where the image was asked for"),
            column(
                "key",
                pa.string(),
                "name of the sample in its tar: shard number, then row number in the shard",
            ),
            column("status", pa.string(), "success, failed_to_download or failed_to_resize (img2dataset's words)"),
            column("error_message", pa.string(), "what went wrong, for a person; null on success"),
            column("width", pa.int32(), "pixels of the stored image"),
            column("height", pa.int32(), "pixels of the stored image"),
            column("original_width", pa.int32(), "pixels of the image as downloaded"),
            column("original_height", pa.int32(), "pixels of the image as downloaded"),
            column("exif", pa.string(), "EXIF tags of the downloaded image as JSON; null where unreadable"),
            column("sha256", pa.string(), "hex digest of the bytes as downloaded"),
            _UID,
            column("final_url", pa.string(), "the URL that answered, after redirects"),
            column("http_status", pa.int32(), "status code of the last answer"),
            column("error_class", pa.string(), "the failure's class (schemas/outcomes.py); null on success"),
            column("consent", pa.string(), "what decided whether the image may be used (schemas/outcomes.py)"),
            column("attempts", pa.int32(), "how many times the URL was asked for"),
            column("fetched_at", pa.timestamp("us", tz="UTC"), "when the last answer ended"),
            column("content_type", pa.string(), "Content-Type as the server sent it"),
            column("byte_size", pa.int64(), "bytes downloaded"),
            column("phash", pa.string(), "64-bit perceptual hash of the stored pixels before encoding, 16 hex digits"),
            column("tar_offset", pa.int64(), "where the sample's first member header begins in its tar"),
            column(
                "tar_size",
                pa.int64(),
                "bytes from there to the end of the sample's last member, padding included",
            ),
        ]
    ),
    extra_first=True,
)

DEAD_LETTERS = Table(
    "dead letters",
    pa.schema(
        [
            _UID,
            column("url", pa.string(), "where the image was asked for"),
            column("stage", pa.string(), "fetch: no sound answer came; image: it is not an image that may be kept"),
            column("error_class", pa.string(), "the failure's class (schemas/outcomes.py)"),
            column("http_status", pa.int32(), "status code of the last answer"),
            column("consent", pa.string(), "what decided whether the image may be used (schemas/outcomes.py)"),
            column("retryable", pa.bool_(), "whether another pass can end differently"),
        ]
    ),
)

SCORES = Table(
    "scores",
    pa.schema(
        [
            _UID,
            column("shard", pa.string(), "name of the shard, without suffix"),
            column("key", pa.string(), "name of the sample in its shard"),
            _SIMILARITY,
            column("reference", pa.string(), "digest of the reference's weights, preprocessing and tokenizer"),
            column("precision", pa.string(), "what the reference computed in: fp32 or bf16; null: not by us"),
            column("caption_chars", pa.int32(), "characters in the caption"),
            column("caption_words", pa.int32(), "words in the caption, split at white space"),
            column("language", pa.string(), "ISO 639-1 code; null where no language identifier ran"),
        ]
    ),
)

DRIFT = Table(
    "drift",
    pa.schema(
        [
            _UID,
            column("drift", pa.string(), "what the image is next to the published one (schemas/drift.py)"),
            column("drift_reason", pa.string(), "what says so, for a person"),
            column("host", pa.string(), "of the URL, in lower case; null: it has none"),
            column("copies", pa.int32(), "different URLs that show this very image"),
            column("similarity_change", pa.float32(), "similarity less the published one; null: one is not known"),
            column("image_cosine", pa.float32(), "of own and published image embedding; null: one is not known"),
        ]
    ),
)

FILTERS = Table(
    "filters",
    pa.schema(
        [
            _UID,
            column("reject_reason", pa.string(), "the first rule that rejects the pair; null: kept"),
        ]
    ),
)
"""Behind these, a column of bool for each rule: whether it rejects the pair, whatever the others do."""

DEDUP = Table(
    "dedup",
    pa.schema(
        [
            _UID,
            column("duplicate_of", pa.string(), "uid of the pair kept in its stead, or TASK:KEY; null: kept"),
            column("method", pa.string(), "what found the two alike; null: kept"),
        ]
    ),
)

SELECTION = Table(
    "selection",
    pa.schema(
        [
            _UID,
            _SIMILARITY,
            _QUANTILE,
            column("reject_reason", pa.string(), "why the pair may not be selected; null: eligible"),
            column("duplicate_of", pa.string(), "uid of the pair kept in its stead; null: none"),
            column(
                "sample_rank",
                pa.float64(),
                "seeded hash of the uid in [0, 1): the order in which pairs are drawn",
            ),
        ]
    ),
)

SUBSET = Table("subset", pa.schema([_UID, _SIMILARITY, _QUANTILE]))

TRAIN_LOG_NAME = "log.parquet"
TRAIN_LOG = Table(
    "training log",
    pa.schema(
        [
            column("step", pa.int64(), "steps done", nullable=False),
            column("samples_seen", pa.int64(), "pairs trained on, repeats included", nullable=False),
            column("epoch", pa.float64(), "samples_seen by the pairs of the subset", nullable=False),
            column("loss", pa.float64(), "mean over the step's batch; its parts follow the table", nullable=False),
            column("learning_rate", pa.float64(), "of the step", nullable=False),
            column("logit_scale", pa.float64(), "what the cosines are multiplied by", nullable=False),
            column("temperature", pa.float64(), "1 / logit_scale", nullable=False),
            column("grad_norm", pa.float64(), "of all gradients, before clipping", nullable=False),
            column("samples_per_second", pa.float64(), "since the row before", nullable=False),
            column("data_wait_share", pa.float64(), "share of that time spent waiting for data", nullable=False),
            column("resident_bytes", pa.int64(), "most memory that the first process held", nullable=False),
            column("device_bytes", pa.int64(), "most GPU memory that it held; null: on a CPU"),
            column("gflops", pa.float64(), "spent on training so far, as the ledger counts, / 10^9", nullable=False),
            column("mfu", pa.float64(), "FLOP/s by the devices' bf16 peak; null: the peak is not known"),
            column("bad_samples", pa.int64(), "different samples so far that could not be read; null: none"),
        ]
    ),
)

ROW_GROUP_ROWS = 65_536
_STREAMED_BYTES = 1 << 20
# Columns and stats keys that hold times: the only things in which two runs of one recipe may differ (law 2).
TIME_COLUMNS = frozenset({"fetched_at"})


def check_columns(schema: pa.Schema, table: Table, path: str, columns: Sequence[str] | None = None) -> None:
    """Raise InputError when a file of ``schema`` lacks one of ``columns`` (default: all of the table's)."""
    missing = [name for name in columns or table.columns if name not in schema.names]
    if missing:
        wanted = ", ".join(repr(name) for name in missing)
        raise InputError(f"{path}: column {wanted} is missing ({table.name} table); it has: {', '.join(schema.names)}")


def with_text_uids(rows: pa.RecordBatch | pa.Table) -> pa.RecordBatch | pa.Table:
    """``rows``, the uids among them as text where they are 16 bytes each."""
    place = rows.schema.get_field_index(_UID.name)
    if place < 0 or (uids := uid_text(rows.column(place))) is rows.column(place):
        return rows
    return rows.set_column(place, _UID.name, uids)


def conform(data: pa.Table, table: Table, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The table's own columns in order and type; further columns as they are, after or before them."""
    check_columns(data.schema, table, path, columns)
    own = [field for field in table.schema if field.name in data.schema.names]
    extra = [name for name in data.schema.names if name not in table.schema.names]
    arrays = []
    for field in own:
        try:
            column = uid_text(data[field.name]) if field.name == _UID.name else data[field.name]
            arrays.append(column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: column {field.name!r} cannot be read as {field.type}: {reason}") from error
    passed = [data[name] for name in extra]
    fields = [data.schema.field(name) for name in extra]
    if table.extra_first:
        return pa.table([*passed, *arrays], schema=pa.schema(fields + own))
    return pa.table([*arrays, *passed], schema=pa.schema(own + fields))


@contextmanager
def open_parquet(path: str, streamed: bool = False) -> Iterator[pq.ParquetFile]:
    """A Parquet file open for reading; a file that is missing, foreign or damaged anywhere is an InputError.

    ``streamed``: of a row group that is read in batches some pages of each column are held, not all of it.
    """
    piecewise = {"buffer_size": _STREAMED_BYTES, "pre_buffer": False} if streamed else {}
    with files.open_read(path) as stream:
        try:
            yield pq.ParquetFile(stream, **piecewise)
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from error


def read_table(path: str, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a whole Parquet file, or only ``columns`` of it, which must be there."""
    with open_parquet(path) as parquet:
        check_columns(parquet.schema_arrow, table, path, columns)
        data = parquet.read(columns=list(columns) if columns else None)
    return conform(data, table, path, columns)


def iter_batches(
    path: str, table: Table, columns: Sequence[str] | None = None, batch_size: int = 65_536
) -> Iterator[pa.RecordBatch]:
    """Stream a Parquet file's record batches; memory is bounded by a row group."""
    with open_parquet(path) as parquet:
        check_columns(parquet.schema_arrow, table, path, columns)
        wanted = list(columns) if columns else None
        for batch in parquet.iter_batches(batch_size, columns=wanted, use_threads=False):  # a job has workers enough
            yield with_text_uids(batch)


def write_table(data: pa.Table, table: Table, path: str, columns: Sequence[str] | None = None) -> None:
    """Write a whole table atomically; the bytes depend on the values alone.

    It must have ``columns`` (default: all of the table's).
    """
    with files.atomic_write(path) as stream:
        pq.write_table(conform(data, table, path, columns), stream, compression="zstd")


@contextmanager
def table_writer(table: Table, path: str) -> Iterator[Callable[[pa.Table], None]]:
    """Write a table atomically as a stream: a function that appends rows, however many at a time.

    Row groups are of one size, so the bytes depend on the rows alone, not on the pieces in which they came.
    """
    with (
        files.atomic_write(path) as stream,
        pq.ParquetWriter(stream, table.schema, compression="zstd", use_dictionary=_repeating(table.schema)) as writer,
    ):
        waiting = table.schema.empty_table()

        def write(rows: pa.Table) -> None:
            nonlocal waiting
            waiting = pa.concat_tables([waiting, conform(rows, table, path)])
            whole = len(waiting) - len(waiting) % ROW_GROUP_ROWS
            if whole:
                writer.write_table(waiting.slice(0, whole), ROW_GROUP_ROWS)
                waiting = waiting.slice(whole)

        yield write
        writer.write_table(waiting)


def filter_rows(path: str, is_kept: Callable[[pa.RecordBatch], np.ndarray]) -> None:
    """Rewrite a Parquet file, as a stream, with the rows of each batch for which ``is_kept`` gives True, bool[N]."""
    with (
        open_parquet(path, streamed=True) as parquet,
        files.atomic_write(path) as stream,
        pq.ParquetWriter(
            stream, parquet.schema_arrow, compression="zstd", use_dictionary=_repeating(parquet.schema_arrow)
        ) as writer,
    ):
        for batch in parquet.iter_batches(ROW_GROUP_ROWS, use_threads=False):
            writer.write_batch(batch.filter(pa.array(is_kept(batch))), ROW_GROUP_ROWS)


def _repeating(schema: pa.Schema) -> list[str]:
    """The columns that a dictionary of their values can make smaller: uids and real numbers hardly repeat."""
    return [field.name for field in schema if field.name != "uid" and not pa.types.is_floating(field.type)]


def content_digest(path: str) -> str:
    """Hex SHA-256 of a Parquet file's names, types and values, its time columns left out.

    Unlike a digest of the bytes it outlives another compression or writer version; row groups count.
    """
    digest = hashlib.sha256()
    with open_parquet(path) as parquet:
        columns = [name for name in parquet.schema_arrow.names if name not in TIME_COLUMNS]
        digest.update(repr([(name, str(parquet.schema_arrow.field(name).type)) for name in columns]).encode())
        for batch in parquet.iter_batches(8192, columns=columns, use_threads=False):
            for column in batch.columns:
                _update_with_values(digest, column)
    return digest.hexdigest()


def _update_with_values(digest: hashlib._Hash, column: pa.Array) -> None:
    digest.update(pc.is_valid(column).cast(pa.uint8()).to_numpy(zero_copy_only=False).tobytes())
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        lengths = pc.binary_length(column).fill_null(0)
        digest.update(lengths.cast(pa.int64()).to_numpy(zero_copy_only=False).tobytes())
        digest.update(text_bytes(column.drop_null()))
    elif pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        digest.update(column.fill_null(0).to_numpy(zero_copy_only=False).tobytes())
    else:
        digest.update(repr(python_values(column)).encode())
