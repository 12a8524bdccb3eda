"""The input table: which of its columns are URL, caption and uid, and its rows as every later step sees them.

Parquet is read where it lies, and planned from its footers alone, the files of a folder as one table (unify.py); CSV,
TSV and JSON are copied to Parquet first (text.py). Column names are looked up exactly first, then without regard to
case, so that the tables of LAION (``URL``, ``TEXT``), COYO and DataComp (``url``, ``text``, ``uid``) are read as they
are. All other columns pass through, those of hashes and boxes too; one that is named like a column of the shards table
(as DataComp's ``original_width``) is kept as ``source_original_width``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.pipelines.pairs.plan import Slice
from clipsieve.pipelines.pairs.types import carry, kind_of
from clipsieve.pipelines.pairs.unify import carried_types, column_names, expect_everywhere, read_part
from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.tables import SHARDS, open_parquet
from clipsieve.schemas.threads import map_ahead
from clipsieve.schemas.uid import UID_PATTERN, uid_of, uid_text

URL_NAMES = ("url", "URL")
CAPTION_NAMES = ("caption", "text", "TEXT", "alt")
UID_NAMES = ("uid",)
SHA256_NAMES = ("sha256",)
SOURCE_PREFIX = "source_"

SHA256_PATTERN = re.compile(r"([0-9a-fA-F]{64})?")

_BATCH_ROWS = 1_024  # few, for a caption may have megabytes


@dataclass(frozen=True)
class Columns:
    """The names of an input's columns, by what they are for."""

    url: str
    caption: str
    uid: str | None
    extra: tuple[tuple[str, str], ...]
    """(name in the input, name in the shards) of each column that passes through."""
    sha256: str | None = None
    """Hex digests of the images; it passes through too."""
    boxes: str | None = None
    """Lists of [x0, y0, x1, y1]; it passes through too."""
    carried: pa.Schema | None = None
    """The types in which the other columns pass through, under their names in the input; None: as they are."""

    @property
    def named(self) -> tuple[str, ...]:
        """All but those that only pass through."""
        return tuple(name for name in (self.url, self.caption, self.uid, self.sha256) if name is not None)

    def kept_as(self, name: str | None) -> str | None:
        """The name in the shards of an input column that passes through."""
        return dict(self.extra)[name] if name is not None else None


@dataclass(frozen=True)
class PairsTable:
    """A Parquet input, known from its footers: nothing of its rows has been read."""

    columns: Columns
    row_groups: tuple[tuple[str, int], ...]
    """(file, rows) of every row group, in input order."""

    @property
    def rows(self) -> int:
        return sum(rows for _, rows in self.row_groups)

    @property
    def slices(self) -> list[Slice]:
        """All rows, file by file."""
        rows: dict[str, int] = {}
        for path, count in self.row_groups:
            rows[path] = rows.get(path, 0) + count
        return [Slice(path, 0, count) for path, count in rows.items()]


def find_columns(
    names: Sequence[str],
    path: str,
    boxes: str | None = None,
    sha256: bool = False,
    urls: Sequence[str] = URL_NAMES,
) -> Columns:
    """Tell the columns of an input apart by their names.

    ``boxes`` names the one that holds boxes to blur; ``sha256``: hashes are wanted, where a column has them; ``urls``
    are the names that the one of URLs may have.

    Raises InputError when URL, caption or boxes are missing, or two columns would end under one name.
    """
    url = find_name(names, urls)
    caption = find_name(names, CAPTION_NAMES)
    if url is None or caption is None:
        wanted, *others = urls if url is None else CAPTION_NAMES
        has, instead = ", ".join(names), f" (or {', '.join(others)})" if others else ""
        raise InputError(f"{path}: column {wanted!r} is missing{instead}; it has: {has}")
    uid = find_name(names, UID_NAMES)
    rest = [name for name in names if name not in (url, caption, uid)]
    extra = tuple((name, SOURCE_PREFIX + name if name in SHARDS.columns else name) for name in rest)
    for group in (list(names), [kept for _, kept in extra]):
        twice = [name for name in group if group.count(name) > 1]
        if twice:
            raise InputError(f"{path}: two columns would be named {twice[0]!r}; rename one of them")
    if boxes is not None and boxes not in rest:
        raise InputError(f"{path}: `bbox_col` {boxes!r} is not one of its other columns: {', '.join(rest) or 'none'}")
    return Columns(url, caption, uid, extra, find_name(rest, SHA256_NAMES) if sha256 else None, boxes)


def parquet_files(pairs: str) -> list[str]:
    """The Parquet files of ``pairs``, a file or a folder, in name order."""
    fs, inner = files.filesystem(pairs)
    if not fs.isdir(inner):
        return [pairs]
    every = files.list_files(pairs, "")
    found = [path for path in every if path.lower().endswith(".parquet")]
    if not found:
        has = ", ".join(map(files.name_of, every[:3]))
        others = f"; it has {has}: give one file, or write all as Parquet" if every else ""
        raise InputError(f"{pairs}: no .parquet file in this folder{others}")
    return found


def open_pairs(
    paths: Sequence[str], boxes: str | None = None, sha256: bool = False, urls: Sequence[str] = URL_NAMES
) -> PairsTable:
    """Read the footers of Parquet files that together are one table, with columns as `find_columns` finds them.

    A column that only passes through is null in the files that lack it. Raises InputError when a column that is needed
    is missing or of another type than it must have, two files hold a column in types of different kinds, or there is
    no row at all.
    """
    parts = list(map_ahead(read_part, paths))
    columns = find_columns(column_names(parts), paths[0], boxes, sha256, urls)
    needed = (columns.url, columns.caption, columns.uid, columns.boxes)
    expect_everywhere(parts, [name for name in needed if name is not None])
    for part in parts:
        _check_types(part.schema, columns, part.path)
    groups = [(part.path, rows) for part in parts for rows in part.groups if rows]
    if not groups:
        raise InputError(f"{paths[0]}: the table has no rows")
    carried = carried_types(parts, [name for name, _ in columns.extra])
    _check_types(carried, columns, paths[0])
    return PairsTable(replace(columns, carried=carried), tuple(groups))


def iter_rows(slices: Sequence[Slice], columns: Columns, with_extra: bool = True) -> Iterator[pa.Table]:
    """Stream the rows of ``slices`` as tables of ``uid``, ``url`` and ``caption``, and the columns that pass through.

    All three are strings, a null url or caption is read as "", a uid that the input lacks is computed. Only the
    row groups that a slice touches are read. Raises InputError, naming file and row, where text is not UTF-8, or
    a uid or sha256 has not its form.
    """
    for piece in slices:
        row = piece.start
        for batch in _read_slice(piece, columns, with_extra):
            rows = canonical(batch, columns, piece.file, row, with_extra)
            yield rows if columns.uid is not None else rows.add_column(0, "uid", _computed_uids(rows))
            row += batch.num_rows


def iter_captions(pairs: str) -> Iterator[str]:
    """The captions of a Parquet file, or of a folder of them, in order."""
    table = open_pairs(parquet_files(pairs))
    for path in dict.fromkeys(path for path, _ in table.row_groups):
        row = 0
        with open_parquet(path, streamed=True) as parquet:
            for batch in parquet.iter_batches(_BATCH_ROWS, columns=[table.columns.caption]):
                yield from _text(batch, table.columns.caption, path, row).to_pylist()
                row += batch.num_rows


def canonical(batch: pa.RecordBatch, columns: Columns, path: str, row: int, with_extra: bool = True) -> pa.Table:
    """A batch of the input under canonical names, its uids as they are; ``row`` rows of ``path`` stand before it."""
    named = {"url": _text(batch, columns.url, path, row), "caption": _text(batch, columns.caption, path, row)}
    if columns.uid is not None:
        uids = _text(batch, columns.uid, path, row, is_uid=True)
        _check_form(uids, UID_PATTERN, path, row, columns.uid, "32 hex digits in lower case", "to have uids computed")
        named = {"uid": uids, **named}
    if columns.sha256 is not None and columns.sha256 in batch.schema.names:
        hashes = _text(batch, columns.sha256, path, row)
        _check_form(hashes, SHA256_PATTERN, path, row, columns.sha256, "64 hex digits", "to have no bytes verified")
    return pa.table({**named, **(_passing(batch, columns) if with_extra else {})})


def _passing(batch: pa.RecordBatch, columns: Columns) -> dict[str, pa.Array]:
    """The columns that pass through, under their names in the shards."""
    if columns.carried is None:
        return {kept: batch[name] for name, kept in columns.extra}
    present = batch.schema.names
    types = [columns.carried.field(name).type for name, _ in columns.extra]
    return {
        kept: carry(batch[name], dtype) if name in present else pa.nulls(len(batch), dtype)
        for (name, kept), dtype in zip(columns.extra, types, strict=True)
    }


def _computed_uids(rows: pa.Table) -> pa.Array:
    return pa.array(map(uid_of, rows["url"].to_pylist(), rows["caption"].to_pylist()), pa.string())


def find_name(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    """The first of the names ``wanted`` that is among ``names``, exactly if one is, else without regard to case."""
    exact = [name for name in wanted if name in names]
    lowered = [name for want in wanted for name in names if name.lower() == want.lower()]
    return next(iter(exact + lowered), None)


def _read_slice(piece: Slice, columns: Columns, with_extra: bool) -> Iterator[pa.RecordBatch]:
    wanted = list(dict.fromkeys([*columns.named, *([name for name, _ in columns.extra] if with_extra else [])]))
    with open_parquet(piece.file, streamed=True) as parquet:
        groups, skip, end = [], piece.start, 0
        for index in range(parquet.num_row_groups):
            start, end = end, end + parquet.metadata.row_group(index).num_rows
            if end <= piece.start:
                skip = piece.start - end
            elif start < piece.start + piece.count:
                groups.append(index)
        left = piece.count
        # One thread: handing so little over to others takes longer than the reading.
        batches = parquet.iter_batches(_BATCH_ROWS, row_groups=groups, columns=wanted, use_threads=False)
        for batch in batches:
            part = batch.slice(skip, left)
            skip, left = max(0, skip - batch.num_rows), left - part.num_rows
            if part.num_rows:
                yield part
            if not left:
                return


def _text(batch: pa.RecordBatch, name: str, path: str, row: int, is_uid: bool = False) -> pa.Array:
    column = uid_text(batch[name]) if is_uid else batch[name]
    if pa.types.is_floating(column.type):  # pandas leaves a column that is missing throughout as NaN
        column = pc.if_else(pc.is_nan(column), None, column)
    try:
        text = column.cast(pa.string())
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
            value = column[index].as_py()
            if isinstance(value, bytes):
                value.decode()
        except UnicodeDecodeError:
            return index
    return None


def _check_form(texts: pa.Array, form: re.Pattern[str], path: str, row: int, name: str, wanted: str, why: str) -> None:
    fits = pc.match_substring_regex(texts, f"^(?:{form.pattern})$")
    bad = pc.index(fits, False).as_py()
    if bad >= 0:
        text = texts[bad].as_py()[:40]
        raise InputError(
            f"{path}: row {row + bad + 1}: {name} {text!r} is not {wanted}; fix it, or rename the column {why}"
        )


def _check_types(schema: pa.Schema, columns: Columns, path: str) -> None:
    """Refuse, before any row is read, a column of a type that can hold nothing of what it is for."""
    names = schema.names
    if columns.sha256 in names and not _is_text(schema.field(columns.sha256).type):
        dtype = schema.field(columns.sha256).type
        raise InputError(f"{path}: column {columns.sha256!r} is {dtype}, not text; rename it to have no bytes verified")
    if columns.boxes in names and not _is_box_list(schema.field(columns.boxes).type):
        dtype = schema.field(columns.boxes).type
        raise InputError(f"{path}: `bbox_col` {columns.boxes!r} is {dtype}, not a list of lists of numbers")


def _is_text(dtype: pa.DataType) -> bool:
    return kind_of(dtype) == "text" or pa.types.is_null(dtype)


def _is_list(dtype: pa.DataType) -> bool:
    return pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype)


def _is_box_list(dtype: pa.DataType) -> bool:
    """Whether it can hold boxes, or is null throughout."""
    if pa.types.is_null(dtype):
        return True
    if not (_is_list(dtype) and _is_list(dtype.value_type)):
        return False
    number = dtype.value_type.value_type
    return pa.types.is_floating(number) or pa.types.is_integer(number)
