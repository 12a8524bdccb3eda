"""The input table: which of its columns are URL, caption and uid, and its rows as every later step sees them.

Parquet is read where it lies, and planned from its footers alone; CSV, TSV and JSONL are copied to Parquet
first (pairs_text.py). Column names are looked up exactly first, then without regard to case, so that the
tables of LAION (``URL``, ``TEXT``), COYO and DataComp (``url``, ``text``, ``uid``) are read as they are. All
other columns pass through; one that is named like a column of the shards table (as DataComp's
``original_width``) is kept as ``source_original_width``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from pipelines.download_plan import Slice
from schemas import files
from schemas.errors import InputError
from schemas.tables import SHARDS, open_parquet
from schemas.uid import UID_PATTERN

URL_NAMES = ("url", "URL")
CAPTION_NAMES = ("caption", "text", "TEXT", "alt")
UID_NAMES = ("uid",)
SOURCE_PREFIX = "source_"

_FOOTER_THREADS = 16
_BATCH_ROWS = 16_384


@dataclass(frozen=True)
class Columns:
    """The names of an input's columns, by what they are for."""

    url: str
    caption: str
    uid: str | None
    extra: tuple[tuple[str, str], ...]
    """(name in the input, name in the shards) of each column that passes through."""


@dataclass(frozen=True)
class PairsTable:
    """A Parquet input, known from its footers: nothing of its rows has been read."""

    columns: Columns
    row_groups: tuple[tuple[str, int], ...]
    """(file, rows) of every row group, in input order."""

    @property
    def rows(self) -> int:
        return sum(rows for _, rows in self.row_groups)


def find_columns(names: Sequence[str], path: str) -> Columns:
    """Tell the columns of an input apart by their names.

    Raises InputError when URL or caption is missing, or two columns would end under one name.
    """
    url = _find(names, URL_NAMES)
    caption = _find(names, CAPTION_NAMES)
    if url is None or caption is None:
        wanted, *others = URL_NAMES if url is None else CAPTION_NAMES
        has = ", ".join(names)
        raise InputError(f"{path}: column {wanted!r} is missing (or {', '.join(others)}); it has: {has}")
    uid = _find(names, UID_NAMES)
    rest = [name for name in names if name not in (url, caption, uid)]
    extra = tuple((name, SOURCE_PREFIX + name if name in SHARDS.columns else name) for name in rest)
    for group in (list(names), [kept for _, kept in extra]):
        twice = [name for name in group if group.count(name) > 1]
        if twice:
            raise InputError(f"{path}: two columns would be named {twice[0]!r}; rename one of them")
    return Columns(url, caption, uid, extra)


def parquet_files(pairs: str) -> list[str]:
    """The Parquet files of ``pairs``, a file or a folder, in name order."""
    fs, inner = files.filesystem(pairs)
    if not fs.isdir(inner):
        return [pairs]
    found = files.list_files(pairs, ".parquet")
    if not found:
        raise InputError(f"{pairs}: no .parquet file in this folder")
    return found


def open_pairs(paths: Sequence[str]) -> PairsTable:
    """Read the footers of Parquet files that together are one table.

    Raises InputError when a column is missing, the files' columns differ, or there is no row at all.
    """
    with ThreadPoolExecutor(_FOOTER_THREADS) as pool:
        footers = list(pool.map(_footer, paths))
    first = footers[0][0]
    for path, (schema, _) in zip(paths, footers, strict=True):
        if not schema.equals(first):
            raise InputError(f"{path}: its columns or their types differ from those of {paths[0]}")
    columns = find_columns(first.names, paths[0])
    groups = [(path, rows) for path, (_, counts) in zip(paths, footers, strict=True) for rows in counts if rows]
    if not groups:
        raise InputError(f"{paths[0]}: the table has no rows")
    return PairsTable(columns, tuple(groups))


def iter_rows(slices: Sequence[Slice], columns: Columns, with_extra: bool = True) -> Iterator[pa.Table]:
    """Stream the rows of ``slices`` as tables of ``url``, ``caption``, ``uid`` if there is one, and the rest.

    url and caption are strings, null read as "". Only the row groups that a slice touches are read. Raises
    InputError, naming file and row, where text is not UTF-8 or a uid is not 32 hex digits.
    """
    for piece in slices:
        row = piece.start
        for batch in _read_slice(piece, columns, with_extra):
            yield canonical(batch, columns, piece.file, row, with_extra)
            row += batch.num_rows


def canonical(batch: pa.RecordBatch, columns: Columns, path: str, row: int, with_extra: bool = True) -> pa.Table:
    """A batch of the input under canonical names; ``row`` rows of ``path`` stand before it."""
    named = {
        "url": _text(batch, columns.url, path, row),
        "caption": _text(batch, columns.caption, path, row),
    }
    if columns.uid is not None:
        named["uid"] = _uids(batch, columns.uid, path, row)
    if with_extra:
        named |= {kept: batch[name] for name, kept in columns.extra}
    return pa.table(named)


def _find(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    exact = [name for name in wanted if name in names]
    lowered = [name for want in wanted for name in names if name.lower() == want.lower()]
    return next(iter(exact + lowered), None)


def _footer(path: str) -> tuple[pa.Schema, list[int]]:
    with open_parquet(path) as parquet:
        groups = [parquet.metadata.row_group(index).num_rows for index in range(parquet.num_row_groups)]
        return parquet.schema_arrow.remove_metadata(), groups


def _read_slice(piece: Slice, columns: Columns, with_extra: bool) -> Iterator[pa.RecordBatch]:
    wanted = [name for name in (columns.url, columns.caption, columns.uid) if name is not None]
    if with_extra:
        wanted += [name for name, _ in columns.extra]
    with open_parquet(piece.file) as parquet:
        groups, skip, end = [], piece.start, 0
        for index in range(parquet.num_row_groups):
            start, end = end, end + parquet.metadata.row_group(index).num_rows
            if end <= piece.start:
                skip = piece.start - end
            elif start < piece.start + piece.count:
                groups.append(index)
        left = piece.count
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, row_groups=groups, columns=wanted):
            part = batch.slice(skip, left)
            skip, left = max(0, skip - batch.num_rows), left - part.num_rows
            if part.num_rows:
                yield part
            if not left:
                return


def _text(batch: pa.RecordBatch, name: str, path: str, row: int) -> pa.Array:
    try:
        text = batch[name].cast(pa.string())
        text.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        bad = _first_undecodable(batch[name])
        where = f"row {row + bad + 1}: " if bad is not None else ""
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: {where}column {name!r} is not UTF-8 text ({reason})") from error
    return text.fill_null("")


def _first_undecodable(column: pa.Array) -> int | None:
    for index in range(len(column)):
        try:
            column[index].as_py()
        except UnicodeDecodeError:
            return index
    return None


def _uids(batch: pa.RecordBatch, name: str, path: str, row: int) -> pa.Array:
    uids = _text(batch, name, path, row)
    for index, uid in enumerate(uids.to_pylist()):
        if not UID_PATTERN.fullmatch(uid):
            raise InputError(
                f"{path}: row {row + index + 1}: {name} {uid[:40]!r} is not 32 hex digits in lower case; "
                "mend it, or rename the column to have uids computed"
            )
    return uids
