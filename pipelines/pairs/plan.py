"""Which rows of the input make which shard: pure functions of the row groups' sizes and the shard size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MIN_SHARD_DIGITS = 5


@dataclass(frozen=True)
class Slice:
    """``count`` rows of one file from row ``start`` on, counted from 0."""

    file: str
    start: int
    count: int


@dataclass(frozen=True)
class ShardPlan:
    """A run of input rows, and its number in order."""

    number: int
    start: int
    """Rows of the table before it."""
    slices: tuple[Slice, ...]

    @property
    def rows(self) -> int:
        return sum(piece.count for piece in self.slices)


def plan_shards(row_groups: Sequence[tuple[str, int]], shard_size: int) -> list[ShardPlan]:
    """Cut ``(file, rows)`` row groups, in order, into runs of ``shard_size`` rows; the last may be shorter.

    Where the cuts fall depends on the rows alone, not on how they are grouped within a file.
    """
    plans: list[ShardPlan] = []
    slices: list[Slice] = []
    room = shard_size
    for file, rows in _rows_by_file(row_groups):
        start = 0
        while start < rows:
            count = min(room, rows - start)
            slices.append(Slice(file, start, count))
            start, room = start + count, room - count
            if not room:
                plans.append(ShardPlan(len(plans), len(plans) * shard_size, tuple(slices)))
                slices, room = [], shard_size
    if slices:
        plans.append(ShardPlan(len(plans), len(plans) * shard_size, tuple(slices)))
    return plans


@dataclass(frozen=True)
class Naming:
    """How shards and samples are called, as img2dataset does it."""

    shard_digits: int
    row_digits: int

    def shard(self, number: int) -> str:
        return f"{number:0{self.shard_digits}d}"

    def key(self, number: int, row: int) -> str:
        """The key of a shard's row: ``number * 10^row_digits + row``, zero-padded."""
        return f"{number * 10**self.row_digits + row:0{self.shard_digits + self.row_digits}d}"


def naming(shards: int, shard_size: int) -> Naming:
    """Names for ``shards`` shards of ``shard_size`` rows: five digits a shard, more where they are needed."""
    row_digits = len(str(shard_size - 1)) if shard_size > 1 else 0
    return Naming(max(MIN_SHARD_DIGITS, len(str(shards - 1))), row_digits)


def _rows_by_file(row_groups: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    merged: list[tuple[str, int]] = []
    for file, rows in row_groups:
        if merged and merged[-1][0] == file:
            merged[-1] = (file, merged[-1][1] + rows)
        else:
            merged.append((file, rows))
    return merged
