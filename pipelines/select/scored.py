"""Scores as select reads them: any Parquet with uid and a score column, batch by batch, checked.

Beside a score file may lie, under the same name in a folder of filters or of duplicates, one with a row for each
of its rows: ``reject_reason`` or ``duplicate_of``. A row that has either is not eligible, nor is one that the
opt-out list names or for which the condition ``where`` does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.pipelines.select import thresholds
from clipsieve.pipelines.select.where import parse_where
from clipsieve.schemas import files, tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.members import find, load_members
from clipsieve.schemas.opt_out import OPTED_OUT, load_opt_out
from clipsieve.schemas.uid import UID_PATTERN, uid_array, uid_bytes

BATCH_ROWS = 65_536
NOT_A_MEMBER = "not_a_member"
"""The reject_reason of a row whose uid is not in the list of members, whatever else speaks against it."""
WHERE = "where"
"""The reject_reason of a row for which the condition does not hold."""


@dataclass(frozen=True)
class Scored:
    """Some rows of a scores table."""

    uids: pa.Array
    """string[N]; null where they were not requested."""
    similarity: np.ndarray
    """float32[N], finite; NaN where a row that is not eligible has none."""
    reject_reason: pa.Array
    """string[N]"""
    duplicate_of: pa.Array
    """string[N]"""

    @cached_property
    def is_eligible(self) -> np.ndarray:
        """bool[N]: neither rejected nor a duplicate."""
        return ~(_is_valid(self.reject_reason) | _is_valid(self.duplicate_of))

    @cached_property
    def keys(self) -> np.ndarray:
        """uint32[N]: the first 32 bits of the rows' quality keys."""
        return thresholds.descending_key(self.similarity)

    @cached_property
    def raw_uids(self) -> np.ndarray:
        """uint8[N, 16]"""
        return uid_bytes(self.uids)

    def where(self, kept: np.ndarray) -> Scored:
        """The rows that ``kept`` bool[N] keeps."""
        if kept.all():
            return self
        columns = (self.uids, self.reject_reason, self.duplicate_of)
        uids, reasons, duplicate_of = (column.filter(pa.array(kept)) for column in columns)
        return Scored(uids, self.similarity[kept], reasons, duplicate_of)


@dataclass(frozen=True)
class Sources:
    """How score files are read, and what makes their rows not eligible."""

    score_column: str = "similarity"
    where: str = ""
    opt_out: str | None = None
    filters: str | None = None
    """Folder of files with a ``reject_reason`` for each row."""
    dedup: str | None = None
    """Folder of files with a ``duplicate_of`` for each row."""
    members: str | None = None
    """File of the uids that may be selected, as `write_members` wrote them; None: all."""

    def read(self, path: str, with_uids: bool = True) -> Iterator[Scored]:
        """Stream the score file at ``path``; without uids these are neither read nor checked.

        Raises InputError, with the count and the first row, for a score that is not a finite number (a row that
        is not eligible may have none), for what is no uid, and for a file next to it that is of other rows.
        """
        listed, where = load_opt_out(self.opt_out), parse_where(self.where)
        with_uids = with_uids or bool(len(listed.uids)) or self.members is not None
        columns = dict.fromkeys([*(["uid"] if with_uids else []), self.score_column, *where.columns])
        beside = [_Beside(folder, path, column) for folder, column in self._folders if folder]
        first_row = 0
        for batch in tables.iter_batches(path, tables.SCORES, list(columns), BATCH_ROWS):
            none = pa.nulls(len(batch), pa.string())
            uids = _uids(batch["uid"], path, first_row) if with_uids else none
            taken = {each.column: each.take(len(batch), uids if with_uids else None) for each in beside}
            reasons, duplicate_of = (taken.get(name, none) for _, name in self._folders)
            if where.columns:
                failing = ~where.holds(batch, path) & ~_is_valid(reasons)
                reasons = pc.if_else(pa.array(failing), WHERE, reasons)
            if len(listed.uids):
                reasons = pc.if_else(pa.array(listed.forbids_uids(uid_bytes(uids))), OPTED_OUT, reasons)
            if self.members is not None:
                is_member = find(_members_in(self.members), uid_bytes(uids))
                reasons = pc.if_else(pa.array(is_member), reasons, NOT_A_MEMBER)
            scores = _scores(batch[self.score_column], path, self.score_column)
            rows = Scored(uids, scores.to_numpy(zero_copy_only=False), reasons, duplicate_of)
            wrong = np.where(_is_valid(scores), ~np.isfinite(rows.similarity), rows.is_eligible)
            _refuse(wrong, path, first_row, "similarities are not finite numbers")
            yield rows
            first_row += len(batch)
        for each in beside:
            each.expect_end()

    @property
    def _folders(self) -> tuple[tuple[str | None, str], ...]:
        return (self.filters, "reject_reason"), (self.dedup, "duplicate_of")


@lru_cache(1)
def _members_in(path: str) -> np.ndarray:
    return load_members(path)


class _Beside:
    """One column of the file of a score file's name in another folder, taken in pieces of any length."""

    def __init__(self, folder: str, scores: str, column: str) -> None:
        self.column = column
        self._path = files.join(folder, files.name_of(scores))
        self._scores = scores
        self._columns = ["uid", column]
        self._batches = tables.iter_batches(self._path, tables.SELECTION, self._columns, BATCH_ROWS)
        self._waiting = pa.schema([tables.SELECTION.schema.field(name) for name in self._columns]).empty_table()
        self._taken = 0

    def take(self, rows: int, uids: pa.Array | None) -> pa.Array:
        """The next ``rows`` values as string[N]; they must be those of ``uids``, where these are given."""
        while len(self._waiting) < rows:
            batch = next(self._batches, None)
            if batch is None:
                raise InputError(f"{self._path}: has fewer rows than {self._scores}; make it from these scores")
            more = tables.conform(pa.Table.from_batches([batch]), tables.SELECTION, self._path, self._columns)
            self._waiting = pa.concat_tables([self._waiting, more])
        taken, self._waiting = self._waiting.slice(0, rows), self._waiting.slice(rows)
        if uids is not None:
            same = pc.fill_null(pc.equal(taken["uid"], uids), False).to_numpy()
            _refuse(~same, self._path, self._taken, f"uids are not those of {self._scores}")
        self._taken += rows
        return taken[self.column].combine_chunks()

    def expect_end(self) -> None:
        """Raise InputError where rows are left."""
        if len(self._waiting) or next(self._batches, None) is not None:
            raise InputError(f"{self._path}: has more rows than {self._scores}; make it from these scores")


def _uids(column: pa.Array, path: str, first_row: int) -> pa.Array:
    """A column as uids string[N]; one that is not 32 lower-case hex digits is refused."""
    try:
        uids = column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{path}: column 'uid' is {column.type}; uids are 32 hex digits, or 16 bytes") from error
    try:
        is_sound = uid_array(uid_bytes(uids)).equals(uids)
    except ValueError:
        is_sound = False
    if not is_sound:
        valid = pc.fill_null(pc.match_substring_regex(uids, f"^{UID_PATTERN.pattern}$"), False)
        _refuse(~valid.to_numpy(zero_copy_only=False), path, first_row, "uids are not 32 hex digits")
    return uids


def _scores(column: pa.Array, path: str, name: str) -> pa.Array:
    try:
        return column.cast(pa.float32())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{path}: column {name!r} cannot be read as float: {str(error).splitlines()[0]}") from error


def _is_valid(column: pa.Array) -> np.ndarray:
    """bool[N]: which values are there."""
    if not column.null_count:
        return np.ones(len(column), bool)
    return np.asarray(column.is_valid().to_numpy(zero_copy_only=False))


def _refuse(wrong: np.ndarray, path: str, first_row: int, what: str) -> None:
    if wrong.any():
        row = first_row + int(np.argmax(wrong)) + 1
        raise InputError(f"{path}: {int(wrong.sum())} {what}, the first in row {row}; remove or fix these rows")
