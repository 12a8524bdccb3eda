"""CSV, TSV and JSON inputs, copied to Parquet as a stream, every column as text.

Types are not guessed from the first rows: a later row could belie them. A JSON value that is not a string is
kept as its JSON. A row that cannot be read is an InputError that names it; none is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from clipsieve.pipelines.pairs.formats import DELIMITERS, TextFormat, open_text
from clipsieve.pipelines.pairs.json_rows import Row, iter_json_rows
from clipsieve.pipelines.pairs.quotes import has_quoted_fields, refuse_open_quotes
from clipsieve.pipelines.pairs.table import URL_NAMES, canonical, find_columns
from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError

_BLOCK_BYTES = 16 << 20
_BLOCK_ROWS = 16_384


@dataclass(frozen=True)
class TextTable:
    """A table written as text, as it is to be read."""

    path: str
    form: TextFormat
    names: tuple[str, ...] = ()
    """Of the columns, where it has no header; of JSON none."""
    is_quoted: bool = False
    """Whether a quote around a field is none of its characters."""


def text_to_parquet(
    path: str, form: TextFormat, target: str, names: Sequence[str] = (), urls: Sequence[str] = URL_NAMES
) -> None:
    """Copy a text table to the Parquet file ``target``, which is there whole or not at all.

    ``names`` are those of the columns of a CSV or TSV that has no header, ``urls`` those that its column of URLs may
    have.
    """
    if form.kind in DELIMITERS:
        table, has = _delimited(path, form, names)
        batches: Callable[[pa.Schema], Iterator[pa.RecordBatch]] = partial(_iter_csv, table)
        first = 0 if table.names else 1  # a message counts the header, as pyarrow's own do
    else:
        has = _json_names(path, form)
        batches = partial(_iter_json, path, form)
        first = 0
    columns = find_columns(has, path, urls=urls)
    schema = pa.schema([(name, pa.string()) for name in has])
    row = first
    with files.atomic_write(target) as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for batch in batches(schema):
            canonical(batch, columns, path, row)
            writer.write_batch(batch)
            row += batch.num_rows
        if row == first:
            raise InputError(f"{path}: the table has no rows")


def _delimited(path: str, form: TextFormat, names: Sequence[str]) -> tuple[TextTable, Sequence[str]]:
    """How a CSV or TSV is to be read, and the names of its columns."""
    if form.kind == "csv":
        refuse_open_quotes(path, form)
    is_quoted = form.kind == "csv" or has_quoted_fields(path, form)
    table = TextTable(path, form, is_quoted=is_quoted)
    header = _header(table)
    if not names:
        if any(name.lower().startswith(("http://", "https://")) for name in header):
            raise InputError(f"{path}: its first line has a URL, so it has no header; name its columns with `columns`")
        return table, header
    if len(names) != len(header):
        raise InputError(f"{path}: its first line has {len(header)} columns; `columns` names {len(names)}")
    if [name.lower() for name in names] == [name.lower() for name in header]:
        return table, header  # there is a header, and it says the same
    return TextTable(path, form, tuple(names), is_quoted), names


def _header(table: TextTable) -> list[str]:
    """The first line's fields; pyarrow reads one block for them, in which other rows may be wrong for now."""
    parse = _parse_options(table)
    parse.invalid_row_handler = lambda row: "skip"
    with open_text(table.path, table.form.compression) as stream:
        try:
            return list(pa_csv.open_csv(stream, parse_options=parse).schema.names)
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise InputError(f"{table.path}: {_one_line(error)}") from error


def _iter_csv(table: TextTable, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    # One thread: with more, pyarrow cannot say which row it could not read.
    read = pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES, column_names=table.names or None)
    convert = pa_csv.ConvertOptions(column_types=schema)
    with open_text(table.path, table.form.compression) as stream:
        try:
            yield from pa_csv.open_csv(stream, read, _parse_options(table), convert)
        except pa.ArrowInvalid as error:
            header = "" if table.names else " (row 1 is the header)"
            raise InputError(f"{table.path}: {_one_line(error)}{header}") from error


def _parse_options(table: TextTable) -> pa_csv.ParseOptions:
    quote = '"' if table.is_quoted else False
    return pa_csv.ParseOptions(
        delimiter=DELIMITERS[table.form.kind], quote_char=quote, newlines_in_values=table.is_quoted
    )


def _json_names(path: str, form: TextFormat) -> list[str]:
    """Every name that any object of the file has, in the order in which they first appear."""
    names: dict[str, None] = {}
    for row in iter_json_rows(path, form):
        names.update(dict.fromkeys(row))
    return list(names)


def _iter_json(path: str, form: TextFormat, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    block: list[Row] = []
    chars = 0
    for row in iter_json_rows(path, form):
        block.append(row)
        chars += sum(len(text) for text in row.values() if text)
        if len(block) == _BLOCK_ROWS or chars >= _BLOCK_BYTES:
            yield pa.RecordBatch.from_pylist(block, schema)
            block, chars = [], 0
    if block:
        yield pa.RecordBatch.from_pylist(block, schema)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
