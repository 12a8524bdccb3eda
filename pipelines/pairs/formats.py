"""Which kind of table a file is, told by its name, and its text as a stream, whatever it is compressed with."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import pyarrow as pa

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError, one_line

DELIMITERS = {"csv": ",", "tsv": "\t"}
_KINDS = {"csv": "csv", "tsv": "tsv", "tab": "tsv", "jsonl": "jsonl", "ndjson": "jsonl", "json": "json"}
_COMPRESSIONS = {"gz": "gzip", "zst": "zstd"}
_PARQUET = ("parquet", "pq")
_PARQUET_MARK = b"PAR1"
_TAKEN = "Parquet, CSV, TSV, JSON or JSONL, the texts also as .gz or .zst"


@dataclass(frozen=True)
class TextFormat:
    """How a table is written as text."""

    kind: str
    """csv, tsv, jsonl or json."""
    compression: str | None


def text_format(path: str, columns: Sequence[str] = ()) -> TextFormat | None:
    """The format of a text table, by the ends of its name in any case; None of Parquet, and of a folder.

    Raises InputError for a file of any other kind, for a list of URLs, which has no captions, for a Parquet file that
    is named as a text, and where ``columns`` names the columns of a table that names them itself.
    """
    form = _text_format(path)
    if columns and (form is None or form.kind not in DELIMITERS):
        raise InputError(f"{path}: its columns have names; `columns` is for a CSV or TSV that has no header")
    return form


def _text_format(path: str) -> TextFormat | None:
    ends = ["", "", *files.name_of(path).lower().split(".")[1:]]
    compression = _COMPRESSIONS.get(ends[-1])
    suffix = ends[-2] if compression else ends[-1]
    if suffix in _PARQUET or not _is_file(path):
        return None
    kind = _KINDS.get(suffix)
    if _is_parquet(path):
        if kind:
            raise InputError(f"{path}: is a Parquet file; name it .parquet")
        return None
    if kind is None:
        raise InputError(f"{path}: {_why_not(suffix)}")
    return TextFormat(kind, compression)


@contextmanager
def open_text(path: str, compression: str | None) -> Iterator[IO[bytes]]:
    """Open a text table as the bytes that it is without its compression; one that is damaged is an InputError."""
    with files.open_read(path) as stream:
        if compression is None:
            yield stream
            return
        try:
            with pa.CompressedInputStream(stream, compression) as plain:
                yield io.BufferedReader(plain)
        except OSError as error:
            raise InputError(f"{path}: cannot be read as {compression} ({one_line(error)}); copy it again") from error


def _is_file(path: str) -> bool:
    fs, inner = files.filesystem(path)
    return bool(fs.isfile(inner))


def _is_parquet(path: str) -> bool:
    with files.open_read(path) as stream:
        return stream.read(len(_PARQUET_MARK)) == _PARQUET_MARK


def _why_not(suffix: str) -> str:
    if suffix == "txt":
        return (
            "a list of URLs has no captions; write a table with a caption for each, as TSV, and name its columns with "
            "a header or `columns`"
        )
    kind = f".{suffix} is" if suffix else "a file without suffix is"
    return f"{kind} not a table that is read here: {_TAKEN}"
