"""CSV, TSV and JSONL inputs, copied to Parquet as a stream, every column as text.

Types are not guessed from the first rows: a later row could belie them. A JSON value that is not a string is
kept as its JSON. A row that cannot be read is an InputError that names it; none is skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from clipsieve.pipelines.pairs.quotes import refuse_open_quotes
from clipsieve.pipelines.pairs.table import canonical, find_columns
from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*DELIMITERS, ".jsonl")

_BLOCK_BYTES = 16 << 20
_BLOCK_ROWS = 16_384
_PARQUET_MARK = b"PAR1"


def is_text_table(path: str) -> bool:
    return path.endswith(SUFFIXES)


def text_to_parquet(path: str, target: str) -> None:
    """Copy a text table to the Parquet file ``target``, which is there whole or not at all."""
    _refuse_parquet(path)
    is_json = path.endswith(".jsonl")
    if not is_json:
        refuse_open_quotes(path, _delimiter(path))
    names = _jsonl_names(path) if is_json else _csv_names(path)
    columns = find_columns(names, path)
    schema = pa.schema([(name, pa.string()) for name in names])
    first = row = 0 if is_json else 1  # a message counts the header, as pyarrow's own do
    with files.atomic_write(target) as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for batch in _iter_jsonl(path, schema) if is_json else _iter_csv(path, schema):
            canonical(batch, columns, path, row)
            writer.write_batch(batch)
            row += batch.num_rows
        if row == first:
            raise InputError(f"{path}: the table has no rows")


def _refuse_parquet(path: str) -> None:
    with files.open_read(path) as stream:
        if stream.read(len(_PARQUET_MARK)) == _PARQUET_MARK:
            raise InputError(f"{path}: is a Parquet file; name it .parquet")


def _csv_names(path: str) -> list[str]:
    """The header's names; pyarrow reads one block for them, in which other rows may be wrong for now."""
    parse = _csv_parse_options(path)
    parse.invalid_row_handler = lambda row: "skip"
    with files.open_read(path) as stream:
        try:
            return list(pa_csv.open_csv(stream, parse_options=parse).schema.names)
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise InputError(f"{path}: {_one_line(error)}") from error


def _iter_csv(path: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    # One thread: with more, pyarrow cannot say which row it could not read.
    read = pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES)
    convert = pa_csv.ConvertOptions(column_types=schema)
    with files.open_read(path) as stream:
        try:
            yield from pa_csv.open_csv(stream, read, _csv_parse_options(path), convert)
        except pa.ArrowInvalid as error:
            raise InputError(f"{path}: {_one_line(error)} (row 1 is the header)") from error


def _csv_parse_options(path: str) -> pa_csv.ParseOptions:
    return pa_csv.ParseOptions(delimiter=_delimiter(path), newlines_in_values=True)


def _delimiter(path: str) -> str:
    return DELIMITERS[path[path.rindex(".") :]]


def _jsonl_names(path: str) -> list[str]:
    """Every name that any object of the file has, in the order in which they first appear."""
    names: dict[str, None] = {}
    for row in _parse_jsonl(path):
        names.update(dict.fromkeys(row))
    return list(names)


def _iter_jsonl(path: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    block: list[dict[str, str | None]] = []
    chars = 0
    for row in _parse_jsonl(path):
        block.append(row)
        chars += sum(len(text) for text in row.values() if text)
        if len(block) == _BLOCK_ROWS or chars >= _BLOCK_BYTES:
            yield pa.RecordBatch.from_pylist(block, schema)
            block, chars = [], 0
    if block:
        yield pa.RecordBatch.from_pylist(block, schema)


def _parse_jsonl(path: str) -> Iterator[dict[str, str | None]]:
    with files.open_read(path) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
                if not isinstance(row, dict):
                    raise ValueError(f"a JSON {type(row).__name__}, not an object")
                yield {_encodable(name): _as_text(value) for name, value in row.items()}
            except (ValueError, RecursionError) as error:
                reason = _one_line(error)
                raise InputError(f"{path}: row {number}: not a JSON object in UTF-8 ({reason})") from error


def _as_text(value: object) -> str | None:
    if value is None:
        return None
    return _encodable(value) if isinstance(value, str) else json.dumps(value)


def _encodable(text: str) -> str:
    """``text``, if it is Unicode: JSON can spell half a surrogate pair, which is not."""
    text.encode()
    return text


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
